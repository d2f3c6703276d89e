"""A small transfer task: a network knows some digits and learns others from few labels.

The base is most often a transformer of three layers, 48 wide, over patches of 2 x 2 of
scikit-learn's digits (86,016 numbers, 16 patches and a class token), trained on all images of the
digits 0 to 4. The target are the digits 5 to 9 with 200 labels. A base takes about 14 seconds of
CPU time and an adaptation at most 4, so that methods can be compared over rates and seeds.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Adapted,
    Adapter,
    Batch,
    Documents,
    Fitted,
    Given,
    Head,
    Layer,
    Measurement,
    Model,
    Objective,
    Task,
)
from vitruvius.data.builtin import digits as all_digits
from vitruvius.pipeline.beginning import copied
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.techniques.encoders import Pixels
from vitruvius.techniques.heads import PooledReadout
from vitruvius.techniques.layers import Attention, Block, Encoder, Patches
from vitruvius.techniques.metrics import Accuracy
from vitruvius.techniques.objectives import Supervised
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.schedules import Linear
from vitruvius.train import adapter_costs as costs
from vitruvius.train.adapting import attach
from vitruvius.train.building import network_of, outline, realise, reset
from vitruvius.train.encoding import prepare
from vitruvius.train.feeding import Feed
from vitruvius.train.flows import epochs_of
from vitruvius.train.frozen import freeze
from vitruvius.train.loop import Course, train
from vitruvius.train.predicting import evaluating, measure
from vitruvius.train.reading import feed_of

CPU = torch.device("cpu")
HEAD = PooledReadout("cls", dense=False, dropout=0.0)
LAYERS, HEADS, PATCH = 3, 4, 2
TEST, VALIDATION = 100, 30  # of each digit; the test part is the same for all seeds
Data = tuple[Documents, Documents, Documents]
"""Of training, validation and test."""


@dataclass(frozen=True, eq=False)
class Result:
    """What an adaptation came to, after its last epoch."""

    validation: float
    """Accuracy, to choose a rate by."""
    test: float
    count: int
    """Numbers that trained, the head not counted."""
    seconds: float
    """Of CPU time, for the training."""
    saved: int
    """Bytes kept for the backward pass of one step."""
    adapted: Adapted
    """Not merged yet."""
    head: nn.Module


@functools.cache
def pretrained(
    seed: int,
    digits: tuple[int, ...] = (0, 1, 2, 3, 4),
    width: int = 48,
    epochs: int = 40,
    order: str = "pre",
) -> Model:
    """The transformer, trained on all images of these digits. It is shared: ``adapt`` works on a
    copy.

    ``order`` is that of ``Block``: norms before the parts or after the sums.
    """
    block = Block(Attention(HEADS), order=order)
    design = Encoder(Patches(width, PATCH), (block,) * LAYERS, positions=None)
    return taught(design, HEAD, seed, digits, epochs)


def taught(
    design: Layer,
    head: Head,
    seed: int,
    digits: tuple[int, ...] = (0, 1, 2, 3, 4),
    epochs: int = 40,
) -> Model:
    """A network of this design that was trained on all images of these digits."""
    documents, lab = of(digits), lab_of(seed)
    prepared = (prepare(Pixels(), documents, lab),)
    task = task_of(documents)
    found = outline(design, head, (1, 8, 8), task, lab.meter)
    model = realise(found, CPU, seed, prepared=prepared)
    learn(model, feed_of(model, documents, CPU), task, 2e-3, seed, epochs, 64)
    network_of(model).eval()
    return replace(model, designs={"input": design})


def target(seed: int, labels: int = 200, digits: tuple[int, ...] = (5, 6, 7, 8, 9)) -> Data:
    """Some labels, the validation part and the test part, each with as many items of each digit.

    Which items are labelled and which validate is drawn by the seed. Labels are 0 to the last.
    """
    documents = of(digits)
    label, order = documents.attributes["label"], np.random.default_rng(0).permutation(2000)
    drawn = np.random.default_rng(seed)
    rows: tuple[list[int], ...] = ([], [], [])
    for kind in range(len(digits)):
        some = sorted(np.flatnonzero(label == kind), key=lambda row: order[row])
        here, rest = some[:TEST], drawn.permutation(some[TEST:])
        wanted = labels // len(digits) + (kind < labels % len(digits))
        if wanted > len(rest) - VALIDATION:
            raise ValueError(
                f"There are {len(rest) - VALIDATION} labels of a digit; {wanted} are wanted. "
                "Take fewer, or more digits."
            )
        parts = rest[VALIDATION : VALIDATION + wanted], rest[:VALIDATION], here
        for found, part in zip(rows, parts, strict=True):
            found.extend(map(int, part))
    train, validation, test = (documents.take(np.array(sorted(part))) for part in rows)
    return train, validation, test


def adapt(
    model: Model,
    adapter: Adapter,
    data: Data,
    rate: float,
    seed: int,
    epochs: int = 40,
    batch: int = 32,
    head: Head | None = None,
    fitted: Fitted | None = None,
) -> Result:
    """Train a copy of the model with the adapter and a new head, by AdamW with one warmup.

    The head is drawn from the seed. The weights are those of the last epoch. ``fitted`` is what
    the adapter's source starts from.
    """
    task, mine = task_of(data[0]), copied(model)
    given = Given(rng=torch.Generator().manual_seed(seed), task=task, documents=data[0])
    adapted = attach(adapter, mine, given if fitted is None else given.but(fitted=fitted))
    labelled, validation, test = (feed_of(mine, part, CPU) for part in data)
    assert isinstance(labelled, Feed)
    fresh = head_of(head or HEAD, mine, labelled, task, seed)
    mine = replace(adapted.model, heads={"task": fresh})
    network_of(mine).train()
    if adapter.frozen:
        mine.bodies["input"].eval()
    saved = saved_bytes(mine, labelled.batch(torch.arange(min(batch, len(labelled)))))
    started = time.process_time()
    learner, shown = mine, labelled
    if adapter.frozen:
        learner, (shown,) = freeze(mine, (labelled,), lab_of(seed))
    learn(learner, shown, task, rate, seed, epochs, batch, still=adapter.frozen)
    seconds = time.process_time() - started
    chosen, tested = (
        measure(mine, part, task, Accuracy(), torch.float32).value for part in (validation, test)
    )
    return Result(chosen, tested, adapted.count, seconds, saved, adapted, fresh)


def saved_bytes(model: Model, batch: Batch) -> int:
    """What autograd keeps for the backward pass of one step of this batch."""

    def loss() -> Tensor:
        answer = model.heads["task"](model.bodies["input"](batch.streams["input"]), batch)
        return nn.functional.cross_entropy(answer, batch.fields["label"])

    return costs.saved_bytes(nn.ModuleList([*model.bodies.values(), *model.heads.values()]), loss)


def of(digits: Sequence[int]) -> Documents:
    """All images of these digits; the label is the place among them."""
    documents = all_digits().documents
    label = documents.attributes["label"]
    rows = np.flatnonzero(np.isin(label, digits))
    place = {digit: number for number, digit in enumerate(digits)}
    named = np.array([place[int(digit)] for digit in label[rows]], np.int64)
    return Documents(documents.take(rows).payload, {"label": named})


def task_of(documents: Documents) -> Task:
    """To tell the kinds that are among the labels."""
    kinds = int(documents.attributes["label"].max()) + 1
    return Task("digits", "item", tuple(map(str, range(kinds))))


def lab_of(seed: int) -> LocalLab:
    return LocalLab(Setting(seed, CPU, torch.float32, 1), key=f"{seed:064x}")


def head_of(head: Head, model: Model, feed: Feed | Any, task: Task, seed: int) -> nn.Module:
    """A head for what the body gives, its weights from the seed."""
    with evaluating(model, CPU, torch.float32):
        hidden = model.bodies["input"](feed.batch(torch.arange(2)).streams["input"]).hidden
    with torch.device("meta"):
        made = head.build(hidden.to("meta"), task)
    made = made.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in made.modules():
            reset(part)
    return made


def learn(
    model: Model,
    feed: Feed | Any,
    task: Task,
    rate: float,
    seed: int,
    epochs: int,
    batch: int,
    still: bool = False,
    objective: Objective | None = None,
    teacher: Model | None = None,
) -> None:
    """Train what of a model requires a gradient, with a tenth of warmup and then a falling line."""
    lab = lab_of(seed)
    given = Given(rng=lab.generator("corrupt"), task=task)
    if teacher is not None:
        given = given.but(models={"teacher": teacher})
    train(
        model,
        network=network_of(model),
        objective=objective or Supervised(),
        optimizer=AdamW(rate, 0.01),
        schedule=Linear(warmup=0.1),
        course=Course(clip=1.0, keep="last"),
        flow=epochs_of(feed, epochs, batch),
        judge=lambda _: Measurement("round", 0.0),  # chooses nothing
        given=given,
        lab=lab,
        key=str(seed),
        still=tuple(model.bodies.values()) if still else (),
    )
