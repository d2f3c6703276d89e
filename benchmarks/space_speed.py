"""Is the language quick? Counting, sampling and deciding, importing.

    python benchmarks/space_speed.py                  # some twenty seconds
    python benchmarks/space_speed.py --quick          # a few seconds: fewer repetitions
    python benchmarks/space_speed.py --check --save   # exit status 1 where the claim does not hold

The claim: the networks of card 01's deepconv, 60,466,176, are counted in under 0.1 s, compiling
included; a point of a conditional tree of 25 decisions is sampled and its design decided in under
0.5 ms; ``import vitruvius`` takes under 0.3 s in a fresh interpreter and loads neither torch nor
numpy. Each figure is the median of its repetitions, with the fastest and the slowest beside it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from _results import circumstances, ended, flags

from vitruvius.recipes.deepconv import deepconv_network
from vitruvius.space import (
    Node,
    compile,
    count,
    either_order,
    hyper,
    integers,
    log_uniform,
    one_of,
    optional,
    uniform,
)

NETWORKS = 60_466_176
DECISIONS = 25
SEED = 0
LIMITS = {"count": 0.1, "decide": 0.0005, "import": 0.3}  # seconds
IMPORTS = "import sys, time; t = time.perf_counter(); import vitruvius; print(time.perf_counter()-t"
HEAVY = ", sorted({'torch', 'numpy'} & set(sys.modules)))"


@dataclass(frozen=True)
class Convolution(Node):
    filters: int = hyper(64, one_of(48, 64, 80, 96, 112, 128), "how many")
    kernel: int = hyper(3, one_of(3, 5, 7), "side, pixels")


@dataclass(frozen=True)
class Norm(Node):
    pass


@dataclass(frozen=True)
class Activation(Node):
    pass


@dataclass(frozen=True)
class Dropout(Node):
    rate: float = hyper(0.5, uniform(0.0, 0.9), "share set to zero")


@dataclass(frozen=True)
class Training(Node):
    network: tuple[Any, ...] = ()
    learning_rate: float = hyper(1e-3, log_uniform(1e-5, 1e-1), "step size")
    decay: float = hyper(0.0, uniform(0.0, 0.1), "of the weights")
    epochs: int = hyper(10, integers(1, 100), "passes over the data")


def tree() -> Node:
    """Three decisions of the training and, in each of five blocks, four and one conditional."""
    block = (Convolution.space(), either_order(Activation(), Norm()), optional(Dropout.space()))
    return Training.space(network=block * 5)


def repeated(run: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each run."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return seconds


def counting(times: int) -> dict[str, Any]:
    found = []
    seconds = repeated(lambda: found.append(count(deepconv_network())), times)
    assert all(counted.exact for counted in found)
    return {**spread(seconds), "points": found[0].points}


def deciding(times: int) -> dict[str, Any]:
    """A warm program: a branch is compiled once, when it is first taken."""
    program, rng = compile(tree()), Random(SEED)
    taken = []

    def run() -> None:
        point = program.sample(rng)
        program.build(point)
        taken.append(len(point))

    for _ in range(200):
        run()
    taken.clear()
    return {**spread(repeated(run, times)), "decisions": statistics.mean(taken)}


def importing(times: int) -> dict[str, Any]:
    seconds, loaded = [], set[str]()
    for _ in range(times):
        ran = subprocess.run(
            [sys.executable, "-c", IMPORTS + HEAVY], capture_output=True, text=True, check=True
        )
        took, _, names = ran.stdout.partition(" ")
        seconds.append(float(took))
        loaded.add(names.strip())
    return {**spread(seconds), "loaded": " ".join(sorted(loaded))}


def spread(seconds: list[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "repetitions": len(seconds),
    }


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    counted, decided, imported = (figures[name] for name in LIMITS)
    yield f"deepconv has {NETWORKS:,} networks", counted["points"] == NETWORKS
    yield f"counted in under {LIMITS['count']} s", counted["median"] < LIMITS["count"]
    yield (
        f"a point of {DECISIONS} decisions in under {LIMITS['decide'] * 1000} ms",
        decided["median"] < LIMITS["decide"] and decided["decisions"] >= DECISIONS,
    )
    yield f"imported in under {LIMITS['import']} s", imported["median"] < LIMITS["import"]
    yield "without torch and numpy", imported["loaded"] == "[]"


def report(figures: dict[str, Any]) -> str:
    lines = [
        "| what | median, ms | fastest | slowest | repetitions |",
        "|---|---|---|---|---|",
    ]
    words = {
        "count": f"count deepconv: {figures['count']['points']:,}",
        "decide": f"sample and decide {figures['decide']['decisions']:.1f} decisions",
        "import": "import vitruvius",
    }
    for name, word in words.items():
        figure = figures[name]
        times = " | ".join(f"{figure[k] * 1000:.3f}" for k in ("median", "fastest", "slowest"))
        lines.append(f"| {word} | {times} | {figure['repetitions']} |")
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "fewer repetitions").parse_args()
    figures: dict[str, Any] = {
        "count": counting(5 if given.quick else 50),
        "decide": deciding(2_000 if given.quick else 20_000),
        "import": importing(5 if given.quick else 30),
        "made": circumstances(seed=SEED),
    }
    return ended("space_speed", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
