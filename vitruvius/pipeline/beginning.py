"""The model that a stage begins with: built, loaded, or that of the stage before."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from vitruvius.contracts import (
    Codec,
    Cost,
    Lab,
    Layer,
    Limits,
    Lineage,
    Meter,
    Model,
    Pretrained,
    State,
    Stream,
)
from vitruvius.contracts.batches import Layout
from vitruvius.data.tokens import codec_digest
from vitruvius.space import Infeasible
from vitruvius.techniques.layers.transformer import Transformer
from vitruvius.train.building import PROBE
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.text_bodies import fill, outline_text


def begin(layer: Layer | None, before: State, lab: Lab, longest: int) -> Model:
    """A model of its own, on the lab's device; one of texts reads rows of ``longest`` tokens.

    A pretrained one brings its tokenizer; one that is built takes that of the stage before, and its
    weights follow from the lab's seed; None is a copy of the model before. Raises Infeasible where
    the parts do not fit.
    """
    known = before.model
    if layer is None:
        if known is None or not known.bodies:
            raise ValueError(
                "There is no model to go on with: name one, or put Pretrain or Train before."
            )
        mine = copied(known)
        return mine if known.tokenizer is None else replace(mine, longest=longest)
    if isinstance(layer, Pretrained):
        model = layer.load()
        if model.tokenizer is None:
            raise ValueError(
                f"{layer!r} reads no texts: it has no tokenizer. Give this stage a model of texts."
            )
        told = None if known is None else known.tokenizer
        if told is not None and not same(told, model.tokenizer):
            raise Infeasible(
                "model",
                f"{type(layer).__name__} has a tokenizer of its own, and Tokenize gave another. "
                "Give Tokenize that model, or leave Tokenize out.",
            )
        model.bodies["input"].to(lab.device)
        return replace(model, longest=longest)
    if known is None or known.tokenizer is None:
        raise ValueError("A network that is built needs a tokenizer: put Tokenize before it.")
    design = sized(layer, known.tokenizer)
    body = fill(outline_text(design, PROBE, longest, "model")[0], lab.seed).to(lab.device)
    lineage = Lineage(initial=digest_of(body.state_dict()))
    return Model({"input": body}, {}, lineage, {"input": design}, known.tokenizer, longest=longest)


def sized(layer: Layer, codec: Codec) -> Layer:
    """The design with as many ids as the tokenizer has, where it was given none."""
    return layer.sized(codec.vocabulary) if isinstance(layer, Transformer) else layer


def same(one: Codec, two: Codec) -> bool:
    """Whether two tokenizers encode alike."""
    return codec_digest(one) == codec_digest(two)


def copied(model: Model) -> Model:
    """The model with modules of its own; what was shared among them still is."""
    bodies, heads = copy.deepcopy((dict(model.bodies), dict(model.heads)))
    return replace(model, bodies=bodies, heads=heads)


@dataclass(frozen=True)
class Size:
    """What a body takes: parameters, and FLOPs forward of a token, or of an item without any."""

    parameters: int
    flops: float

    def refuse(self, tokens: float, limits: Limits) -> None:
        """Raise Infeasible where training on so many tokens exceeds the limits."""
        most = limits.max_parameters
        if most is not None and self.parameters > most:
            raise Infeasible(
                "model", f"{self.parameters:,} parameters exceed the limit of {most:,}"
            )
        flops = 3 * self.flops * tokens
        if limits.max_flops is not None and flops > limits.max_flops:
            raise Infeasible(
                "model",
                f"{flops:.3g} FLOPs of training exceed the limit of {limits.max_flops:.3g}",
            )


def size_of(body: nn.Module, tokens: int, meter: Meter) -> Size:
    """Of a body that is there, from one row of so many tokens."""
    device = next(body.parameters()).device
    with _still(body):
        cost = _weighed(body, tokens, meter, device)
    return Size(cost.parameters, cost.flops / tokens)


def size_on(body: nn.Module, stream: Stream, meter: Meter) -> Size:
    """Of a body that is there, from items without tokens."""
    with _still(body):
        cost = meter.weigh(body.eval(), stream)
    return Size(cost.parameters, cost.flops / len(stream.values))


@contextmanager
def _still(body: nn.Module) -> Iterator[None]:
    """Afterwards each of its parts is in the mode it was in."""
    modes = [(part, part.training) for part in body.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def size_of_design(layer: Layer, codec: Codec | None, tokens: int, meter: Meter) -> Size | None:
    """Of a design, before a byte is allocated; None where its vocabulary is not known yet."""
    if codec is None and not isinstance(layer, Pretrained):
        return None
    design = layer if codec is None else sized(layer, codec)
    if isinstance(design, Transformer):
        body = outline_text(design, 1, tokens, "model")[0]
    else:
        ids = torch.empty((1, tokens), dtype=torch.long, device="meta")
        body = design.build(ids)
    cost = _weighed(body, tokens, meter)
    return Size(cost.parameters, cost.flops / tokens)


def _weighed(
    body: nn.Module, tokens: int, meter: Meter, device: torch.device | str = "meta"
) -> Cost:
    ids = torch.zeros((1, tokens), dtype=torch.long, device=device)
    places = ids if ids.is_meta else torch.arange(tokens, device=device).unsqueeze(0)
    return meter.weigh(body.eval(), Stream(ids, Layout(places, ids + 1)))
