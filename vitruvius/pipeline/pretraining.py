"""The stage that trains a network on texts without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from vitruvius.contracts import (
    Cost,
    Given,
    Lab,
    Layer,
    Lineage,
    Measurement,
    Model,
    Objective,
    Optimizer,
    Progress,
    Schedule,
    State,
)
from vitruvius.data.packing import Packed, Packer
from vitruvius.pipeline.beginning import Size, begin, size_of_design, sized
from vitruvius.pipeline.rungs import Halting
from vitruvius.pipeline.tokenizing import HELD_TOKENS, TOKENS, as_tokens, tokens_of
from vitruvius.pipeline.training import PLAN
from vitruvius.space import Infeasible, hyper, integers, one_of, uniform
from vitruvius.techniques.layers import Encoder
from vitruvius.techniques.objectives import MaskedTokens, ReplacedTokens
from vitruvius.techniques.optimizers import SOAP, AdamW, Muon
from vitruvius.techniques.schedules import WSD, Cosine
from vitruvius.train.flows import TokenStream
from vitruvius.train.grouping import Widths, shrink_outputs, widths_over
from vitruvius.train.loop import Course, train
from vitruvius.train.meter import forward_flops, training_flops
from vitruvius.train.predicting import evaluating, slots
from vitruvius.train.reading import frame_of, longest_of
from vitruvius.train.text_bodies import outline_text
from vitruvius.train.text_feeding import TextFeed

HELD_TOKENS_READ = 2**15  # of what is held out, at each judgement


@dataclass(frozen=True, kw_only=True)
class Pretrain(Halting):
    """Train a network on the corpus, for so many tokens or FLOPs; the last weights remain.

    Its length is ``tokens``, or ``share`` of ``flops``: so a wide network sees fewer tokens than a
    narrow one, and takes as long. After each of ``rounds`` equal parts its loss on held-out texts
    is measured; there it may stand still as a rung (``until``).
    """

    model: Layer | None = hyper(
        Encoder(), Encoder.space(), "network to build or load; None: that of the stage before"
    )
    objective: Objective = hyper(
        MaskedTokens(), one_of(MaskedTokens.space(), ReplacedTokens.space()), "what is minimised"
    )
    optimizer: Optimizer = hyper(
        AdamW(), one_of(AdamW.space(), Muon.space(), SOAP.space()), "update rule"
    )
    schedule: Schedule[float] = hyper(
        WSD(warmup_steps=30), one_of(WSD.space(), Cosine.space()), "factor of the rate"
    )
    tokens: int | None = hyper(
        10**6, integers(10**5, 10**8, log=True), "seen in all; None: by FLOPs"
    )
    flops: float | None = hyper(None, doc="of the whole trial, to share; None: by tokens")
    share: float = hyper(0.5, uniform(0.2, 0.8), "of these FLOPs")
    batch_tokens: int = hyper(4096, one_of(2048, 4096, 8192, 16384), "slots of a batch")
    longest: int = hyper(128, one_of(64, 128, 256, 512), "tokens of a row")
    packer: Packer = hyper(Packed(), doc="how texts come into rows")
    rounds: int = hyper(8, doc="judgements on held-out texts")
    clip: float | None = hyper(1.0, doc="largest norm of the gradient")
    base: Layer | None = hyper(
        None,
        doc="the network at the width that the learning rate was tuned on: initial answers and "
        "rates then follow the width (muP); None: they do not",
    )

    way: ClassVar[str] = "rounds"

    def check(self) -> None:
        super().check()
        if (self.tokens is None) == (self.flops is None):
            raise ValueError(
                "Pretrain is as long as tokens or flops say: give one of them; "
                f"got tokens={self.tokens} and flops={self.flops}."
            )
        for name in ("tokens", "flops", "batch_tokens", "longest", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Pretrain.{name} must be at least 1; got {value}.")
        if not 0 < self.share <= 1:
            raise ValueError(f"Pretrain.share is above 0 and at most 1; got {self.share}.")
        if self.batch_tokens < self.longest:
            raise ValueError(
                f"Pretrain.batch_tokens must hold a row of {self.longest} tokens; "
                f"got {self.batch_tokens}."
            )

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost | None:
        """Parameters and FLOPs up to its rung or end, of the body alone."""
        before = inputs.get("before")
        known = None if before is None else before.model
        done = (self.rung() or self.rounds) / self.rounds
        if self.flops is not None:
            return Cost(self.share * self.flops * done)
        if self.model is None:
            return None
        codec = None if known is None else known.tokenizer
        size = size_of_design(self.model, codec, self.longest, lab.meter)
        if size is None:
            return None
        tokens = self._horizon(size)
        size.refuse(tokens, lab.limits)
        return Cost(training_flops(size.flops, tokens) * done, parameters=size.parameters)

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Raises Infeasible where the network does not fit its tokens, objective or limits."""
        before = inputs["before"]
        model = begin(self.model, before, lab, self.longest)
        longest = longest_of(model)
        assert model.tokenizer is not None
        feed, held = self._feeds(before, model, lab)
        given = Given(
            rng=lab.generator("corrupt"), tokenizer=model.tokenizer, documents=before.data["texts"]
        )
        size = self._size(model, feed, given, lab)
        horizon = self._horizon(size)
        size.refuse(horizon, lab.limits)
        cost = Cost(training_flops(size.flops, horizon), parameters=size.parameters)
        lab.report(
            Progress(0, 0, self.batch_tokens, 0.0), (Measurement(PLAN, cost.flops, cost=cost),)
        )
        widths = self._widths(model, longest)
        if not (self.model is None or model.lineage.base):
            shrink_outputs(model.bodies["input"], widths)
        made = train(
            model,
            network=nn.ModuleDict(dict(model.bodies)),
            objective=self.objective,
            optimizer=self.optimizer,
            schedule=self.schedule,
            course=Course(None, self.clip, self.rung(), keep="last"),
            flow=TokenStream(feed, horizon, max(self.batch_tokens, longest), self.rounds),
            judge=lambda parts: held_loss(model, parts, self.objective, held, given, lab),
            given=given,
            lab=lab,
            key=str(lab.seed),
            widths=widths.under("input"),
        )
        spent = Cost(training_flops(size.flops, made.tokens), parameters=size.parameters)
        lineage = Lineage(
            initial=model.lineage.initial,
            base=model.lineage.base,
            data=(*model.lineage.data, before.data["texts"].digest),
            stages=(*model.lineage.stages, str(lab.seed)),
            objectives=(*model.lineage.objectives, type(self.objective).__name__),
        )
        heads = {**model.heads, **self.objective.heads(made.parts)}
        trained = Measurement("tokens", float(made.tokens), items=made.steps, cost=spent)
        held_out = replace(made.best, better=None)
        return replace(
            before,
            model=replace(model, heads=heads, lineage=lineage),
            measurements=(*before.measurements, trained, held_out),
            digest="",
        )

    def _horizon(self, size: Size) -> int:
        """Tokens of the whole way."""
        if self.tokens is not None:
            return self.tokens
        assert self.flops is not None
        return max(self.longest, round(self.share * self.flops / training_flops(size.flops, 1)))

    def _feeds(self, before: State, model: Model, lab: Lab) -> tuple[TextFeed, TextFeed]:
        """Rows of the corpus, and of what is held out of it."""
        codec = model.tokenizer
        assert codec is not None
        data = before.data
        if TOKENS not in data:  # those that are there are of this tokenizer: see begin
            if "texts" not in data:
                raise ValueError("Pretrain needs a corpus: put LoadTexts before it.")
            data = {**data, **tokens_of(data, codec, lab.folder)}
        frame, longest = frame_of(codec), longest_of(model)
        seen, held = (as_tokens(data[name]) for name in (TOKENS, HELD_TOKENS))
        feed = TextFeed.of(seen, longest, lab.device, packer=self.packer, frame=frame)
        if not int(held.lengths.sum()):
            return feed, feed
        return feed, TextFeed.of(held, longest, lab.device, packer=Packed(), frame=frame)

    def _size(self, model: Model, feed: TextFeed, given: Given, lab: Lab) -> Size:
        """Parameters of the body; FLOPs of a token with all that the objective adds."""
        batch, body = feed.batch(torch.arange(1)), model.bodies["input"]
        given.rng.manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            try:
                parts = self.objective.build(model).to(lab.device).eval()
            except ValueError as error:
                raise Infeasible("objective", str(error)) from error
            now = Progress(0, 0, self.batch_tokens, 0.0)
            body.eval()
            flops = forward_flops(lambda: self.objective.step(model, parts, batch, now, given))
        return Size(sum(p.numel() for p in body.parameters()), flops / int(feed.filled[0]))

    def _widths(self, model: Model, tokens: int) -> Widths:
        """Of the body, over the base. Raises Infeasible where they are not of the same parts."""
        if self.base is None:
            return Widths()
        assert model.tokenizer is not None
        base = outline_text(sized(self.base, model.tokenizer), 1, tokens, "base")[0]
        try:
            return widths_over(model.bodies["input"], base)
        except ValueError as error:
            raise Infeasible("base", str(error)) from error


def held_loss(
    model: Model, parts: nn.Module, objective: Objective, feed: TextFeed, given: Given, lab: Lab
) -> Measurement:
    """Mean loss in nats on held-out rows, hidden in the same way each time."""
    rows = torch.arange(len(feed))
    kept = rows[feed.filled.cumsum(0) <= max(HELD_TOKENS_READ, int(feed.filled[0]))]
    now = Progress(0, 0, HELD_TOKENS_READ, 1.0)
    total, items = torch.zeros((), device=lab.device), 0
    training = parts.training
    parts.eval()
    with evaluating(model, lab.device, lab.precision):
        for number, some in enumerate(
            kept.split(slots(lab.device, feed.capacity) // feed.capacity)
        ):
            given.rng.manual_seed(number)
            loss = objective.step(model, parts, feed.batch(some), now, given)
            total += loss.value.float() * len(some)
            items += len(some)
    parts.train(training)
    return Measurement("held-out loss", float(total) / items, "lower", items=items)
