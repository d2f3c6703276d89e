"""The stage that trains a network on encoded inputs."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from vitruvius.contracts import (
    Cost,
    Documents,
    Encoder,
    Given,
    Head,
    Initializer,
    Lab,
    Layer,
    Lineage,
    Measurement,
    Metric,
    Model,
    Objective,
    Optimizer,
    Prepared,
    Progress,
    Schedule,
    State,
    Task,
)
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.pipeline.rungs import Halting
from vitruvius.space import Infeasible, hyper, one_of
from vitruvius.techniques.encoders import Columns, Pixels
from vitruvius.techniques.heads import Answer
from vitruvius.techniques.objectives import Supervised
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.techniques.schedules import Constant, Cosine, Plateau
from vitruvius.train.building import Outline, network_of, outline, realise, refuse
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.encoding import encode, prepare
from vitruvius.train.feeding import Feed
from vitruvius.train.flows import Epochs
from vitruvius.train.grouping import Widths, shrink_outputs, widths_over
from vitruvius.train.loop import Course, train
from vitruvius.train.predicting import measure

if TYPE_CHECKING:
    from vitruvius.train.aligning import Network
    from vitruvius.train.inheriting import Inheritance

__all__ = ["PLAN", "Train", "default_encoder", "encode", "item_shape", "prepare", "weights_digest"]

INHERITING = "vitruvius.train.inheriting"  # knows all layers: only what inherits stands on it
OVERLAP = "overlap"  # the measurement that tells the share of parameters that are inherited
PLAN = "plan"  # the measurement that tells parameters and FLOPs before a training begins


@dataclass(frozen=True, kw_only=True)
class Train(Halting):
    """Train a network from scratch on the training part; keep its best epoch on validation."""

    optimizer: Optimizer = hyper(AdamW(), one_of(AdamW.space(), SGD.space()), "update rule")
    schedule: Schedule[float] = hyper(
        Cosine(), one_of(Constant(), Cosine.space(), Plateau.space()), "factor of the rate"
    )
    batch_size: int = hyper(64, one_of(32, 64, 128, 256), "items of a step")
    epochs: int = hyper(20, one_of(5, 10, 20, 40), "passes over the training part, at most")
    patience: int | None = hyper(
        None, doc="evaluations without improvement before the training ends; None: never"
    )
    clip: float | None = hyper(None, doc="largest norm of the gradient")
    objective: Objective = hyper(Supervised(), Supervised.space(), "what is minimised")
    initializer: Initializer | None = hyper(None, doc="of the weights; None: the layers' own")
    encoder: Encoder | None = hyper(
        None, doc="input preparation; None: Columns for tables, Pixels for images and arrays"
    )
    model: Layer = hyper(..., doc="the network, input to hidden or answer")
    head: Head = hyper(Answer(), doc="from the network's output to an answer")
    base: Layer | None = hyper(
        None,
        doc="the model at the width that the learning rate was tuned on: initial answers and rates "
        "then follow the width (muP); None: they do not",
    )

    inherit: float | None = hyper(
        None,
        doc="least share of its parameters that an ended trial of the study must have for the "
        "training to begin with them; None: it begins anew",
    )
    parent: Pipeline | None = hyper(
        None,
        doc="ends in the Train whose network it begins with, where that is exact; a study sets it",
    )

    unkeyed: ClassVar[tuple[str, ...]] = (*Halting.unkeyed, "inherit", "parent")
    """The parent is in the key as what comes in."""

    def check(self) -> None:
        super().check()
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "Train needs at least one epoch and one item in a batch; "
                f"got epochs={self.epochs}, batch_size={self.batch_size}."
            )
        if self.patience is not None and self.patience < 1:
            raise ValueError(
                f"Train.patience counts evaluations, at least 1; got {self.patience}. "
                "For no early stop, leave it None."
            )
        if self.inherit is not None and not 0 < self.inherit <= 1:
            raise ValueError(
                f"Train.inherit must be above 0 and at most 1; got {self.inherit}. "
                "To begin anew, leave it None."
            )
        if self.parent is not None and _last(self.parent) is None:
            raise ValueError(
                f"Train.parent must be a Pipeline that ends in Train; got {self.parent!r:.60}. "
                "Leave out what comes after the training."
            )

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost | None:
        """Parameters and FLOPs up to its rung or end. Raises Infeasible as ``run`` does."""
        before = inputs.get("before")
        if before is None or before.task is None:
            return None
        seen = before.splits["train"].documents
        shape = item_shape(self.encoder or default_encoder(seen), seen)
        found = outline(self.model, self.head, shape, before.task, lab.meter, "model")
        items = self.epochs * len(seen)
        refuse(found, items, lab.limits, "model")
        return replace(found.cost, flops=found.flops((self.rung() or self.epochs) * len(seen)))

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Raises Infeasible where the network does not fit its input or the limits."""
        before = inputs["before"]
        task = before.task
        if task is None:
            raise ValueError("Train needs a task: put Load before it.")
        seen = before.splits["train"].documents
        prepared = (prepare(self.encoder or default_encoder(seen), seen, lab),)
        feed = Feed.of(encode(prepared, seen), lab.device)
        held = Feed.of(encode(prepared, before.splits["validation"].documents), lab.device)

        found = outline(self.model, self.head, feed.shape, task, lab.meter, "model")
        items = self.epochs * len(feed)
        refuse(found, items, lab.limits, "model")
        cost = replace(found.cost, flops=found.flops((self.rung() or self.epochs) * len(feed)))
        plan = Measurement(PLAN, cost.flops, cost=cost)
        lab.report(Progress(0, 0, self.batch_size, 0.0), (plan,))

        begun = self._inherited(found, prepared[0].encoder, seen, task, inputs.get("parent"), lab)
        given = Given(rng=lab.generator("corrupt"), task=task, documents=seen)
        model = realise(
            found,
            lab.device,
            lab.seed,
            initializer=self.initializer,
            fitted=self.head.fit(given),
            prepared=prepared,
        )
        widths = self._widths(network_of(model), feed.shape, task, lab)
        if self.initializer is None:
            shrink_outputs(network_of(model), widths)
        if begun is not None:
            known = inputs["parent"].model
            assert known is not None
            weights = network_of(known).state_dict()
            begun.fill(network_of(model), weights, lab.generator("inherit"))
        metric: Metric = task.metric if task.metric is not None else _no_metric()
        made = train(
            model,
            network=network_of(model),
            objective=self.objective,
            optimizer=self.optimizer,
            schedule=self.schedule,
            course=Course(self.patience, self.clip, self.rung()),
            flow=Epochs(feed, self.epochs, self.batch_size),
            judge=lambda _: measure(model, held, task, metric, lab.precision),
            given=given,
            lab=lab,
            key=str(lab.seed),
            widths=widths,
        )
        spent = Cost(flops=found.flops(made.tokens), parameters=cost.parameters)
        lineage = Lineage(
            initial=str(lab.seed), data=(seen.digest,), stages=(*_stages(before), str(lab.seed))
        )
        model = replace(model, lineage=lineage)
        trained = Measurement("epochs", float(made.rounds), items=made.tokens, cost=spent)
        told = (*before.measurements, trained)
        if begun is not None:
            told += (Measurement(OVERLAP, begun.overlap, items=begun.inherited),)
        return replace(before, model=model, measurements=told, digest="")

    def network(self, before: State, lab: Lab) -> Network:
        """Its network for the data of a state, on meta. Raises Infeasible where it does not fit."""
        seen = before.splits["train"].documents
        assert before.task is not None
        shape = item_shape(self.encoder or default_encoder(seen), seen)
        found = outline(self.model, self.head, shape, before.task, lab.meter, "model")
        return importlib.import_module(INHERITING).Network(self.model, self.head, found)

    def stands_on(self) -> tuple[str, ...]:
        return () if self.parent is None else (INHERITING,)

    def _inherited(
        self,
        found: Outline,
        encoder: Encoder,
        seen: Documents,
        task: Task,
        known: State | None,
        lab: Lab,
    ) -> Inheritance | None:
        """What it takes over from its parent. Raises ValueError where that saw other inputs."""
        stage = None if self.parent is None else _last(self.parent)
        if stage is None or known is None or known.model is None:
            return None
        if known.splits["train"].documents.digest != seen.digest:
            raise ValueError(
                "Train.parent must have learned from the same items, or it may know those that it "
                "is judged by; got others. Give both the same Load."
            )
        theirs = known.model.prepared[0].encoder
        if theirs != encoder:
            raise ValueError(
                f"Train.parent must prepare its inputs alike; got {theirs!r:.60} and "
                f"{encoder!r:.60}. Give both the same encoder."
            )
        outlined = outline(stage.model, stage.head, found.shape, task, lab.meter, "parent")
        inheriting = importlib.import_module(INHERITING)
        parent = inheriting.Network(stage.model, stage.head, outlined)
        return inheriting.inherit(inheriting.Network(self.model, self.head, found), parent)

    def _widths(self, network: nn.Module, shape: tuple[int, ...], task: Task, lab: Lab) -> Widths:
        """Of a network, over its base. Raises Infeasible where they are not of the same parts."""
        if self.base is None:
            return Widths()
        base = outline(self.base, self.head, shape, task, lab.meter, "base").network
        try:
            return widths_over(network, base)
        except ValueError as error:
            raise Infeasible("base", str(error)) from error


