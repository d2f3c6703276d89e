"""Llama and Mistral: their configs as designs and back, and the names of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitruvius.interop.matching import (
    LONGEST,
    Config,
    activation,
    activation_name,
    alike_parts,
    need,
    sizes,
    theta,
)
from vitruvius.techniques.layers import (
    Attention,
    Block,
    Decoder,
    FeedForward,
    RMSNorm,
    Rotary,
    Tokens,
)
from vitruvius.techniques.layers.transformer import Transformer


def from_llama(config: Mapping[str, Any]) -> Decoder:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    window = config.get("sliding_window")
    head_width = config.get("head_dim") or width // heads
    attention = Attention(
        heads,
        heads // (config.get("num_key_value_heads") or heads),
        None if head_width * heads == width else head_width,
        None if window is None else window - 1,
        dropout=config.get("attention_dropout", 0.0),
        bias=config.get("attention_bias", False),
    )
    feed = FeedForward(
        config["intermediate_size"] / width,
        activation(config.get("hidden_act", "silu")),
        gated=True,
        bias=config.get("mlp_bias", False),
    )
    norm = RMSNorm(config.get("rms_norm_eps", 1e-6))
    return Decoder(
        Tokens(width, config["vocab_size"], norm=None),
        (Block(attention, feed, norm),) * config["num_hidden_layers"],
        Rotary(theta(config.get("rope_parameters") or config)),
        norm,
    )


def to_llama(design: Transformer) -> Config:
    family = "Llama"
    need(type(design) is Decoder, "a Decoder", family)
    stem, block, attention, feed = alike_parts(design, family)
    rotary = attention.positions or design.positions
    need(isinstance(rotary, Rotary) and rotary.share == 1, "Rotary of whole heads", family)
    assert isinstance(rotary, Rotary)
    need(block.order == "pre" and block.dropout == 0, "pre-norm blocks without dropout", family)
    need(stem.norm is None and stem.dropout == 0, "a stem without norm and dropout", family)
    need(stem.inner is None and stem.positions is None, "a table as wide as the network", family)
    need(feed.gated and feed.dropout == 0, "a gated feed-forward without dropout", family)
    norm = block.norm
    need(isinstance(norm, RMSNorm) and design.norm == norm, "one RMSNorm in all places", family)
    assert isinstance(norm, RMSNorm)
    config: Config = {
        "model_type": "llama",
        "architectures": ["LlamaModel"],
        **sizes(stem, design, attention, feed),
        "num_key_value_heads": attention.heads // attention.sharing,
        "head_dim": attention.head_width or stem.width // attention.heads,
        "hidden_act": activation_name(feed.activation, family),
        "attention_dropout": attention.dropout,
        "attention_bias": attention.bias,
        "mlp_bias": feed.bias,
        "rms_norm_eps": norm.epsilon,
        "rope_parameters": {"rope_theta": rotary.theta, "rope_type": "default"},
        "rope_theta": rotary.theta,
        "max_position_embeddings": LONGEST,
    }
    if attention.window is not None:
        need(not (attention.bias or feed.bias), "no biases beside a window (Mistral)", family)
        config |= {"model_type": "mistral", "architectures": ["MistralModel"]}
        config["sliding_window"] = attention.window + 1
    return config


def llama_names(layers: range) -> Iterator[tuple[str, ...]]:
    yield "embed_tokens", "stem.table"
    yield "norm", "norm"
    for i in layers:
        theirs, ours = f"layers.{i}", f"blocks.{i}"
        for short, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
            yield f"{theirs}.self_attn.{short}_proj", f"{ours}.mixer.{name}"
        for name in ("gate", "up", "down"):
            yield f"{theirs}.mlp.{name}_proj", f"{ours}.feed_forward.{name}"
        yield f"{theirs}.input_layernorm", f"{ours}.mixer_norm"
        yield f"{theirs}.post_attention_layernorm", f"{ours}.feed_forward_norm"
