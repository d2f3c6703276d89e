"""ModernBERT: its configs as designs and back, and the names of its weights."""

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
    Encoder,
    FeedForward,
    LayerNorm,
    Rotary,
    Tokens,
)
from vitruvius.techniques.layers.transformer import Transformer


def from_modernbert(config: Mapping[str, Any]) -> Encoder:
    width, norm = config["hidden_size"], LayerNorm(config.get("norm_eps", 1e-5))
    rope = config["rope_parameters"]
    blocks = []
    for kind in config["layer_types"]:
        local = kind == "sliding_attention"
        attention = Attention(
            config["num_attention_heads"],
            window=config["local_attention"] // 2 if local else None,
            positions=Rotary(theta(rope[kind])),
            dropout=config.get("attention_dropout", 0.0),
            bias=config.get("attention_bias", False),
        )
        feed = FeedForward(
            config["intermediate_size"] / width,
            activation(config.get("hidden_activation", "gelu")),
            gated=True,
            bias=config.get("mlp_bias", False),
            dropout=config.get("mlp_dropout", 0.0),
        )
        blocks.append(Block(attention, feed, norm))
    stem = Tokens(
        width, config["vocab_size"], norm=norm, dropout=config.get("embedding_dropout", 0.0)
    )
    return Encoder(stem, tuple(blocks), None, norm)


def to_modernbert(design: Transformer) -> Config:
    family = "ModernBERT"
    need(type(design) is Encoder, "an Encoder", family)
    stem, block, attention, feed = alike_parts(design, family, but=("window", "positions"))
    kinds, windows, thetas = [], set(), {}
    for each in design.settled():
        assert isinstance(each, Block) and isinstance(each.mixer, Attention)
        mixer = each.mixer
        rotary = mixer.positions
        need(isinstance(rotary, Rotary) and rotary.share == 1, "Rotary of whole heads", family)
        assert isinstance(rotary, Rotary)
        kinds.append("full_attention" if mixer.window is None else "sliding_attention")
        thetas.setdefault(kinds[-1], rotary.theta)
        need(thetas[kinds[-1]] == rotary.theta, "one theta for each kind of layer", family)
        windows |= {mixer.window} - {None}
    need(len(windows) < 2, "windows of one size", family)
    norm = block.norm
    alike = stem.norm == norm == design.norm
    need(isinstance(norm, LayerNorm) and alike, "one LayerNorm in all places", family)
    assert isinstance(norm, LayerNorm)
    need(block.order == "pre" and block.dropout == 0, "pre-norm blocks without dropout", family)
    need(stem.inner is None and stem.positions is None, "a table as wide as the network", family)
    need(feed.gated, "a gated feed-forward", family)
    need(attention.sharing == 1, "Attention.sharing 1", family)
    any_theta = next(iter(thetas.values()))
    return {
        "model_type": "modernbert",
        "architectures": ["ModernBertModel"],
        **sizes(stem, design, attention, feed),
        "hidden_activation": activation_name(feed.activation, family),
        "attention_dropout": attention.dropout,
        "attention_bias": attention.bias,
        "mlp_bias": feed.bias,
        "mlp_dropout": feed.dropout,
        "embedding_dropout": stem.dropout,
        "norm_bias": True,
        "classifier_bias": True,
        "norm_eps": norm.epsilon,
        "layer_types": kinds,
        "local_attention": 2 * next(iter(windows), 64),
        "rope_parameters": {
            kind: {"rope_theta": thetas.get(kind, any_theta), "rope_type": "default"}
            for kind in ("full_attention", "sliding_attention")
        },
        "max_position_embeddings": LONGEST,
        **dict.fromkeys(
            ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), None
        ),
    }


def modernbert_names(layers: range) -> Iterator[tuple[str, ...]]:
    yield "embeddings.tok_embeddings", "stem.table"
    yield "embeddings.norm", "stem.norm"
    yield "final_norm", "norm"
    for i in layers:
        theirs, ours = f"layers.{i}", f"blocks.{i}"
        mixer, feed = f"{ours}.mixer", f"{ours}.feed_forward"
        yield f"{theirs}.attn.Wqkv", f"{mixer}.query", f"{mixer}.key", f"{mixer}.value"
        yield f"{theirs}.attn.Wo", f"{mixer}.out"
        yield f"{theirs}.attn_norm", f"{ours}.mixer_norm"
        yield f"{theirs}.mlp_norm", f"{ours}.feed_forward_norm"
        yield f"{theirs}.mlp.Wi", f"{feed}.gate", f"{feed}.up"
        yield f"{theirs}.mlp.Wo", f"{feed}.down"
