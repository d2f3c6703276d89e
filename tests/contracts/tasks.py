"""A small task of each kind, with a model that answers it: for heads, objectives, initializers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Documents,
    Given,
    Head,
    Lineage,
    Model,
    Outputs,
    Stream,
    Task,
)
from vitruvius.train.building import Body

CLASSES = Task("kind", "item", labels=("a", "b", "c"))
NUMBER = Task("size", "item")


class Through(nn.Module):
    """A body that gives a network's output as hidden."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.network(stream.values))


def documents(task: Task, items: int = 12) -> Documents:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(items, 5)).astype(np.float32)
    label: Any = np.arange(items) % 3 if task.labels else (7 + 3 * x[:, 0]).astype(np.float32)
    return Documents({"input": x}, {"label": label})


def batch_of(items: Documents) -> Batch:
    label = torch.from_numpy(items.attributes["label"])
    x = torch.from_numpy(items.payload["input"][:])
    return Batch({"input": Stream(x)}, {"label": label}, torch.arange(len(items)))


def given(task: Task, seed: int = 0) -> Given:
    return Given(rng=torch.Generator().manual_seed(seed), task=task, documents=documents(task))


def model_of(head: Head, task: Task, network: nn.Module | None = None, seed: int = 0) -> Model:
    """A network with a head for a task, with weights from the seed and the head fitted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = Through(
            network or nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, width(task)))
        )
        module = head.build(body(Stream(torch.zeros(2, 5))).hidden.detach(), task)
    fitted = head.fit(given(task))
    if fitted is not None:
        module.load_state_dict(dict(fitted.tensors), strict=False)
    return Model({"input": body}, {"task": module}, Lineage("seed"))


def width(task: Task) -> int:
    return len(task.labels) or 1


def answers(model: Model, batch: Batch) -> Tensor:
    return model.heads["task"](model.bodies["input"](batch.streams["input"]), batch)


def seeded(seed: int = 0) -> Given:
    """A generator alone: what is given where there are no labels."""
    return Given(rng=torch.Generator().manual_seed(seed))


def image_batch(items: int = 12, shape: tuple[int, ...] = (2, 8, 8)) -> Batch:
    """Smooth images without labels, in units of their deviation."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randn(items, shape[0], 4, 4, generator=rng)
    values = nn.functional.interpolate(coarse, shape[1:], mode="bilinear", align_corners=False)
    return Batch({"input": Stream(values / values.std())}, {}, torch.arange(items))


def image_rows(batch: Batch, rows: Tensor) -> Batch:
    return Batch({"input": Stream(batch.streams["input"].values[rows])}, {}, batch.rows[rows])


def image_model(_: Any = None, seed: int = 0) -> Model:
    """A convolution of images of two channels, in evaluation, without a head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Conv2d(8, 6, 3))
    return Model({"input": Body(network.eval(), (2, 8, 8))}, {}, Lineage("seed"))
