"""Learning curves of many designs, trained in stacks and kept in one file: what the tables share.

A table knows its space, names the row of each point, and holds what every design scored on
validation and test at each checkpoint, and the CPU seconds from one checkpoint to the next. A stack
is all designs of one shape: their weights lie along a first dimension and are trained in one go
under ``vmap``, with a learning rate, an optimizer and so on for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.search.history import Better
from vitruvius.space import Node, Point, canonical, one_of

MOMENTA = (0.0, 0.9)
SQUARES = (0.95, 0.999)


@dataclass(frozen=True)
class Momentum(Node):
    momentum: float = one_of(*MOMENTA)


@dataclass(frozen=True)
class Adaptive(Node):
    decay: float = one_of(*SQUARES)


KNOBS = {"Momentum": "optimizer=Momentum.momentum", "Adaptive": "optimizer=Adaptive.decay"}
OPTIMIZERS: list[dict[str, Any]] = [
    *({"optimizer": "Momentum", "optimizer=Momentum.momentum": m} for m in MOMENTA),
    *({"optimizer": "Adaptive", "optimizer=Adaptive.decay": d} for d in SQUARES),
]


@dataclass(frozen=True)
class Table:
    """What every design scored: [design, checkpoint], NaN where its outputs were not finite."""

    name: str
    space: Any
    points: tuple[Point, ...]
    better: Better
    unit: float
    """One point in units of the score: a hundredth of the way from nothing to all."""
    validation: np.ndarray
    test: np.ndarray
    seconds: np.ndarray
    """CPU seconds of a design from one checkpoint to the next, [design]: those of its stack, over
    the designs in it."""

    @cached_property
    def index(self) -> dict[str, int]:
        return {canonical(point): i for i, point in enumerate(self.points)}

    @cached_property
    def scores(self) -> np.ndarray:
        """Validation scores at the last checkpoint, [design]; NaN where the training failed."""
        return self.validation[:, -1]

    @property
    def gains(self) -> np.ndarray:
        """Validation in points, [design, checkpoint], higher is better; minus infinity: failed."""
        sign = 1.0 if self.better == "higher" else -1.0
        gains = sign * self.validation / self.unit
        return np.where(np.isfinite(gains), gains, -np.inf)

    @property
    def best(self) -> float:
        """The exactly best validation score at the end."""
        return float((np.nanmax if self.better == "higher" else np.nanmin)(self.scores))

    def score(self, point: Point) -> float:
        return float(self.scores[self.index[canonical(point)]])


def stored(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a table's file."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def make(
    path: Path,
    stacks: dict[str, list[int]],
    points: Sequence[Point],
    train: Callable[[list[Point], int], tuple[np.ndarray, np.ndarray]],
    more: dict[str, Any],
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train every stack that is not yet beside ``path``, then write the table; whether it is whole.

    ``train`` gets the points of a stack and its number, and gives validation and test, [design,
    checkpoint]. A stack that ends is a file of its own in the folder ``NAME_parts``, so that a run
    that was cut goes on.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    parts = path.with_name(f"{path.stem}_parts")
    parts.mkdir(parents=True, exist_ok=True)
    for number, (name, rows) in enumerate(stacks.items()):
        part = parts / f"{name}.npz"
        if part.exists():
            continue
        if stop():
            return False
        began = time.process_time()
        validation, test = train([points[i] for i in rows], number)
        seconds = (time.process_time() - began) / validation.size
        np.savez(part.with_suffix(".tmp.npz"), validation=validation, test=test, seconds=seconds)
        part.with_suffix(".tmp.npz").replace(part)
        print(f"{name}: {seconds * validation.size:.1f} s", flush=True)
    arrays: dict[str, Any] = {}
    for name, rows in stacks.items():
        part = stored(parts / f"{name}.npz")
        for key in ("validation", "test"):
            if key not in arrays:
                arrays[key] = np.zeros((len(points), part[key].shape[1]), part[key].dtype)
            arrays[key][rows] = part[key]
        arrays.setdefault("seconds", np.zeros(len(points), np.float32))[rows] = part["seconds"]
    np.savez_compressed(path, **arrays, **more)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()
    return True


class Stacked:
    """Gradient descent on the stacked weights of many networks of one shape.

    Each has its own learning rate. The first ``plain`` take steps of gradient descent with momentum
    ``knob``; the others those of Adam, with ``knob`` as the decay of the squared gradients. A step
    also shrinks the weights by learning rate x decay.
    """

    def __init__(
        self,
        weights: dict[str, Any],
        plain: int,
        rates: Sequence[float],
        knobs: Sequence[float],
        decays: Sequence[float],
    ) -> None:
        import torch

        self.weights = {name: w.detach().clone() for name, w in weights.items()}
        self.mean = {name: torch.zeros_like(w) for name, w in weights.items()}
        self.square = {name: torch.zeros_like(w[plain:]) for name, w in weights.items()}
        self.plain, self.count = plain, 0
        self.rates, self.decays = torch.tensor(rates), torch.tensor(decays)
        self.momenta, self.squares = torch.tensor(knobs).split([plain, len(rates) - plain])

    @classmethod
    def of(cls, networks: Sequence[Any], points: Sequence[Point]) -> Stacked:
        """As the points say, those with Momentum first; without decay where they name none."""
        from torch.func import stack_module_state

        return cls(
            stack_module_state(list(networks))[0],
            sum(point["optimizer"] == "Momentum" for point in points),
            [point["learning_rate"] for point in points],
            [float(point[KNOBS[point["optimizer"]]]) for point in points],
            [point.get("weight_decay", 0.0) for point in points],
        )

    def step(self, gradients: dict[str, Any], share: Any = 1.0) -> None:
        """One step on the gradients; ``share``: of each learning rate, a number or [network]."""
        import torch

        self.count += 1
        plain, rates = self.plain, self.rates * share
        size = rates[plain:] / (1 - 0.9**self.count)
        root = 1 / (1 - self.squares**self.count)
        first = torch.cat([self.momenta, torch.full_like(self.squares, 0.9)])
        for name, g in gradients.items():
            column = (-1, *[1] * (g.dim() - 1))
            weight, mean, square = self.weights[name], self.mean[name], self.square[name]
            weight.mul_((1 - rates * self.decays).view(column))
            mean.mul_(first.view(column))
            mean[:plain].add_(g[:plain])
            mean[plain:].add_(g[plain:], alpha=0.1)
            weight[:plain].addcmul_(mean[:plain], rates[:plain].view(column), value=-1.0)
            knobs, mine = self.squares.view(column), g[plain:]
            square.mul_(knobs).add_(mine * mine * (1 - knobs))
            divisor = (square * root.view(column)).sqrt_().add_(1e-8)
            weight[plain:].addcmul_(mean[plain:] / divisor, size.view(column), value=-1.0)
