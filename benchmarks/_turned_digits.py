"""Two stages over scikit-learn's digits: a body learns without labels, then with them.

The first predicts by how many quarter turns an image was turned (Gidaris, Singh & Komodakis 2018,
"Unsupervised Representation Learning by Predicting Image Rotations", arXiv:1803.07728, section 2);
the second puts a new head on that body and trains both on the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from vitruvius.contracts import (
    Cost,
    Given,
    Lab,
    Layer,
    Lineage,
    Measurement,
    Metric,
    Model,
    Objective,
    Optimizer,
    Prepared,
    Stage,
    State,
    Stream,
    Task,
)
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.space import hyper, one_of
from vitruvius.techniques.encoders import Pixels
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import BatchNorm, Conv, Dropout, ReLU, Sequential
from vitruvius.techniques.metrics import Accuracy
from vitruvius.techniques.objectives import Supervised
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.schedules import Cosine
from vitruvius.train.building import Outline, network_of, outline, realise, reset
from vitruvius.train.encoding import encode, prepare
from vitruvius.train.feeding import Feed
from vitruvius.train.flows import Epochs
from vitruvius.train.loop import Course, train
from vitruvius.train.meter import training_flops
from vitruvius.train.predicting import measure

TURNS = Task("turns", "item", ("0", "90", "180", "270"))


@dataclass(frozen=True, kw_only=True)
class Turns(Stage):
    """Train a body to tell by how many quarter turns an image was turned."""

    model: Layer = hyper(..., doc="the body")
    optimizer: Optimizer = hyper(AdamW(), doc="update rule")
    epochs: int = hyper(3, doc="passes over the images, each in all four turns")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        before = inputs["before"]
        seen = before.splits["train"].documents
        prepared = (prepare(Pixels(), seen, lab),)
        feed, held = (_turned(before, part, prepared, lab) for part in ("train", "validation"))
        found = outline(self.model, Readout(), feed.shape, TURNS, lab.meter, "model")
        model = realise(found, lab.device, lab.seed, prepared=prepared)
        return _trained(self, before, model, found, TURNS, Supervised(), feed, held, lab)


@dataclass(frozen=True, kw_only=True)
class Labels(Stage):
    """Put a new head on the body and train both on the labels."""

    optimizer: Optimizer = hyper(AdamW(), doc="update rule")
    objective: Objective = hyper(Supervised(), doc="what is minimised")
    epochs: int = hyper(4, doc="passes over the images")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        before = inputs["before"]
        model, task = before.model, before.task
        assert model is not None and task is not None
        parts = ("train", "validation")
        documents = [encode(model.prepared, before.splits[part].documents) for part in parts]
        feed, held = (Feed.of(one, lab.device) for one in documents)
        body = model.bodies["input"]
        with torch.no_grad():
            hidden = body(Stream(feed.inputs[:2])).hidden
        with torch.device("meta"):
            head = Readout().build(hidden.to("meta"), task)
        head = head.to_empty(device="cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lab.seed)
            for module in head.modules():
                reset(module)
        model = replace(model, heads={"task": head.to(lab.device)})
        network = network_of(model).eval()  # so that weighing moves no statistics
        cost = lab.meter.weigh(network, Stream(feed.inputs[:1]))
        found = Outline(network, feed.shape, cost)
        return _trained(self, before, model, found, task, self.objective, feed, held, lab)


def _turned(state: State, part: str, prepared: tuple[Prepared, ...], lab: Lab) -> Feed:
    """Every image of a part in all four turns; the label is the number of quarter turns."""
    plain = Feed.of(encode(prepared, state.splits[part].documents), lab.device).inputs
    turned = torch.cat([plain.rot90(k, (2, 3)) for k in range(4)])
    label = torch.arange(4, device=lab.device).repeat_interleave(len(plain))
    return Feed(turned, label, lab.device)


def _trained(
    stage: Turns | Labels,
    before: State,
    model: Model,
    found: Outline,
    task: Task,
    objective: Objective,
    feed: Feed,
    held: Feed,
    lab: Lab,
) -> State:
    metric: Metric = Accuracy()
    made = train(
        model,
        network=network_of(model),
        objective=objective,
        optimizer=stage.optimizer,
        schedule=Cosine(),
        course=Course(),
        flow=Epochs(feed, stage.epochs, 64),
        judge=lambda _: measure(model, held, task, metric, lab.precision),
        given=Given(rng=lab.generator("corrupt"), task=task),
        lab=lab,
        key=str(lab.seed),
    )
    cost = Cost(training_flops(found.cost.flops, made.tokens), parameters=found.cost.parameters)
    measured = Measurement(type(stage).__name__, made.best.value, items=made.tokens, cost=cost)
    stages = before.model.lineage.stages if before.model is not None else (before.digest,)
    lineage = Lineage(initial=str(lab.seed), stages=(*stages, str(lab.seed)))
    model = replace(model, lineage=lineage)
    return replace(before, model=model, measurements=(*before.measurements, measured))


def space(filters: int, turning: int, labelling: int) -> Any:
    """3 ways to learn without labels x 8 with them; the first shapes the body, the second does not.

    ``filters`` of a convolution, ``turning`` and ``labelling`` epochs of the stages.
    """

    def block() -> tuple[Layer, ...]:
        return Conv(filters), BatchNorm(), ReLU()

    body = Sequential(*block(), *block(), one_of(Dropout(0.0), Dropout(0.1), Dropout(0.2)))
    rates = one_of(3e-4, 1e-3, 3e-3, 1e-2)
    return Pipeline(
        Load("digits"),
        Turns(model=body, epochs=turning),
        Labels(
            optimizer=AdamW(rates),
            objective=one_of(Supervised(0.0), Supervised(0.1)),
            epochs=labelling,
        ),
        Evaluate(),
    )
