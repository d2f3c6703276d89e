"""The stage that trains a network on encoded inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

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
    Stage,
    State,
)
from vitruvius.space import hyper, one_of
from vitruvius.techniques.encoders import Columns, Pixels
from vitruvius.techniques.heads import Answer
from vitruvius.techniques.objectives import Supervised
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.techniques.schedules import Constant, Cosine, Plateau
from vitruvius.train.building import network_of, outline, realise, refuse
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.feeding import Feed
from vitruvius.train.loop import Course, train
from vitruvius.train.predicting import measure

PLAN = "plan"  # the measurement that tells parameters and FLOPs before a training begins


@dataclass(frozen=True, kw_only=True)
class Train(Stage):
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

    def check(self) -> None:
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
        cost = replace(found.cost, flops=found.flops(items))
        plan = Measurement(PLAN, cost.flops, cost=cost)
        lab.report(Progress(0, 0, self.batch_size, 0.0), (plan,))

        given = Given(rng=lab.generator("corrupt"), task=task, documents=seen)
        model = realise(
            found,
            lab.device,
            lab.seed,
            initializer=self.initializer,
            fitted=self.head.fit(given),
            prepared=prepared,
        )
        metric: Metric = task.metric if task.metric is not None else _no_metric()
        made = train(
            model,
            objective=self.objective,
            optimizer=self.optimizer,
            schedule=self.schedule,
            course=Course(self.epochs, self.batch_size, self.patience, self.clip),
            feed=feed,
            judge=lambda: measure(model, held, task, metric, lab.precision),
            given=given,
            lab=lab,
            key=str(lab.seed),
        )
        spent = Cost(flops=found.flops(made.items), parameters=cost.parameters)
        lineage = Lineage(
            initial=str(lab.seed), data=(seen.digest,), stages=(*_stages(before), str(lab.seed))
        )
        model = replace(model, lineage=lineage)
        trained = Measurement("epochs", float(made.epochs), items=made.items, cost=spent)
        return replace(before, model=model, measurements=(*before.measurements, trained), digest="")


def _stages(before: State) -> tuple[str, ...]:
    return before.model.lineage.stages if before.model is not None else (before.digest,)


def _no_metric() -> Metric:
    raise ValueError("Train needs a metric to choose an epoch by: Task.metric is None.")


def default_encoder(documents: Documents) -> Encoder:
    """By medium: Pixels where an item is an image or array, Columns where it is a table row."""
    one_each = all(np.ndim(column[:1]) == 1 for column in documents.payload.values())
    return Columns() if one_each else Pixels()


def prepare(encoder: Encoder, documents: Documents, lab: Lab) -> Prepared:
    """An encoder with what it learned from the training part."""
    given = Given(rng=lab.generator("encoder"), documents=documents)
    return Prepared(encoder, encoder.fit(given))


def encode(prepared: tuple[Prepared, ...], documents: Documents) -> Documents:
    """Documents as the model's bodies read them."""
    for part in prepared:
        documents = part.encoder.apply(documents, Given(fitted=part.fitted))
    return documents


def weights_digest(model: Model) -> str:
    """sha256 of a model's weights."""
    return digest_of(network_of(model).state_dict())
