"""What a design must be to have a counterpart in transformers, whichever family it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitruvius.contracts import Layer
from vitruvius.techniques.layers import GELU, Attention, Block, FeedForward, ReLU, SiLU, Tokens
from vitruvius.techniques.layers.transformer import Transformer

Config = dict[str, Any]
ACTIVATIONS: Mapping[str, Layer] = {
    "gelu": GELU(),
    "gelu_new": GELU(True),
    "gelu_pytorch_tanh": GELU(True),
    "relu": ReLU(),
    "silu": SiLU(),
    "swish": SiLU(),
}
LONGEST = 2048  # written as max_position_embeddings where any length goes


class Misfit(ValueError):
    """A design or config that has no counterpart: what it would have to be."""


def need(holds: bool, what: str, family: str) -> None:
    if not holds:
        raise Misfit(f"{family} wants {what}")


def activation(name: str) -> Layer:
    if name not in ACTIVATIONS:
        raise Misfit(f"the activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def activation_name(layer: Layer, family: str) -> str:
    for name, known in ACTIVATIONS.items():
        if known == layer:
            return name
    raise Misfit(f"{family} wants an activation among GELU, ReLU and SiLU")


def alike_parts(
    design: Transformer, family: str, but: tuple[str, ...] = ()
) -> tuple[Tokens, Block, Attention, FeedForward]:
    """Stem and parts of the first block, once all blocks are known to be like it."""
    need(bool(design.blocks), "layers of attention", family)
    stem, block = design.stem, design.blocks[0]
    need(isinstance(stem, Tokens) and stem.scale == 1, "Tokens without a scale", family)
    need(isinstance(block, Block) and block.residual == 1, "plain Blocks", family)
    assert isinstance(stem, Tokens) and isinstance(block, Block)
    attention, feed = block.mixer, block.feed_forward
    need(isinstance(attention, Attention), "Attention as mixer", family)
    need(isinstance(feed, FeedForward), "FeedForward", family)
    assert isinstance(attention, Attention) and isinstance(feed, FeedForward)
    need(family == "Llama" or not attention.causal, "attention to both sides", family)
    need(stem.vocabulary is not None, "a known vocabulary", family)
    wide = attention.head_width is None or attention.head_width * attention.heads == stem.width
    need(family == "Llama" or wide, "heads that share the width", family)
    for other in design.blocks[1:]:
        same = other
        if but and isinstance(other, Block) and isinstance(other.mixer, Attention):
            mixer = other.mixer.replace(**{name: getattr(attention, name) for name in but})
            same = other.replace(mixer=mixer)
        need(same == block, "blocks that are all alike", family)
    return stem, block, attention, feed


def sizes(stem: Tokens, design: Transformer, attention: Attention, feed: FeedForward) -> Config:
    return {
        "vocab_size": stem.vocabulary,
        "hidden_size": stem.width,
        "num_hidden_layers": len(design.blocks),
        "num_attention_heads": attention.heads,
        "intermediate_size": max(1, round(feed.ratio * stem.width)),
    }


def theta(rope: Mapping[str, Any]) -> float:
    kind = rope.get("rope_type", "default")
    need(kind == "default", f"plain rotary positions, not {kind!r}", "this")
    return float(rope.get("rope_theta", 10_000.0))
