"""3,136 classifiers of nasal and oral vowels, trained once and looked up ever after.

Data: phoneme (5,404 rows, five numbers, two classes; OpenML, public), from the data kit's folder
``tab_small``; only the results are kept here. Space: a linear model, or one to three hidden layers
with a width, an activation and a dropout of their own; gradient descent with a momentum, or Adam
with a decay; 8 learning rates and 2 weight decays. 10 epochs each, with validation and test
accuracy after every epoch.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from _learning_curves import OPTIMIZERS, Adaptive, Momentum, Stacked, Table, make, stored

from vitruvius.space import Node, Point, hyper, one_of

TABLE = Path(__file__).parent / "tables" / "phoneme_mlp.npz"
RATES = tuple(float(f"{10 ** (-4 + 4 * i / 7):.3g}") for i in range(8))
DEPTHS = (1, 2, 3)
WIDTHS = (4, 9, 20, 44)
ACTIVATIONS = ("relu", "tanh")
DROPOUTS = (0.0, 0.2)
DECAYS = (0.0, 0.01)
EPOCHS, BATCH = 10, 64
FAILED = 65535  # the network's outputs were not finite


@dataclass(frozen=True)
class Linear(Node):
    """No hidden layer."""


@dataclass(frozen=True)
class Hidden(Node):
    depth: int = one_of(*DEPTHS)
    width: int = one_of(*WIDTHS)
    activation: str = one_of(*ACTIVATIONS)
    dropout: float = one_of(*DROPOUTS)


@dataclass(frozen=True)
class Classifier(Node):
    learning_rate: float = one_of(*RATES)
    weight_decay: float = one_of(*DECAYS)
    body: Any = hyper(one_of(Linear(), Hidden()))
    optimizer: Any = hyper(one_of(Momentum(), Adaptive()))


SPACE = Classifier()


def stacks() -> tuple[dict[str, list[int]], list[Point]]:
    """The designs of each shape by number, and the point of each design."""
    shapes: list[tuple[int, int, str]] = [(0, 1, "relu")]
    shapes += list(itertools.product(DEPTHS, WIDTHS, ACTIVATIONS))
    rows: dict[str, list[int]] = {}
    points: list[Point] = []
    for depth, width, activation in shapes:
        held = rows.setdefault(f"{depth}-{width}-{activation}", [])
        inside = {"depth": depth, "width": width, "activation": activation}
        for optimizer, rate, decay, dropout in itertools.product(
            OPTIMIZERS, RATES, DECAYS, DROPOUTS if depth else (0.0,)
        ):
            body: Point = {"body": "Hidden" if depth else "Linear"}
            if depth:
                settings = {**inside, "dropout": dropout}
                body.update({f"body=Hidden.{name}": value for name, value in settings.items()})
            held.append(len(points))
            points.append({"learning_rate": rate, "weight_decay": decay, **body, **optimizer})
    return rows, points


@cache
def load(path: Path = TABLE) -> Table:
    arrays = stored(path)

    def accuracy(part: str) -> np.ndarray:
        right = arrays[part]
        return np.where(right == FAILED, np.nan, right / int(arrays[f"of_{part}"]))

    return Table(
        "phoneme",
        SPACE,
        tuple(stacks()[1]),
        "higher",
        0.01,
        accuracy("validation"),
        accuracy("test"),
        arrays["seconds"],
    )


def make_table(data: Path, path: Path = TABLE, stop: Any = lambda: False) -> bool:
    """Train all networks; ``data``: the file phoneme.csv. About six minutes on one core."""
    parts = _split(data)
    more = {"of_validation": len(parts[3]), "of_test": len(parts[5])}
    return make(path, *stacks(), partial(_train, parts), more, stop)


def _split(data: Path) -> tuple[Any, ...]:
    """Inputs and labels of the training, validation and test part (60, 20 and 20 per cent)."""
    import torch

    table = np.loadtxt(data, delimiter=",")
    order = np.random.default_rng(0).permutation(len(table))
    cuts = np.split(order, [int(0.6 * len(table)), int(0.8 * len(table))])
    x, y = table[:, :-1], table[:, -1]
    x = (x - x[cuts[0]].mean(0)) / x[cuts[0]].std(0)
    return tuple(
        part
        for cut in cuts
        for part in (
            torch.tensor(x[cut], dtype=torch.float32),
            torch.tensor(y[cut], dtype=torch.int64),
        )
    )


def _train(parts: tuple[Any, ...], points: list[Point], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers on validation and test, each [network, epoch], of networks of one shape."""
    import torch
    from torch import nn
    from torch.func import functional_call, grad, vmap
    from torch.nn import functional

    train_x, train_y, *held_out = parts
    depth = points[0].get("body=Hidden.depth", 0)
    width = points[0].get("body=Hidden.width", 0)
    activation = points[0].get("body=Hidden.activation", "relu")
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)

    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [train_x.shape[1], *[width] * depth, 2]
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

        def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            for layer, kept in zip(self.layers[:-1], keep, strict=True):
                x = getattr(torch, activation)(layer(x)) * kept
            return self.layers[-1](x)

    networks = [Perceptron() for _ in points]
    descent = Stacked.of(networks, points)
    share = torch.tensor([1 - point.get("body=Hidden.dropout", 0.0) for point in points])
    share = share[:, None, None, None]

    def loss(w: dict[str, Any], x: Any, y: Any, keep: Any) -> Any:
        return functional.cross_entropy(functional_call(networks[0], w, (x, keep)), y)

    gradients = vmap(grad(loss), in_dims=(0, None, None, 0))
    answer = vmap(
        lambda w, x: functional_call(networks[0], w, (x, torch.ones(depth))), in_dims=(0, None)
    )
    right = np.zeros((2, len(points), EPOCHS), np.uint16)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(train_x), generator=draw).split(BATCH):
            noise = torch.rand(depth, len(rows), max(width, 1), generator=draw)  # one for all
            keep = (noise < share) / share
            descent.step(gradients(descent.weights, train_x[rows], train_y[rows], keep))
        with torch.no_grad():
            for part in (0, 1):
                x, y = held_out[2 * part : 2 * part + 2]
                logits = answer(descent.weights, x)
                hits = (logits.argmax(-1) == y).sum(-1)
                finite = logits.isfinite().flatten(1).all(1)
                right[part, :, epoch] = torch.where(finite, hits, FAILED).numpy()
    return right[0], right[1]