def _last(pipeline: Pipeline) -> Train | None:
    """The stage that a pipeline ends in, where that trains a network."""
    stages = stages_of(pipeline) if isinstance(pipeline, Pipeline) else ()
    return stages[-1] if stages and isinstance(stages[-1], Train) else None


def _stages(before: State) -> tuple[str, ...]:
    return before.model.lineage.stages if before.model is not None else (before.digest,)


def _no_metric() -> Metric:
    raise ValueError("Train needs a metric to choose an epoch by: Task.metric is None.")


def default_encoder(documents: Documents) -> Encoder:
    """By medium: Pixels where an item is an image or array, Columns where it is a table row."""
    one_each = all(np.ndim(column[:1]) == 1 for column in documents.payload.values())
    return Columns() if one_each else Pixels()


@functools.lru_cache(maxsize=16)
def item_shape(encoder: Encoder, documents: Documents) -> tuple[int, ...]:
    """Of one encoded item."""
    fitted = encoder.fit(Given(rng=torch.Generator().manual_seed(0), documents=documents))
    first = encode((Prepared(encoder, fitted),), documents.take(np.zeros(1, np.int64)))
    return Feed.of(first, torch.device("cpu")).shape


def weights_digest(model: Model) -> str:
    """sha256 of a model's weights."""
    if model.tokenizer is None and "task" in model.heads:
        return digest_of(network_of(model).state_dict())
    whole = nn.ModuleDict(
        {"bodies": nn.ModuleDict(dict(model.bodies)), "heads": nn.ModuleDict(dict(model.heads))}
    )
    return digest_of(whole.state_dict())
