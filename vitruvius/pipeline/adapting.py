"""The stage that fits a model to a task with labels."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from vitruvius.contracts import (
    Adapter,
    Cost,
    Documents,
    Encoder,
    Given,
    Head,
    Lab,
    Layer,
    Measurement,
    Model,
    Objective,
    Optimizer,
    Progress,
    Schedule,
    State,
    Task,
)
from vitruvius.pipeline.beginning import Size, begin, size_of, size_of_design, size_on
from vitruvius.pipeline.load_texts import plain
from vitruvius.pipeline.retrieval import rank
from vitruvius.pipeline.rungs import Halting
from vitruvius.pipeline.training import PLAN
from vitruvius.space import Infeasible, hyper, log_uniform, one_of
from vitruvius.techniques.adapters import FullTuning, LinearProbe
from vitruvius.techniques.heads import Embedding, PairScore, PooledReadout, WordTags
from vitruvius.techniques.objectives import Contrastive, Supervised
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.schedules import Linear
from vitruvius.train.adapting import attach
from vitruvius.train.building import reset
from vitruvius.train.candidates import design_of, start_of
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.encoding import digest_of_prepared, encode, prepare
from vitruvius.train.feeding import Feed
from vitruvius.train.flows import epochs_of
from vitruvius.train.frozen import freeze
from vitruvius.train.loop import Course, train
from vitruvius.train.meter import training_flops
from vitruvius.train.predicting import evaluating, measure
from vitruvius.train.reading import feed_of, longest_of
from vitruvius.train.text_feeding import PairFeed, TextFeed

CHARACTERS = 4.0  # of a token, before there is a tokenizer to ask
PROJECTOR = "projector"
HEADS: dict[str, Head] = {
    "item": PooledReadout(pool="mean", dense=False),
    "token": WordTags(),
    "pair": PairScore(),
    "set": Embedding(),
}


@dataclass(frozen=True, kw_only=True)
class Adapt(Halting):
    """Train a model on labelled items, with a new head; keep its best epoch on validation.

    Items are what the model reads: texts, images, arrays or rows of a table.

    What of the model learns is the adapter's to say; edits beside its weights are merged into them
    at the end, so that what is handed on is a plain model. Those that cannot be stay beside them.
    Where nothing of it learns, each item is read once and the head is trained on what was read.
    """

    adapter: Adapter = hyper(
        FullTuning(), one_of(FullTuning(), LinearProbe()), "what of the model learns"
    )
    optimizer: Optimizer = hyper(
        AdamW(2e-4), AdamW.space(learning_rate=log_uniform(2e-5, 2e-3)), "update rule"
    )
    schedule: Schedule[float] = hyper(Linear(warmup=0.1), Linear.space(), "factor of the rate")
    epochs: int = hyper(5, one_of(2, 3, 5, 8, 12), "passes over the training part, at most")
    batch_size: int = hyper(32, one_of(8, 16, 32, 64), "items of a step")
    patience: int | None = hyper(
        None, doc="epochs without improvement before the training ends; None: never"
    )
    clip: float | None = hyper(1.0, doc="largest norm of the gradient")
    longest: int = hyper(128, one_of(64, 128, 256), "tokens of a text, at most")
    flops: float | None = hyper(
        None, doc="of the stage, at most: fewer epochs where they would take more; None: no limit"
    )
    encoder: Encoder | None = hyper(
        None,
        doc="preparation of the texts before the tokenizer, fitted on the training part: "
        "Shortened() for long ones; None: as they are",
    )
    head: Head | None = hyper(
        None, doc="from hidden states to an answer; None: as the level of the task wants"
    )
    objective: Objective | None = hyper(
        None, doc="what is minimised; None: Supervised, of sets Contrastive"
    )
    model: Layer | None = hyper(
        None, doc="network to build or load; None: that of the stage before"
    )

    later: ClassVar[tuple[str, ...]] = ("encoder",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def check(self) -> None:
        super().check()
        for name in ("epochs", "batch_size", "patience", "longest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Adapt.{name} must be at least 1; got {value}.")

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost | None:
        """Parameters and FLOPs up to its rung or end, at four characters a token."""
        before = inputs.get("before")
        if before is None or self.model is None or "train" not in before.splits:
            return None
        known = before.model
        codec = None if known is None else known.tokenizer
        size = size_of_design(self.model, codec, self.longest, lab.meter)
        if size is None:
            return None
        size.refuse(0, lab.limits)
        tokens = _estimated(before.splits["train"].documents, self.longest)
        epochs = self._epochs(size, tokens)
        return self._cost(size, tokens, min(epochs, self.until or epochs))

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Raises Infeasible where head, objective or limits do not fit the model."""
        before = inputs["before"]
        task = before.task
        if task is None or task.level == "generation":
            raise ValueError("Adapt needs labelled items: give LoadTexts some, or put Load before.")
        documents = {name: before.splits[name].documents for name in ("train", "validation")}
        seen = documents["train"]
        base = self._preparing(begin(self.model, before, lab, self.longest), seen, lab)
        read = seen if self.encoder is None else encode(base.prepared, seen)
        given = Given(rng=lab.generator("corrupt"), task=task, documents=read)
        if base.tokenizer is not None:
            given = given.but(tokenizer=base.tokenizer)
        try:
            first = start_of(replace(base, heads={}))
            adapted = attach(self.adapter, base, given)
        except ValueError as error:
            raise Infeasible("adapter", str(error)) from error
        feed, held = (feed_of(adapted.model, one, lab.device) for one in documents.values())
        model = self._headed(adapted.model, feed, task, given, lab)
        first = f"{first} {digest_of(model.heads['task'].state_dict())}"
        if self.encoder is not None:  # models that read other texts are not to be mixed
            first = f"{first} {digest_of_prepared(base.prepared)}"
        size, tokens = _work(model, feed, lab)
        epochs = self._epochs(size, tokens)
        size.refuse(epochs * tokens, lab.limits)
        plan = self._cost(size, tokens, min(epochs, self.until or epochs))
        lab.report(
            Progress(0, 0, self.batch_size, 0.0), (Measurement(PLAN, plan.flops, cost=plan),)
        )
        learner, shown, judged = model, feed, held
        if self.frozen:
            learner, (shown, judged) = freeze(model, (feed, held), lab)
        metric = task.metric
        if metric is None:
            raise ValueError("Adapt needs a metric to choose an epoch by: Task.metric is None.")
        validation = documents["validation"]

        objective = self.objective or (Contrastive() if task.level == "set" else Supervised())

        def judge(parts: nn.Module) -> Measurement:
            if task.level == "set":
                told = replace(model, heads=_with(model.heads, objective.heads(parts)))
                ranked = rank(told, validation, device=lab.device, precision=lab.precision)
                return metric.measure(ranked)
            return measure(learner, judged, task, metric, lab.precision)

        bodies = nn.ModuleDict(dict(learner.bodies))
        made = train(
            learner,
            network=nn.ModuleDict({"bodies": bodies, "head": model.heads["task"]}),
            objective=objective,
            optimizer=self.optimizer,
            schedule=self.schedule,
            course=Course(self.patience, self.clip, self.rung()),
            flow=epochs_of(shown, epochs, self.batch_size),
            judge=judge,
            given=given,
            lab=lab,
            key=str(lab.seed),
            still=tuple(model.bodies.values()) if self.frozen else (),
        )
        mergeable = adapted.unmergeable() is None
        merged = adapted.merge() if mergeable else adapted.model
        heads = {**merged.heads, "task": model.heads["task"]}
        spent = self._cost(size, tokens, made.rounds)
        beside = objective.heads(made.parts)
        if beside or not mergeable:  # more than the head began with weights of its own
            first = f"{first} {lab.seed}"
        model = replace(merged, heads=_with(heads, beside))
        lineage = replace(
            base.lineage,
            initial=hashlib.sha256(first.encode()).hexdigest(),
            design=design_of(model, self.answers(task)),
            data=(*base.lineage.data, seen.digest),
            stages=(*base.lineage.stages, str(lab.seed)),
        )
        model = replace(model, lineage=lineage)
        trained = Measurement("epochs", float(made.rounds), items=made.tokens, cost=spent)
        return replace(before, model=model, measurements=(*before.measurements, trained), digest="")

    def answers(self, task: Task) -> Head:
        """The head that it puts on a model."""
        return self.head or HEADS[task.level]

    @property
    def frozen(self) -> bool:
        """Whether nothing of the model before the head learns."""
        return self.adapter.frozen

    def _preparing(self, model: Model, seen: Documents, lab: Lab) -> Model:
        """The model with the encoder behind what prepares its items already."""
        if self.encoder is None:
            return model
        try:
            last = prepare(self.encoder, encode(model.prepared, seen), lab)
        except ValueError as error:
            raise Infeasible("encoder", str(error)) from error
        return replace(model, prepared=(*model.prepared, last))

    def _epochs(self, size: Size, tokens: float) -> int:
        """As many as fit into the FLOPs, at least one."""
        if self.flops is None or self.frozen:
            return self.epochs
        each = training_flops(size.flops * tokens, 1)
        return max(1, min(self.epochs, int(self.flops / max(each, 1.0))))

    def _cost(self, size: Size, tokens: float, epochs: float) -> Cost:
        """Of so many epochs; a frozen model reads each text once."""
        once = size.flops * tokens
        return Cost(
            once if self.frozen else epochs * training_flops(once, 1), parameters=size.parameters
        )

    def _headed(
        self, model: Model, feed: Feed | TextFeed | PairFeed, task: Task, given: Given, lab: Lab
    ) -> Model:
        """The model with a new head "task". Its weights are the same for all that begin with this
        model, whatever trains them, so that soups can be made of what they become."""
        head = self.answers(task)
        stream = feed.batch(torch.arange(min(2, len(feed)))).streams["input"]
        with evaluating(model, lab.device, torch.float32):
            hidden = model.bodies["input"](stream).hidden
        try:
            with torch.device("meta"):
                module = head.build(hidden.to("meta"), task)
        except ValueError as error:
            raise Infeasible("head", str(error)) from error
        module = module.to_empty(device="cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lab.first_seed)
            for part in module.modules():
                reset(part)
        fitted = head.fit(given)
        if fitted is not None:
            module.load_state_dict(dict(fitted.tensors), strict=False)
        return replace(model, heads={**model.heads, "task": module.to(lab.device)})


def _work(model: Model, feed: Feed | TextFeed | PairFeed, lab: Lab) -> tuple[Size, int]:
    """What the body takes for a token, or an item without tokens, and how many a pass has."""
    body = model.bodies["input"]
    if isinstance(feed, Feed):
        return size_on(body, feed.batch(torch.arange(1)).streams["input"], lab.meter), len(feed)
    return size_of(body, min(longest_of(model), 64), lab.meter), int(feed.filled.sum())


def _with(heads: Mapping[str, nn.Module], kept: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """With what an objective leaves; a map that it trained for vectors takes the place of a head
    that has none."""
    found = {**heads, **kept}
    if PROJECTOR in kept:
        del found["task"]
    return found


@functools.lru_cache(maxsize=16)
def _estimated(documents: Documents, longest: int) -> float:
    """Tokens of the training part, before there are any, from the lengths of its texts."""
    sizes = [len(str(text)) / CHARACTERS for text in plain(documents).payload["text"][:]]
    return float(sum(min(size, longest) for size in sizes))
