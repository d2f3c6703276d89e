"""Does a pretrained body need fewer numbers for a new task than one drawn at random?

    nice python benchmarks/intrinsic_dimension.py     # about 15 minutes of CPU time
    python benchmarks/intrinsic_dimension.py --quick  # a minute: one seed and rate, three sizes
    python benchmarks/intrinsic_dimension.py --check --save

The vision transformer of ``_transfer.py`` (86,261 numbers with its head), with norms after the sums
as in the paper's models, is trained on the digits 5 to 9 with 200 labels, 80 steps of all labels,
by ``DID``: d numbers that one random map spreads over all weights, the head included. Once from the
body that knows the digits 0 to 4, once from weights drawn at random. Scores are of the test part.

The claim, as card 13 measured it, with one rate for both: at d = 100 and the rate that is best from
the pretrained body (on the validation part, in the mean over seeds), that body is at least 25
points above the random one. Beside it, and not claimed: the same with a rate of its own for each,
d90 with its sweep, whether the curve rises, and ``SAID`` at the same d.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from _results import circumstances, ended, flags
from _transfer import CPU, HEAD, adapt, head_of, pretrained, target, task_of
from scipy.stats import spearmanr
from torch import nn

from vitruvius.contracts import Adapter, Model, Outputs, Stream
from vitruvius.pipeline.beginning import copied
from vitruvius.techniques.adapters import DID, SAID, FullTuning
from vitruvius.techniques.heads import Answer
from vitruvius.train.building import reset
from vitruvius.train.intrinsic_dimension import intrinsic_dimension
from vitruvius.train.reading import feed_of

INITS = ("pretrained", "random")
AT, GAP = 100, 0.25
EPOCHS, LABELS = 80, 200


@dataclass(frozen=True)
class Scale:
    """How much is trained."""

    dimensions: tuple[int, ...]
    rates: tuple[float, ...]
    full: tuple[float, ...]
    said: tuple[int, ...]
    seeds: int


SCALES = {
    "quick": Scale((10, 100, 1000), (0.1,), (2e-3,), (), 1),
    "": Scale((10, 30, 100, 300, 1000), (0.1, 0.3), (2e-3,), (300, 1000), 3),
}


class Whole(nn.Module):
    """A body that ends in its head, so that an adapter of bodies edits both."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.shape = (1, 8, 8)

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.head(self.body(stream), None))


def whole(init: str, seed: int) -> Model:
    """The transformer with a new head, both one body."""
    model, labelled = copied(pretrained(seed, order="post")), target(seed, LABELS)[0]
    body = model.bodies["input"]
    if init == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part in body.modules():
                reset(part)
    head = head_of(HEAD, model, feed_of(model, labelled, CPU), task_of(labelled), seed)  # pyright: ignore[reportArgumentType]
    return replace(model, bodies={"input": Whole(body, head)}, heads={}, designs={})


def runs_of(init: str, adapter: Adapter, rates: tuple[float, ...], seeds: int) -> list[Any]:
    """Of each rate and seed what came out."""
    found = []
    for rate in rates:
        for seed in range(seeds):
            data, base = target(seed, LABELS), whole(init, seed)
            made = adapt(base, adapter, data, rate, seed, EPOCHS, LABELS, Answer())
            told = {"rate": rate, "seed": seed, "count": made.count, "seconds": made.seconds}
            found.append(told | {"validation": made.validation, "test": made.test})
            print(init, adapter, found[-1], file=sys.stderr, flush=True)
    return found


def chosen(runs: list[Any], rate: float | None = None) -> list[Any]:
    """One run for each seed: of a rate, or of that which is best on the validation part."""
    if rate is None:
        rate = max({run["rate"] for run in runs}, key=lambda r: validation(runs, r))
    return [run for run in runs if run["rate"] == rate]


def validation(runs: list[Any], rate: float) -> float:
    return statistics.mean(run["validation"] for run in chosen(runs, rate))


