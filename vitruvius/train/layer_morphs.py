"""How each of our layers takes over the weights of one that stands in its place.

Sources are named in ``morphing``. A layer with a rule may be wider than its parent's, where that
keeps the function; all others are copied whole, or not at all. A rule gives the child's tensors and
the channels that come out, or raises Refusal.
"""

from __future__ import annotations

from typing import Any

from vitruvius.space import Node
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import (
    ELU,
    GELU,
    Affine,
    AveragePool,
    BatchNorm,
    Block,
    Conv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GroupNorm,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    ReLU,
    RMSNorm,
    SeparableConv,
    SequenceConv,
    Sigmoid,
    SiLU,
    SqueezeExcite,
    Tanh,
)
from vitruvius.train.aligning import Part
from vitruvius.train.block_morphs import block
from vitruvius.train.morphing import (
    LINEAR,
    NORMS,
    Copied,
    Link,
    Refusal,
    Way,
    copied,
    dotted,
    inner,
    matrix,
    same_but,
    wider,
)

EACH = (ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh)  # functions of each number alone
POOLS = (AveragePool, GlobalAveragePool, MaxPool)
KEEP_SIGN = (*POOLS, Dropout, Flatten, Identity, SqueezeExcite)
Made = tuple[dict[str, Way], Link]


def positive_after(layer: Node, link: Link) -> bool:
    """Whether no number that comes out of a layer is negative."""
    if isinstance(layer, (ReLU, Sigmoid)):
        return True
    return link.positive and isinstance(layer, KEEP_SIGN)


def morph(parent: Part, child: Part, link: Link) -> Made:
    """The tensors of a layer in the place of its parent's, whose channels come in by ``link``."""
    layer: Any = child.layer
    if isinstance(layer, Dropout):
        return {}, link
    if isinstance(layer, (Identity, Flatten, *EACH, *POOLS)):
        same_but(parent, child)
        out = _flat(parent, child, link) if isinstance(layer, Flatten) else link
        return {}, Link(out.of, out.parent, positive_after(layer, link))
    if isinstance(layer, Affine):
        return _affine(parent, child, link)
    if isinstance(layer, (Conv, SequenceConv)):
        return _convolution(parent, child, link)
    if isinstance(layer, SeparableConv):
        return _separable(parent, child, link)
    if isinstance(layer, (BatchNorm, GroupNorm, LayerNorm, RMSNorm)):
        return _norm(parent, child, link)
    if isinstance(layer, SqueezeExcite):
        return _gates(parent, child, link)
    if isinstance(layer, Block):
        return block(parent, child, link)
    if isinstance(layer, Readout):
        same_but(parent, child)
        return matrix(parent, child, ("linear", "linear"), link, None), link
    same_but(parent, child)
    if link.plain and (found := copied(parent, child)) is not None:
        return found, link
    raise Refusal(f"{child.kind} is copied where nothing before it changes, and not made wider")


def _affine(parent: Part, child: Part, link: Link) -> Made:
    same_but(parent, child, "width", "bias")
    ours: Any = parent.layer
    theirs: Any = child.layer
    into = _flat(parent, child, link)
    out = wider(child, ours.width, theirs.width)
    names = inner(parent, LINEAR)[-1], inner(child, LINEAR)[-1]
    return matrix(parent, child, names, into, out), out


def _flat(parent: Part, child: Part, link: Link) -> Link:
    """The numbers of an item in a row: of images channel by channel, of sequences step by step."""
    if len(child.before) == 1:
        return link
    images = len(child.before) == 3
    places = [shape[1:] if images else shape[:1] for shape in (parent.before, child.before)]
    if places[0] != places[1]:
        raise Refusal(f"{child.kind} reads {places[1]} places in place of {places[0]}")
    return link.spread(places[1][0] * places[1][1]) if images else link.repeated(places[1][0])


def _convolution(parent: Part, child: Part, link: Link) -> Made:
    ours: Any = parent.layer
    theirs: Any = child.layer
    margin = 0
    if isinstance(theirs, Conv):
        same_but(parent, child, "filters", "bias", "kernel")
        margin = _margin(ours, theirs)
        if theirs.groups > 1 and not (link.plain and ours.filters == theirs.filters):
            raise Refusal("Conv with groups is copied, and not made wider")
    else:
        same_but(parent, child, "filters", "bias")
    out = wider(child, ours.filters, theirs.filters)
    names = inner(parent, LINEAR)[-1], inner(child, LINEAR)[-1]
    return matrix(parent, child, names, link, out, margin), out


def _margin(ours: Conv, theirs: Conv) -> int:
    """Zeros on each side of the parent's kernel."""
    if ours.kernel == theirs.kernel:
        return 0
    if theirs.kernel < ours.kernel:
        raise Refusal(f"Conv has a smaller kernel: {theirs.kernel} in place of {ours.kernel}")
    if theirs.padding != "same" or ours.kernel % 2 == 0 or theirs.kernel % 2 == 0:
        raise Refusal("Conv takes a larger kernel only with padding 'same', from odd to odd")
    return (theirs.kernel - ours.kernel) // 2


def _separable(parent: Part, child: Part, link: Link) -> Made:
    same_but(parent, child, "filters", "bias")
    ours: Any = parent.layer
    theirs: Any = child.layer
    out = wider(child, ours.filters, theirs.filters)
    (each, point), (new_each, new_point) = inner(parent, LINEAR), inner(child, LINEAR)
    source = dotted(parent.name, each, "weight")
    made: dict[str, Way] = {
        dotted(child.name, new_each, "weight"): Copied(source, None if link.plain else link.of)
    }
    return made | matrix(parent, child, (point, new_point), link, out), out


def _norm(parent: Part, child: Part, link: Link) -> Made:
    same_but(parent, child, "momentum")
    if not link.plain:
        if isinstance(child.layer, GroupNorm):
            raise Refusal("GroupNorm would see copies of channels in other groups")
        if not isinstance(child.layer, BatchNorm) and not link.even:
            raise Refusal(
                f"{child.kind} keeps its mean only where each channel is copied equally often; "
                f"{len(link.of)} are no multiple of {link.parent}"
            )
    rows = None if link.plain else link.of
    ours, theirs = inner(parent, NORMS)[-1], inner(child, NORMS)[-1]
    made: dict[str, Way] = {}
    for name, tensor in child.module.get_submodule(theirs).state_dict().items():
        source = dotted(parent.name, ours, name)
        made[dotted(child.name, theirs, name)] = Copied(source, rows if tensor.dim() else None)
    return made, Link(link.of, link.parent)


def _gates(parent: Part, child: Part, link: Link) -> Made:
    same_but(parent, child)
    old: Any = parent.module.get_submodule("squeeze")
    new: Any = child.module.get_submodule("squeeze")
    hidden = wider(child, old.out_features, new.out_features)
    made = matrix(parent, child, ("squeeze", "squeeze"), link, hidden)
    return made | matrix(parent, child, ("excite", "excite"), hidden, link), link
