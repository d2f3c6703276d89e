"""Do designs that agree up to a stage share the work up to that stage?

    python benchmarks/prefix_reuse.py                  # some five minutes
    python benchmarks/prefix_reuse.py --quick          # under a minute: smaller stages
    python benchmarks/prefix_reuse.py --check --save   # exit status 1 where the claim does not hold

24 designs over scikit-learn's digits: 3 ways to learn without labels x 8 ways to go on with them
(``_turned_digits.py``). Each is run twice, without a store and with one that all share, one after
the other, so that both see the same machine. With P seconds of the first stage and A of what
follows, the store saves 21 of 24 P.

The claim: where P is 2 to 4 A as measured, the designs take with the store at most 1.10 times
(3 P + 24 A) / (24 P + 24 A) of the seconds without it, writing, locking and checking included, and
every score and every weight is the same to the last bit. A second run over the full store computes
nothing. Checked is CPU time, which others on the machine do not disturb; wall time, which also
counts waiting for the disk, is printed beside it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from _results import circumstances, ended, flags
from _turned_digits import Labels, Turns, space

from vitruvius.contracts import Stage, State
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.training import weights_digest
from vitruvius.space import enumerate_points, replay
from vitruvius.train.meter import FlopMeter

SEED = 0
WAYS = (3, 8)
SLACK = 1.10
PROPORTION = (2.0, 4.0)  # of P to A
SIZES = {"quick": (8, 3, 4), "full": (16, 8, 10)}  # filters, epochs of the two stages


CLOCKS: dict[str, Callable[[], float]] = {"CPU": time.process_time, "wall": time.perf_counter}
Seconds = dict[str, float]


def timed(call: Callable[[], Any]) -> tuple[Seconds, Any]:
    """Seconds by each clock, and what came out."""
    began = {name: clock() for name, clock in CLOCKS.items()}
    result = call()
    return {name: clock() - began[name] for name, clock in CLOCKS.items()}, result


class Parts:
    """What each stage takes while it is watched."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[Seconds]] = {}
        self.watched = True
        for stage in (Turns, Labels, Evaluate):
            self._watch(stage, stage.run)

    def _watch(self, stage: type[Stage], original: Callable[..., State]) -> None:
        def run(this: Stage, inputs: Any, lab: Any) -> State:
            seconds, state = timed(lambda: original(this, inputs, lab))
            if self.watched:
                self.seconds.setdefault(stage.__name__, []).append(seconds)
            return state

        stage.run = run  # type: ignore[method-assign]

    def mean(self, clock: str, *stages: str) -> float:
        return sum(statistics.fmean(s[clock] for s in self.seconds[stage]) for stage in stages)


def names(state: State) -> tuple[float, str]:
    """The score, and the digest of all weights."""
    assert state.model is not None
    return score_of(state).value, weights_digest(state.model)


def measured(size: str) -> dict[str, Any]:
    tree = space(*SIZES[size])
    designs = [replay(tree, point) for point in enumerate_points(tree)]
    torch.set_num_threads(1)
    setting = Setting(SEED, torch.device("cpu"), torch.float32, 1)
    LocalLab(setting).run(designs[0], {})  # what is loaded and compiled once
    parts = Parts()
    seconds: dict[str, list[Seconds]] = {"without": [], "with": [], "again": []}
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, allow=("vitruvius", "_turned_digits"))
        shared = LocalLab(setting, store=store)
        for design in designs:
            parts.watched = True
            alone, first = timed(lambda: LocalLab(setting).run(design, {}))  # noqa: B023
            parts.watched = False
            took, second = timed(lambda: shared.run(design, {}))  # noqa: B023
            seconds["without"].append(alone)
            seconds["with"].append(took)
            differing += names(first) != names(second)
        last = replace(shared, meter=FlopMeter())
        for design in designs:
            seconds["again"].append(timed(lambda: last.run(design, {}))[0])  # noqa: B023
        runs = sum(entry.stage.endswith(":Turns") for entry in store.entries())
        size_bytes = sum(p.stat().st_size for p in (store.folder / "blobs").iterdir())
        damaged = len(store.verify().damaged)
    return {
        "size": size,
        "designs": len(designs),
        "runs of the first stage": runs,
        "differing": differing,
        "computed again": last.meter.spent.flops,
        "bytes": size_bytes,
        "damaged": damaged,
        "seconds": {
            clock: {
                **{name: sum(one[clock] for one in found) for name, found in seconds.items()},
                "P": parts.mean(clock, "Turns"),
                "A": parts.mean(clock, "Labels", "Evaluate"),
            }
            for clock in CLOCKS
        },
    }


def ratios(seconds: Seconds) -> tuple[float, float]:
    """Seconds with a store over those without, and what that would be if it took none itself."""
    p, a = seconds["P"], seconds["A"]
    ways, designs = WAYS[0], WAYS[0] * WAYS[1]
    return seconds["with"] / seconds["without"], (ways * p + designs * a) / (designs * (p + a))


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    seconds = figures["seconds"]["CPU"]
    proportion, (ratio, ideal) = seconds["P"] / seconds["A"], ratios(seconds)
    yield (
        f"24 designs, the first stage {proportion:.2f} times what follows",
        figures["designs"] == WAYS[0] * WAYS[1] and PROPORTION[0] <= proportion <= PROPORTION[1],
    )
    yield (
        f"at most {SLACK:.2f} times the ideal of {ideal:.3f}: {ratio:.3f}, "
        f"{ratio / ideal:.3f} times",
        ratio <= SLACK * ideal,
    )
    yield "the first stage ran 3 times", figures["runs of the first stage"] == WAYS[0]
    yield "every score and weight is the same to the last bit", figures["differing"] == 0
    yield "a second run computes nothing", figures["computed again"] == 0
    yield "nothing in the store is damaged", figures["damaged"] == 0


def report(figures: dict[str, Any]) -> str:
    cpu, wall = figures["seconds"]["CPU"], figures["seconds"]["wall"]
    lines = ["| | CPU seconds | wall |", "|---|---|---|"]
    words = {
        "P": "P: first stage, mean of 24",
        "A": "A: what follows, mean of 24",
        "without": "24 designs without a store",
        "with": "24 designs with one store",
        "again": "again, all stored",
    }
    lines += [f"| {word} | {cpu[name]:.3f} | {wall[name]:.3f} |" for name, word in words.items()]
    found = [" of ".join(f"{ratio:.3f}" for ratio in ratios(one)) for one in (cpu, wall)]
    lines.append(f"| with over without, of the ideal | {found[0]} | {found[1]} |")
    lines.append(
        f"\n{figures['bytes'] / 1e6:.2f} MB of weights stored; sizes: {figures['size']}.\n"
    )
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "smaller stages").parse_args()
    figures = {
        **measured("quick" if given.quick else "full"),
        "made": circumstances("torch", seed=SEED),
    }
    return ended("prefix_reuse", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
