"""Events of a study that never ran, over a real space: for tests and pictures of what shows one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from vitruvius.contracts import Layer
from vitruvius.search.history import Event
from vitruvius.space import (
    Node,
    Repeat,
    either_order,
    integers,
    log_uniform,
    one_of,
    optional,
    replay,
    sample,
    to_json,
    uniform,
)
from vitruvius.study.shapes import layer_shapes
from vitruvius.techniques.layers import (
    Affine,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
)


@dataclass(frozen=True)
class Momentum(Node):
    """Stands for an optimizer."""

    learning_rate: float = 0.1
    momentum: float = 0.9


@dataclass(frozen=True)
class Adaptive(Node):
    """Stands for another one."""

    learning_rate: float = 0.001
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Training(Node):
    """Stands for a pipeline: a network and how it is trained."""

    model: Node
    optimizer: Node
    epochs: int = 10


def made_up_space() -> Training:
    """A conditional space of small convolutional networks for 8 x 8 images."""
    block = (
        Conv(one_of(16, 32, 64), kernel=one_of(3, 5), padding=one_of("same", "valid")),
        *(either_order(ReLU(), BatchNorm()),),
    )
    return Training(
        model=Sequential(
            Repeat(Sequential(*block), times=one_of(1, 2, 3)),
            MaxPool(2),
            optional(Residual(Sequential(Conv(one_of(32, 64, name="width")), ReLU()))),
            one_of(GlobalAveragePool(), Flatten()),
            optional(Dropout(uniform(0.1, 0.6))),
            Affine(10),
        ),
        optimizer=one_of(
            Momentum(log_uniform(1e-3, 1.0), momentum=one_of(0.0, 0.9, 0.99)),
            Adaptive(log_uniform(1e-5, 1e-1), weight_decay=log_uniform(1e-4, 1e-1)),
        ),
        epochs=integers(5, 20),
    )


def made_up_events(
    trials: int = 100,
    seed: int = 0,
    *,
    space: Any = None,
    failing: float = 0.08,
    running: int = 2,
    ended: str | None = "the budget of seconds is spent",
    better: str = "higher",
    start: float = 1_780_000_000.0,
) -> list[Event]:
    """The journal of a study with curves, failures, refused points and running trials."""
    space = made_up_space() if space is None else space
    rng = Random(seed)
    events: list[Event] = []
    now = start

    def add(kind: str, trial: int, /, **body: Any) -> None:
        events.append(Event(len(events) + 1, kind, trial, {**body, "at": now}))

    add(
        "study",
        -1,
        space=to_json(space),
        searcher={"node": "vitruvius.search.random_search:RandomSearch", "seed": seed},
        budget={"trials": None, "seconds": trials * 6.0, "flops": None},
        seed=seed,
        source="digits",
        task={"name": "digits", "labels": [str(digit) for digit in range(10)]},
        items={"train": 1079, "validation": 359, "test": 359},
        versions={"python": "3.11.9", "vitruvius": "0.1.0", "torch": "2.13.0"},
        machine="x86_64, 2 cores",
        better=better,
        metric="accuracy" if better == "higher" else "log_loss",
        floor={
            "name": "most frequent class",
            "value": 0.101 if better == "higher" else math.log(10),
        },
        data={"train": "8b1f3f0c" * 8, "validation": "9d2e4a55" * 8, "test": "77c0d1e2" * 8},
    )
    best: tuple[float, int, dict[str, Any]] | None = None
    for trial in range(trials):
        point = sample(space, rng)
        attempt = 0
        while _refused(point):
            add("asked", trial, point=point, attempt=attempt)
            add(
                "rejected",
                trial,
                point=point,
                attempt=attempt,
                address="model.repeat.3.conv",
                reason="Conv.kernel of 5 does not fit into an image of 4 x 4.",
            )
            attempt += 1
            point = sample(space, rng)
        add("asked", trial, point=point, attempt=attempt)
        add("started", trial, worker=f"worker-{trial % 2}")
        quality, seconds, parameters = _quality(point, rng), rng.uniform(2.0, 9.0), _size(point)
        fails = rng.random() < failing or quality < 0.05
        epochs = point.get("epochs", 10)
        if trial >= trials - running:
            now += seconds / 3
            add("rung", trial, step=1, fraction=1 / epochs, score=_way(quality, 0.3, better))
            continue
        for epoch in range(1, epochs + 1):
            if fails and epoch > epochs // 3:
                break
            now += seconds / epochs
            score = _way(quality, epoch / epochs, better, rng)
            add("rung", trial, step=epoch, fraction=epoch / epochs, score=score, annealed=False)
        costs = {"seconds": seconds, "parameters": parameters, "flops": parameters * epochs * 3e5}
        if fails:
            rate = next(v for k, v in point.items() if k.endswith("learning_rate"))
            cause = (
                f"the loss became NaN at step {rng.randint(20, 900)} (learning rate {rate:.2g})"
                if rng.random() < 0.7
                else "out of memory: needed 3.1 GB more"
            )
            told = {"score": None, "scores": {}, "status": "failed", "cause": cause}
            add("told", trial, **told, **costs)
        elif rng.random() < 0.05:
            add("stopped", trial, score=_way(quality, 0.5, better), cause="halved at a rung")
        else:
            score = _way(quality, 1.0, better, rng)
            names = ("accuracy", "log_loss") if better == "higher" else ("log_loss", "accuracy")
            scores = {names[0]: score, names[1]: round(2.4 * (1 - quality), 4)}
            add("told", trial, score=score, scores=scores, status="finished", cause=None, **costs)
            if best is None or (score > best[0]) == (better == "higher"):
                best = (score, trial, point)
    if ended is not None:
        if best is not None:
            add("final", best[1], **_final(space, best, better, rng))
        add("ended", -1, cause=ended)
    return events


def _final(
    space: Any, best: tuple[float, int, dict[str, Any]], better: str, rng: Random
) -> dict[str, Any]:
    score, trial, point = best
    worse = -1 if better == "higher" else 1
    again = [round(score + worse * rng.uniform(0.0, 0.012), 4) for _ in range(2)]
    return {
        "point": point,
        "trial": trial,
        "design": to_json(replay(space, point)),
        "selected": score,
        "validation": sum(again) / len(again),
        "rescored": [
            {
                "trial": trial,
                "seed": 1 + i,
                "score": s,
                "cause": None,
                "seconds": 5.0,
                "folder": f"final/trial-{trial:04d}-seed-{1 + i}",
            }
            for i, s in enumerate(again)
        ],
        "test": {
            "score": round(score + worse * 0.006, 4),
            "stderr": 0.0048,
            "items": 359,
            "metric": "accuracy",
            "data": "77c0d1e2" * 8,
            "layers": _layers(replay(space, point)),
        },
        "folder": f"final/trial-{trial:04d}-seed-1",
    }


def _layers(design: Any) -> list[dict[str, Any]]:
    if not isinstance(design, Training) or not isinstance(design.model, Layer):
        return []
    with torch.device("meta"):
        x = torch.empty(2, 1, 8, 8)
        return layer_shapes(design.model.build(x), x)


def _refused(point: dict[str, Any]) -> bool:
    deep = [k for k in point if k.endswith("kernel") and point[k] == 5]
    valid = [k for k in point if k.endswith("padding") and point[k] == "valid"]
    return len(deep) >= 2 and len(valid) >= 2


def _quality(point: dict[str, Any], rng: Random) -> float:
    """From 0 to 1: mostly the learning rate, then the way to pool, then the width."""
    name, rate = next((k, v) for k, v in point.items() if k.endswith("learning_rate"))
    ideal = -1.0 if "Momentum" in name else -2.7
    off = math.log10(rate) - ideal
    value = 0.985 - 0.035 * off**2 - (0.3 * (off - 1.2) if off > 1.2 else 0.0)
    value -= 0.03 if any(v == "GlobalAveragePool" for v in point.values()) else 0.0
    width = next((v for k, v in point.items() if k.endswith("repeat.1.conv.filters")), 64)
    value -= {16: 0.02, 32: 0.006}.get(width, 0.0)
    return min(0.995, max(0.0, value + rng.gauss(0, 0.006)))


def _size(point: dict[str, Any]) -> int:
    return 650 + sum(300 * v for k, v in point.items() if k.endswith("filters"))


def _way(quality: float, fraction: float, better: str, rng: Random | None = None) -> float:
    noise = rng.gauss(0, 0.006) * (1.2 - fraction) if rng else 0.0
    reached = quality - (quality - 0.1) * 0.7 * math.exp(-5 * fraction) + noise
    reached = min(max(reached, 0.0), 1.0)
    return round(reached if better == "higher" else -2.302 * math.log(0.08 + reached) + 0.2, 4)
