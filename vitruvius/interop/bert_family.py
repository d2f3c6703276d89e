"""BERT, RoBERTa and ELECTRA: their configs as designs and back, and the names of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitruvius.interop.matching import Config, activation, activation_name, alike_parts, need, sizes
from vitruvius.techniques.layers import (
    Attention,
    Block,
    Encoder,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    Tokens,
)
from vitruvius.techniques.layers.transformer import Transformer


def from_bert(config: Mapping[str, Any]) -> Encoder:
    width, epsilon = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
    dropout = config.get("hidden_dropout_prob", 0.1)
    positions = config.get("max_position_embeddings", 512)
    if config["model_type"] == "roberta":
        positions -= config.get("pad_token_id", 1) + 1
    inner = config.get("embedding_size", width)
    kind = config.get("position_embedding_type") or "absolute"
    need(kind == "absolute", "absolute positions", config["model_type"])
    need(not config.get("is_decoder"), "an encoder", config["model_type"])
    block = Block(
        Attention(
            config["num_attention_heads"],
            dropout=config.get("attention_probs_dropout_prob", 0.1),
        ),
        FeedForward(
            config["intermediate_size"] / width, activation(config.get("hidden_act", "gelu"))
        ),
        LayerNorm(epsilon),
        "post",
        dropout,
    )
    stem = Tokens(
        width,
        config["vocab_size"],
        None if inner == width else inner,
        norm=LayerNorm(epsilon),
        dropout=dropout,
    )
    return Encoder(
        stem, (block,) * config["num_hidden_layers"], LearnedPositions(positions), norm=None
    )


def to_bert(design: Transformer) -> Config:
    family = "BERT"
    need(type(design) is Encoder, "an Encoder", family)
    stem, block, attention, feed = alike_parts(design, family)
    positions = stem.positions or design.positions
    need(isinstance(positions, LearnedPositions), "LearnedPositions", family)
    assert isinstance(positions, LearnedPositions)
    need(attention.positions is None, "attention without positions of its own", family)
    need(block.order == "post", "Block.order 'post'", family)
    need(attention.bias and feed.bias, "biases", family)
    need(attention.sharing == 1, "Attention.sharing 1", family)
    need(attention.window is None, "attention without a window", family)
    need(not feed.gated and feed.dropout == 0, "a feed-forward without gate and dropout", family)
    norm = block.norm
    need(isinstance(norm, LayerNorm) and stem.norm == norm, "one LayerNorm in all places", family)
    need(stem.dropout == block.dropout, "equal dropout of stem and blocks", family)
    assert isinstance(norm, LayerNorm)
    return {
        "model_type": "bert" if stem.inner in (None, stem.width) else "electra",
        "architectures": ["BertModel" if stem.inner in (None, stem.width) else "ElectraModel"],
        **sizes(stem, design, attention, feed),
        "embedding_size": stem.inner or stem.width,
        "hidden_act": activation_name(feed.activation, family),
        "hidden_dropout_prob": block.dropout,
        "attention_probs_dropout_prob": attention.dropout,
        "layer_norm_eps": norm.epsilon,
        "max_position_embeddings": positions.longest,
        "type_vocab_size": 2,
    }


def bert_names(layers: range) -> Iterator[tuple[str, ...]]:
    yield "embeddings.word_embeddings", "stem.table"
    yield "embeddings.position_embeddings", "stem.positions"
    yield "embeddings.LayerNorm", "stem.norm"
    yield "embeddings_project", "stem.project"
    for i in layers:
        theirs, ours = f"encoder.layer.{i}", f"blocks.{i}"
        for name in ("query", "key", "value"):
            yield f"{theirs}.attention.self.{name}", f"{ours}.mixer.{name}"
        yield f"{theirs}.attention.output.dense", f"{ours}.mixer.out"
        yield f"{theirs}.attention.output.LayerNorm", f"{ours}.mixer_norm"
        yield f"{theirs}.intermediate.dense", f"{ours}.feed_forward.up"
        yield f"{theirs}.output.dense", f"{ours}.feed_forward.down"
        yield f"{theirs}.output.LayerNorm", f"{ours}.feed_forward_norm"
