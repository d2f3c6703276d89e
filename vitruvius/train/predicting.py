"""Predictions of a model, and their measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Given, Head, Measurement, Metric, Model, Predictions, Task
from vitruvius.techniques.heads import PairScore, PooledReadout, WordTags
from vitruvius.train.building import network_of
from vitruvius.train.feeding import Feed

BATCH = 512
SLOTS = {"cpu": 2048}  # tokens of a batch; measured: 1024 to 4096 alike, 8192 half as fast
SLOTS_ELSEWHERE = 65_536
ANSWERS: dict[str, Head] = {  # what reads an answer off the head "task", by the level of the task
    "item": PooledReadout(),
    "token": WordTags(),
    "pair": PairScore(),
}


class Texts(Protocol):
    """Rows of texts as batches: a TextFeed, a PairFeed, a FrozenFeed."""

    @property
    def device(self) -> torch.device: ...
    @property
    def capacity(self) -> int: ...
    def batch(self, rows: Tensor) -> Batch: ...
    def cut_by_tokens(self, slots: int) -> list[Tensor]: ...


def predict(model: Model, feed: Feed | Texts, task: Task, precision: torch.dtype) -> Predictions:
    """Probabilities [N C] of classes, or values [N], on the CPU, in the order of the items.

    Of given words one for each word, with the item of each in ``rows``.
    """
    with evaluating(model, feed.device, precision):
        if isinstance(feed, Feed):
            return _of_items(model, feed, task)
        return _of_texts(model, feed, task)


def slots(device: torch.device, capacity: int) -> int:
    """Tokens of a batch that is only read, at least one row of so many."""
    return max(SLOTS.get(device.type, SLOTS_ELSEWHERE), capacity)


@contextmanager
def evaluating(model: Model, device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Inside, the model neither learns nor drops anything; then it is in the mode it was in."""
    modules = [*model.bodies.values(), *model.heads.values()]
    training = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    full = precision == torch.float32
    try:
        with torch.inference_mode(), torch.autocast(device.type, precision, not full):
            yield
    finally:
        for part, was in training:
            part.training = was


def _of_items(model: Model, feed: Feed, task: Task) -> Predictions:
    network, found = network_of(model), []
    for batch in feed.ordered(BATCH):
        answer = network(batch.streams["input"]).float()
        found.append(nn.functional.softmax(answer, dim=-1) if task.labels else answer)
    values = torch.cat(found).cpu()
    targets = None if feed.label is None else feed.label.cpu()
    return Predictions(values, targets, torch.arange(len(values)))


def _of_texts(model: Model, feed: Texts, task: Task) -> Predictions:
    if task.level not in ANSWERS:
        raise ValueError(
            f"A model answers tasks of level {', '.join(ANSWERS)}; this one is {task.level!r}."
        )
    head, given = ANSWERS[task.level], Given(task=task)
    cuts = feed.cut_by_tokens(slots(feed.device, feed.capacity))
    made = [head.predict(model, feed.batch(rows), given) for rows in cuts]
    rows = torch.cat([one.rows.cpu() for one in made])
    order = torch.argsort(rows, stable=True)
    values = torch.cat([one.values.cpu() for one in made])[order]
    known = [one.targets.cpu() for one in made if one.targets is not None]
    targets = torch.cat(known)[order] if len(known) == len(made) else None
    return Predictions(values, targets, rows[order])


def measure(
    model: Model,
    feed: Feed | Texts,
    task: Task,
    metric: Metric,
    precision: torch.dtype,
) -> Measurement:
    """The metric of a model's predictions."""
    return metric.measure(predict(model, feed, task, precision))
