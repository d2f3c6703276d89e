"""Weights with which an added layer does nothing, so that a deeper network begins as its parent.

Source: Chen, Goodfellow & Shlens 2016, "Net2Net", arXiv:1511.05641, section 2.3 (identities, also
of convolutions); branches that end in zeros from Goyal et al. 2017, "Accurate, large minibatch
SGD", arXiv:1706.02677, section 5.1.
Differs from Net2Net: no norm is made an identity for one batch, as the next batch would undo it.
"""

from __future__ import annotations

from vitruvius.techniques.layers import (
    ELU,
    GELU,
    Affine,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GroupNorm,
    Identity,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Residual,
    RMSNorm,
    SeparableConv,
    SequenceConv,
    SiLU,
    Tanh,
)
from vitruvius.techniques.layers.attention import SelfAttention
from vitruvius.techniques.layers.block import ResidualBlock
from vitruvius.techniques.layers.feed_forward import TwoMaps
from vitruvius.train.aligning import Part
from vitruvius.train.morphing import LINEAR, NORMS, Fixed, Link, Refusal, Way, dotted, inner

CALM = (Dropout, Identity, ELU, GELU, SiLU, Tanh, LeakyReLU)
"""Layers that give zero for zero, and let a gradient pass there."""


def nothing(part: Part, link: Link) -> tuple[dict[str, Way], Link]:
    """Weights with which an added layer gives back what it gets. Raises Refusal where none do."""
    layer, name = part.layer, part.kind
    if part.before != part.after:
        raise Refusal(f"an added {name} that turns {part.before} into {part.after} is no identity")
    if isinstance(layer, (Identity, Dropout, Flatten)):
        return {}, link
    if isinstance(layer, ReLU):
        if not link.positive:
            raise Refusal("an added ReLU is an identity only after numbers that are not negative")
        return {}, link
    if isinstance(layer, Affine) and len(part.before) == 1:
        return _pair(part, inner(part, LINEAR)[-1], "identity"), link
    if isinstance(layer, Conv) and layer.groups == 1:
        if layer.kernel % 2 == 0 and layer.dilation > 1:
            raise Refusal("an added Conv of an even kernel with dilation is no identity")
        return _pair(part, inner(part, LINEAR)[-1], "identity"), link
    if isinstance(layer, Residual):
        return ends_in_zeros(part.body(), part.kind), link
    if isinstance(part.module, ResidualBlock):
        return _block_of_zeros(part, part.module), link
    raise Refusal(f"an added {name} is no identity")


def _block_of_zeros(part: Part, module: ResidualBlock) -> dict[str, Way]:
    if not module.pre:
        raise Refusal("an added Block norms after its sums (order='post'), which is no identity")
    mixer, feed_forward = module.mixer, module.feed_forward
    if not isinstance(mixer, SelfAttention) or not isinstance(feed_forward, TwoMaps):
        raise Refusal("an added Block is an identity only with Attention and FeedForward in it")
    return _pair(part, "mixer.out", "zeros") | _pair(part, "feed_forward.down", "zeros")


def ends_in_zeros(parts: list[Part], around: str) -> dict[str, Way]:
    """Weights with which the last layer of a branch that has any gives zeros, and what follows it
    too. All others stay as they were drawn, so that the branch learns."""
    for part in reversed(parts):
        layer = part.layer
        if isinstance(layer, CALM) and not (isinstance(layer, LeakyReLU) and layer.slope == 0):
            continue
        if isinstance(layer, ReLU):
            raise Refusal(
                f"an added {around} whose branch ends in ReLU would learn nothing from zeros"
            )
        if isinstance(part.module, TwoMaps):
            return _pair(part, "down", "zeros")
        if isinstance(layer, (Affine, Conv, SeparableConv, SequenceConv)):
            return _pair(part, inner(part, LINEAR)[-1], "zeros")
        if isinstance(layer, (BatchNorm, LayerNorm, GroupNorm, RMSNorm)):
            return _pair(part, inner(part, NORMS)[-1], "zeros")
        break
    raise Refusal(f"an added {around} whose branch does not end in a layer that can give zeros")


def _pair(part: Part, name: str, how: str) -> dict[str, Way]:
    """Weight and bias of a module inside a layer."""
    made: dict[str, Way] = {dotted(part.name, name, "weight"): Fixed(how)}
    if getattr(part.module.get_submodule(name), "bias", None) is not None:
        made[dotted(part.name, name, "bias")] = Fixed("zeros")
    return made