def measure(scale: Scale) -> dict[str, Any]:
    figures: dict[str, Any] = {init: {} for init in INITS}
    for init in INITS:
        plan: dict[str, tuple[Adapter, tuple[float, ...]]] = {
            f"DID {d}": (DID(d, scope="global"), scale.rates) for d in scale.dimensions
        }
        if init == "pretrained":
            plan |= {f"SAID {d}": (SAID(d), scale.rates) for d in scale.said}
        plan["full"] = (FullTuning(), scale.full)
        for name, (adapter, rates) in plan.items():
            figures[init][name] = runs_of(init, adapter, rates, scale.seeds)
    return figures


def tests(figures: dict[str, Any], init: str, name: str) -> list[float]:
    return [run["test"] for run in chosen(figures[init][name])]


def curve(figures: dict[str, Any], init: str) -> dict[int, list[float]]:
    names = [name for name in figures[init] if name.startswith("DID ")]
    return {int(name.split()[1]): tests(figures, init, name) for name in names}


def gap(figures: dict[str, Any], rate: float | None) -> tuple[float, str]:
    """By how much pretrained is above random at d = 100: its mean, and in words for each seed."""
    ours, theirs = (chosen(figures[init][f"DID {AT}"], rate) for init in INITS)
    gaps = [a["test"] - b["test"] for a, b in zip(ours, theirs, strict=True)]
    return statistics.mean(gaps), ", ".join(f"{gap:.1%}" for gap in gaps)


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    rate = chosen(figures["pretrained"][f"DID {AT}"])[0]["rate"]
    mean, told = gap(figures, rate)
    yield (
        f"at d = {AT} and rate {rate:g} pretrained is {mean:.1%} above random (seeds: {told})",
        mean >= GAP,
    )


def observations(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    mean, told = gap(figures, None)
    yield f"at d = {AT}, each at its rate, it is {mean:.1%} above (seeds: {told})", mean >= GAP
    full = tests(figures, "pretrained", "full")
    for init in INITS:
        scores = curve(figures, init)
        means = [statistics.mean(found) for found in scores.values()]
        rises = float(spearmanr(list(scores), means).statistic)
        yield f"{init}: accuracy rises with d (Spearman {rises:.2f})", rises >= 0.9
        found = intrinsic_dimension(scores, full)
        reached = found.dimension is not None
        wanted = reached if init == "pretrained" else not reached
        yield f"{init}, of full tuning from the pretrained body: {found}", wanted
    for name in figures["pretrained"]:
        if name.startswith("SAID "):
            d = name.split()[1]
            said, did = (tests(figures, "pretrained", f"{kind} {d}") for kind in ("SAID", "DID"))
            ahead = statistics.mean(said) - statistics.mean(did)
            yield f"SAID is at most a point below DID at d = {d} (by {ahead:+.1%})", ahead >= -0.01


def report(figures: dict[str, Any]) -> str:
    lines = [
        f"{LABELS} labels of the digits 5 to 9, {EPOCHS} steps, {figures['seeds']} seeds; accuracy "
        "on 500 test images, CPU seconds of one training.",
        "",
        "| init | what trains | numbers | accuracy | over seeds | rate | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for init in INITS:
        for name, found in figures[init].items():
            runs = chosen(found)
            scores = [run["test"] for run in runs]
            rate = runs[0]["rate"]
            seconds = statistics.mean(run["seconds"] for run in runs)
            lines.append(
                f"| {init} | {name} | {runs[0]['count']:,} | {statistics.mean(scores):.3f} | "
                f"{min(scores):.3f} to {max(scores):.3f} | {rate:g} | {seconds:.1f} |"
            )
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines += [f"{'seen' if seen else 'not seen'}: {what}" for what, seen in observations(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "one seed and rate, three sizes").parse_args()
    torch.set_num_threads(1)
    scale = SCALES["quick" if given.quick else ""]
    started = time.process_time()
    figures = measure(scale)
    figures["seeds"] = scale.seeds
    figures["made"] = circumstances("torch", cpu_seconds=round(time.process_time() - started))
    return ended("intrinsic_dimension", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
