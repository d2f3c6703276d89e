"""How a block of a transformer takes over the weights of another of its width.

Source: Chen, Goodfellow & Shlens 2016, "Net2Net", arXiv:1511.05641, section 2.2, for the inside of
the feed-forward part; heads are copied in turn like its channels, keys and values with them.
"""

from __future__ import annotations

from typing import Any

import torch

from vitruvius.techniques.layers import ALiBi, Attention, FeedForward
from vitruvius.techniques.layers.attention import SelfAttention
from vitruvius.techniques.layers.block import ResidualBlock
from vitruvius.train.aligning import Part
from vitruvius.train.morphing import (
    Link,
    Refusal,
    Way,
    copied,
    dotted,
    matrix,
    same_but,
    widened,
    wider,
)


def block(parent: Part, child: Part, link: Link) -> tuple[dict[str, Way], Link]:
    """Norms as they are; more heads of the same width, and a larger feed-forward part."""
    same_but(parent, child, "mixer", "feed_forward", "dropout")
    if not link.plain:
        raise Refusal("Block takes over from blocks of its own width alone")
    ours, theirs = parent.module, child.module
    assert isinstance(ours, ResidualBlock) and isinstance(theirs, ResidualBlock)
    made: dict[str, Way] = {}
    for name in ("mixer_norm", "feed_forward_norm"):
        found = copied(_part(parent, name, "norm"), _part(child, name, "norm"))
        if found is None:
            raise Refusal("Block is the first behind a stem with a norm, or its parent's is")
        made |= found
    made |= _inside(_part(parent, "mixer", "mixer"), _part(child, "mixer", "mixer"))
    parts = (_part(part, "feed_forward", "feed_forward") for part in (parent, child))
    return made | _inside(*parts), link


def _part(part: Part, name: str, field: str) -> Part:
    """A layer inside a block."""
    module, layer = part.module.get_submodule(name), getattr(part.layer, field)
    place, shape = f"{part.place}.{name}", part.before
    return Part(layer, module, dotted(part.name, name), place, shape, shape, part.shapes)


def _inside(parent: Part, child: Part) -> dict[str, Way]:
    if isinstance(parent.layer, Attention) and isinstance(child.layer, Attention):
        return _attention(parent, child)
    if isinstance(parent.layer, FeedForward) and isinstance(child.layer, FeedForward):
        return _feed_forward(parent, child)
    if type(parent.layer) is type(child.layer):
        same_but(parent, child)
        if (found := copied(parent, child)) is not None:
            return found
    raise Refusal(f"{child.kind} takes nothing over from {parent.kind}")


def _attention(parent: Part, child: Part) -> dict[str, Way]:
    same_but(parent, child, "heads", "sharing", "head_width", "dropout")
    old: Any = parent.module
    new: Any = child.module
    assert isinstance(old, SelfAttention) and isinstance(new, SelfAttention)
    if old.head_width != new.head_width:
        raise Refusal(
            f"Attention has heads of width {new.head_width} in place of {old.head_width}; more "
            "heads of one width need Attention.head_width"
        )
    if old.heads != new.heads and isinstance(getattr(child.layer, "positions", None), ALiBi):
        raise Refusal("ALiBi gives each number of heads other slopes")
    heads = wider(child, old.heads, new.heads)
    shares = [module.heads // module.key_heads for module in (old, new)]
    sources = [group // shares[0] for group in heads.of.split(shares[1])]
    if any(len(set(source.tolist())) > 1 for source in sources):
        raise Refusal("heads that share keys had keys of their own in the parent's Attention")
    keys = Link(torch.stack([source[0] for source in sources]), old.key_heads)
    queries, keys = heads.spread(new.head_width), keys.spread(new.head_width)
    made = matrix(parent, child, ("query", "query"), None, queries)
    for name in ("key", "value"):
        made |= matrix(parent, child, (name, name), None, keys)
    return made | matrix(parent, child, ("out", "out"), queries, None)


def _feed_forward(parent: Part, child: Part) -> dict[str, Way]:
    same_but(parent, child, "ratio", "dropout")
    old: Any = parent.module
    new: Any = child.module
    if new.inner < old.inner:
        raise Refusal(f"FeedForward is narrower: {new.inner} inside in place of {old.inner}")
    hidden = widened(old.inner, new.inner)
    made = matrix(parent, child, ("up", "up"), None, hidden)
    if new.gate is not None:
        made |= matrix(parent, child, ("gate", "gate"), None, hidden)
    return made | matrix(parent, child, ("down", "down"), hidden, None)
