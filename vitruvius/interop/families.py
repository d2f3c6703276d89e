"""Which of our designs are a class of transformers, and what they call the same weights.

BERT, RoBERTa and ELECTRA; Llama and Mistral; ModernBERT. A family reads a config as a design,
writes a design as a config, and names its weights, in a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vitruvius.interop.bert_family import bert_names, from_bert, to_bert
from vitruvius.interop.llama_family import from_llama, llama_names, to_llama
from vitruvius.interop.matching import Config, Misfit
from vitruvius.interop.modernbert_family import from_modernbert, modernbert_names, to_modernbert
from vitruvius.techniques.layers.transformer import Transformer


@dataclass(frozen=True)
class Weight:
    """A tensor of theirs and ours that it holds, one after the other along the first axis."""

    theirs: str
    ours: tuple[str, ...]


def design_of(config: Mapping[str, Any]) -> Transformer:
    """The design of a transformers config. Raises Misfit."""
    kind = config.get("model_type")
    if kind in ("bert", "roberta", "electra"):
        return from_bert(config)
    if kind in ("llama", "mistral"):
        return from_llama(config)
    if kind == "modernbert":
        return from_modernbert(config)
    raise Misfit(
        f"model_type {kind!r} has no counterpart among our layers: there is bert, roberta, "
        "electra, llama, mistral and modernbert. FromPretrained takes the others as they are"
    )


def config_of(design: Transformer) -> Config:
    """The config of the class that computes the same. Raises Misfit with each family's reason."""
    reasons = []
    for write in (to_bert, to_llama, to_modernbert):
        try:
            return write(design)
        except Misfit as error:
            reasons.append(str(error))
    raise Misfit("no class of transformers computes this: " + "; ".join(reasons))


def weights_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[Weight]:
    """All weights of the network, theirs with the prefix of a model that has a head."""
    kind, layers = config["model_type"], range(config["num_hidden_layers"])
    if kind in ("llama", "mistral"):
        found = llama_names(layers)
    elif kind == "modernbert":
        found = modernbert_names(layers)
    else:
        found = bert_names(layers)
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
