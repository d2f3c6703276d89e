"""A conditional tree of up to 26 decisions with a score that needs no training.

A stem, one to six blocks (an operation of four, each with a knob of its own, and a norm or none),
an optimizer with a knob of its own, a learning rate on 25 steps and a schedule. Neighbouring
operations, the depth, the share of norms, the optimizer and the learning rate interact. The weights
are drawn from a seed, so that there are as many instances as one likes; the best score of each is
known exactly, by dynamic programming over the chain of operations.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitruvius.space import Node, Point, Repeat, hyper, integers, one_of, optional, uniform

RATES = tuple(float(f"{10 ** (-4 + i / 8):.3g}") for i in range(25))
DEPTHS = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Convolution(Node):
    kernel: int = one_of(1, 3, 5, 7)


@dataclass(frozen=True)
class Pool(Node):
    mode: str = one_of("average", "largest", "learned")


@dataclass(frozen=True)
class Attention(Node):
    heads: int = integers(1, 8)


@dataclass(frozen=True)
class Shift(Node):
    share: float = uniform(0.0, 1.0)


@dataclass(frozen=True)
class Norm(Node):
    pass


@dataclass(frozen=True)
class Block(Node):
    operation: Any = hyper(one_of(Convolution(), Pool(), Attention(), Shift()))
    norm: Any = hyper(optional(Norm()))


@dataclass(frozen=True)
class Momentum(Node):
    momentum: float = one_of(0.0, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Adaptive(Node):
    decay: float = one_of(0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Network(Node):
    learning_rate: float = one_of(*RATES)
    stem: str = one_of("thin", "wide", "patches")
    blocks: tuple[Any, ...] = (Repeat(Block(), times=one_of(*DEPTHS)),)
    optimizer: Any = hyper(one_of(Momentum(), Adaptive()))
    schedule: str = one_of("constant", "cosine", "linear")


SPACE = Network()
LARGE = Network(blocks=(Repeat(Block(), times=one_of(5, 6)),))  # 23 to 26 decisions in each point
OPERATIONS = ("Convolution", "Pool", "Attention", "Shift")
KNOBS = {
    "Convolution": ("kernel", (1, 3, 5, 7)),
    "Pool": ("mode", ("average", "largest", "learned")),
    "Attention": ("heads", tuple(range(1, 9))),
    "Shift": ("share", None),
}
OPTIMIZERS = {
    "Momentum": ("momentum", (0.0, 0.8, 0.9, 0.95, 0.99)),
    "Adaptive": ("decay", (0.9, 0.95, 0.99, 0.999)),
}
STEMS, SCHEDULES = ("thin", "wide", "patches"), ("constant", "cosine", "linear")


class Instance:
    """One score over the space, drawn from a seed. Higher is better."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.stem = dict(zip(STEMS, draw.uniform(-0.1, 0.1, 3), strict=True))
        self.alone = dict(zip(OPERATIONS, draw.uniform(-0.15, 0.15, 4), strict=True))
        self.pair: dict[tuple[str, str], float] = {
            pair: draw.uniform(-0.25, 0.25)
            for pair in itertools.product(("", *OPERATIONS), OPERATIONS)
        }
        self.knob: dict[tuple[str, Any], float] = {}
        for operation, (_, values) in KNOBS.items():
            peak = draw.uniform(0.0, 1.0)
            for i, value in enumerate(values or ()):
                u = (i + 0.5) / len(values or ())
                unordered = operation == "Pool"
                fit = draw.uniform(-0.1, 0.1) if unordered else 0.1 - 0.4 * (u - peak) ** 2
                self.knob[operation, value] = fit
        self.share = draw.uniform(0.2, 0.8)
        self.depth = draw.uniform(2.5, 5.5)
        self.norms = draw.uniform(0.3, 0.9)
        self.rate = {name: draw.uniform(-3.2, -1.8) for name in OPTIMIZERS}
        self.slope = draw.uniform(0.1, 0.3)  # decades of the best rate for each block more
        self.lift = draw.uniform(0.3, 1.0)  # decades of the best rate for norms everywhere
        self.tuning = {
            (name, value): draw.uniform(-0.1, 0.1)
            for name, (_, values) in OPTIMIZERS.items()
            for value in values
        }
        self.schedule = {
            pair: draw.uniform(-0.1, 0.1) for pair in itertools.product(SCHEDULES, OPTIMIZERS)
        }

    def score(self, point: Point) -> float:
        times = point["blocks.repeat.times"]
        names, norms, total = [""], 0, 0.0
        for i in range(1, times + 1):
            place = f"blocks.repeat.{i}"
            name = point[f"{place}.operation"]
            knob = KNOBS[name][0]
            value = point[f"{place}.operation={name}.{knob}"]
            total += self._fit(name, value) + self.alone[name] + self.pair[names[-1], name]
            names.append(name)
            norms += point[f"{place}.norm"] is not None
        optimizer = point["optimizer"]
        value = point[f"optimizer={optimizer}.{OPTIMIZERS[optimizer][0]}"]
        return (
            total / times
            + self.tuning[optimizer, value]
            + self.stem[point["stem"]]
            + self.schedule[point["schedule"], optimizer]
            + self._rest(times, norms, optimizer, point["learning_rate"])
        )

    def best(self) -> float:
        """The best score of all points."""
        found = -np.inf
        fit = {
            name: max(self._fit(name, v) for v in KNOBS[name][1] or (self.share,))
            + self.alone[name]
            for name in OPERATIONS
        }
        chain = {name: fit[name] + self.pair["", name] for name in OPERATIONS}
        for times in DEPTHS:
            if times > 1:
                chain = {
                    name: fit[name] + max(chain[b] + self.pair[b, name] for b in OPERATIONS)
                    for name in OPERATIONS
                }
            for name, norms in itertools.product(OPTIMIZERS, range(times + 1)):
                rest = max(self._rest(times, norms, name, rate) for rate in RATES)
                tuned = max(self.tuning[name, v] for v in OPTIMIZERS[name][1])
                schedule = max(self.schedule[s, name] for s in SCHEDULES)
                found = max(found, max(chain.values()) / times + rest + tuned + schedule)
        return float(found + max(self.stem.values()))

    def _fit(self, operation: str, value: Any) -> float:
        if operation == "Shift":
            return 0.1 - 0.8 * (value - self.share) ** 2
        return self.knob[operation, value]

    def _rest(self, times: int, norms: int, optimizer: str, rate: float) -> float:
        share = norms / times
        wanted = self.rate[optimizer] - self.slope * (times - 3) + self.lift * share
        missed = np.log10(rate) - wanted
        return float(
            -0.03 * (times - self.depth) ** 2
            - 0.3 * (share - self.norms) ** 2
            - 0.25 * min(missed**2, 2.0)
        )
