"""Which of our designs are a class of transformers, and what they call the same weights.

BERT, RoBERTa and ELECTRA; Llama and Mistral; ModernBERT. A family reads a config as a design,
writes a design as a config, and names its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vitruvius.contracts import Layer
from vitruvius.techniques.layers import (
    GELU,
    Attention,
    Block,
    Decoder,
    Encoder,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    ReLU,
    RMSNorm,
    Rotary,
    SiLU,
    Tokens,
)
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


@dataclass(frozen=True)
class Weight:
    """A tensor of theirs and ours that it holds, one after the other along the first axis."""

    theirs: str
    ours: tuple[str, ...]


def need(holds: bool, what: str, family: str) -> None:
    if not holds:
        raise Misfit(f"{family} wants {what}")


def design_of(config: Mapping[str, Any]) -> Transformer:
    """The design of a transformers config. Raises Misfit."""
    kind = config.get("model_type")
    if kind in ("bert", "roberta", "electra"):
        return _from_bert(config)
    if kind in ("llama", "mistral"):
        return _from_llama(config)
    if kind == "modernbert":
        return _from_modernbert(config)
    raise Misfit(
        f"model_type {kind!r} has no counterpart among our layers: there is bert, roberta, "
        "electra, llama, mistral and modernbert. FromPretrained takes the others as they are"
    )


def config_of(design: Transformer) -> Config:
    """The config of the class that computes the same. Raises Misfit with each family's reason."""
    reasons = []
    for write in (_to_bert, _to_llama, _to_modernbert):
        try:
            return write(design)
        except Misfit as error:
            reasons.append(str(error))
    raise Misfit("no class of transformers computes this: " + "; ".join(reasons))


def weights_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[Weight]:
    """All weights of the network, theirs with the prefix of a model that has a head."""
    kind, layers = config["model_type"], range(config["num_hidden_layers"])
    if kind in ("llama", "mistral"):
        found = _llama_names(layers)
    elif kind == "modernbert":
        found = _modernbert_names(layers)
    else:
        found = _bert_names(layers)
    for theirs, *ours in found:
        for end in ("weight", "bias"):
            yield Weight(f"{prefix}{theirs}.{end}", tuple(f"{name}.{end}" for name in ours))


def head_of(config: Mapping[str, Any]) -> tuple[str, str, Iterator[Weight]]:
    """The head's name with us, the class that has it, and its weights."""
    kind = config["model_type"]
    names: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
        "bert": (
            "mlm",
            "BertForMaskedLM",
            (
                ("cls.predictions.transform.dense", "dense"),
                ("cls.predictions.transform.LayerNorm", "norm"),
                ("cls.predictions.decoder", ""),
            ),
        ),
        "roberta": (
            "mlm",
            "RobertaForMaskedLM",
            (("lm_head.dense", "dense"), ("lm_head.layer_norm", "norm"), ("lm_head.decoder", "")),
        ),
        "electra": (
            "mlm",
            "ElectraForMaskedLM",
            (
                ("generator_predictions.dense", "dense"),
                ("generator_predictions.LayerNorm", "norm"),
                ("generator_lm_head", ""),
            ),
        ),
        "llama": ("lm", "LlamaForCausalLM", (("lm_head", ""),)),
        "mistral": ("lm", "MistralForCausalLM", (("lm_head", ""),)),
        "modernbert": (
            "mlm",
            "ModernBertForMaskedLM",
            (("head.dense", "dense"), ("head.norm", "norm"), ("decoder", "")),
        ),
    }
    name, architecture, pairs = names[kind]
    weights = (
        Weight(f"{theirs}.{end}", (f"{ours}.{end}".lstrip("."),))
        for theirs, ours in pairs
        for end in ("weight", "bias")
    )
    return name, architecture, weights


def prefix_of(config: Mapping[str, Any]) -> str:
    """What their models with a head put before the names of the network."""
    kind = config["model_type"]
    return f"{kind}." if kind in ("bert", "roberta", "electra") else "model."


def activation(name: str) -> Layer:
    if name not in ACTIVATIONS:
        raise Misfit(f"the activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def activation_name(layer: Layer, family: str) -> str:
    for name, known in ACTIVATIONS.items():
        if known == layer:
            return name
    raise Misfit(f"{family} wants an activation among GELU, ReLU and SiLU")


# BERT and its kin


def _from_bert(config: Mapping[str, Any]) -> Encoder:
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


def _to_bert(design: Transformer) -> Config:
    family = "BERT"
    need(type(design) is Encoder, "an Encoder", family)
    stem, block, attention, feed = _alike(design, family)
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
        **_sizes(stem, design, attention, feed),
        "embedding_size": stem.inner or stem.width,
        "hidden_act": activation_name(feed.activation, family),
        "hidden_dropout_prob": block.dropout,
        "attention_probs_dropout_prob": attention.dropout,
        "layer_norm_eps": norm.epsilon,
        "max_position_embeddings": positions.longest,
        "type_vocab_size": 2,
    }


def _bert_names(layers: range) -> Iterator[tuple[str, ...]]:
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


# Llama and Mistral


def _from_llama(config: Mapping[str, Any]) -> Decoder:
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
        Rotary(_theta(config.get("rope_parameters") or config)),
        norm,
    )


def _to_llama(design: Transformer) -> Config:
    family = "Llama"
    need(type(design) is Decoder, "a Decoder", family)
    stem, block, attention, feed = _alike(design, family)
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
        **_sizes(stem, design, attention, feed),
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


def _llama_names(layers: range) -> Iterator[tuple[str, ...]]:
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


# ModernBERT


def _from_modernbert(config: Mapping[str, Any]) -> Encoder:
    width, norm = config["hidden_size"], LayerNorm(config.get("norm_eps", 1e-5))
    rope = config["rope_parameters"]
    blocks = []
    for kind in config["layer_types"]:
        local = kind == "sliding_attention"
        attention = Attention(
            config["num_attention_heads"],
            window=config["local_attention"] // 2 if local else None,
            positions=Rotary(_theta(rope[kind])),
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


def _to_modernbert(design: Transformer) -> Config:
    family = "ModernBERT"
    need(type(design) is Encoder, "an Encoder", family)
    stem, block, attention, feed = _alike(design, family, but=("window", "positions"))
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
        **_sizes(stem, design, attention, feed),
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


def _modernbert_names(layers: range) -> Iterator[tuple[str, ...]]:
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


# What they share


def _alike(
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


def _sizes(stem: Tokens, design: Transformer, attention: Attention, feed: FeedForward) -> Config:
    return {
        "vocab_size": stem.vocabulary,
        "hidden_size": stem.width,
        "num_hidden_layers": len(design.blocks),
        "num_attention_heads": attention.heads,
        "intermediate_size": max(1, round(feed.ratio * stem.width)),
    }


def _theta(rope: Mapping[str, Any]) -> float:
    kind = rope.get("rope_type", "default")
    need(kind == "default", f"plain rotary positions, not {kind!r}", "this")
    return float(rope.get("rope_theta", 10_000.0))
