"""Does it matter which numbers train? Methods at equal counts, at two widths.

    python benchmarks/apet.py                  # about twelve minutes of CPU time
    python benchmarks/apet.py --quick          # one seed, one rate, the two smaller budgets
    python benchmarks/apet.py --check --save   # exit status 1 where a claim does not hold

After APET (arXiv:2306.02320): vision transformers 32 and 96 wide learn the digits 0 to 4, then
5 to 9 from 200 labels with as many numbers as LoRA of rank 1, 4 and 16 has on queries and values:
tensors that are drawn, entries that are drawn, entries with the largest gradient under a trained
head, and LoRA. Beside them BitFit, full tuning, and the head alone. Each has its own learning rate
of two, chosen by validation; 20 epochs.

Printed are the accuracies, the spread over methods at equal budget at each width, the margins to
drawn entries, and two thresholds for each seed: the smallest budget that any method needs to be 2
points above the head alone, and to come within 2 points of full tuning. The claim is that of the
null model alone: no method trains more than its budget, and drawn entries exactly that.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from _results import commit, flags, processor, save
from _transfer import CPU, LAYERS, adapt, pretrained, target
from torch import nn

from vitruvius.contracts import Adapter, Batch, Given, Model, Tensors
from vitruvius.techniques.adapters import (
    BitFit,
    FullTuning,
    LinearProbe,
    LowRank,
    RandomEntries,
    RandomTensors,
)
from vitruvius.train.building import network_of
from vitruvius.train.feeding import Feed
from vitruvius.train.reading import feed_of

WIDTHS, RANKS, EPOCHS = (32, 96), (1, 4, 16), 20
TENSORS, DRAWN, STEEP, LORA = "drawn tensors", "drawn entries", "steepest entries", "LoRA"
BUDGETED = (TENSORS, DRAWN, STEEP, LORA)
RATES = {LORA: (5e-3, 2e-2), TENSORS: (5e-3, 2e-2), DRAWN: (5e-3, 2e-2), STEEP: (5e-3, 2e-2)}
OTHERS: dict[str, tuple[Adapter, tuple[float, ...]]] = {
    "head alone": (LinearProbe(), (5e-3, 2e-2)),
    "BitFit": (BitFit(), (5e-3, 2e-2)),
    "full tuning": (FullTuning(), (1e-3, 5e-3)),
}


@dataclass(frozen=True)
class Steepest(RandomEntries):
    """Those with the largest gradient on the labelled items, under the head of a linear probe."""

    heads: ClassVar[dict[str, nn.Module]] = {}

    def choose(self, model: Model, given: Given) -> Tensors:
        feed = feed_of(model, given.documents, CPU)
        assert isinstance(feed, Feed)
        rows = torch.arange(len(feed))

        def batches() -> Iterator[Batch]:
            return (feed.batch(part) for part in rows.split(50))

        headed = replace(model, heads={"task": self.heads["task"]})
        network_of(headed).eval()
        return super().choose(headed, given.but(batches=batches))


def budget_of(rank: int, width: int) -> int:
    """The numbers of LoRA on the queries and values of all layers."""
    return LAYERS * 2 * rank * 2 * width


def adapter_of(method: str, budget: int, rank: int, seed: int) -> Adapter:
    if method == TENSORS:
        return RandomTensors(budget, seed)
    if method == DRAWN:
        return RandomEntries(budget, seed=seed)
    if method == STEEP:
        return Steepest(budget, "gradient")
    return LowRank(rank)


def run(
    seed: int, width: int, ranks: tuple[int, ...], rates: int
) -> tuple[dict[str, tuple[float, int]], list[str]]:
    """Accuracy and count of each method, by name and budget, and claims that do not hold."""
    base, data = pretrained(seed, width=width), target(seed)
    found: dict[str, tuple[float, int]] = {}
    wrong: list[str] = []

    def best(adapter: Adapter, among: tuple[float, ...]) -> tuple[float, int]:
        results = [adapt(base, adapter, data, rate, seed, EPOCHS) for rate in among[:rates]]
        result = max(results, key=lambda one: one.validation)
        if isinstance(adapter, LinearProbe):
            Steepest.heads["task"] = result.head
        return result.test, result.count

    for name, (adapter, among) in OTHERS.items():
        found[name] = best(adapter, among)
    for rank in ranks:
        budget = budget_of(rank, width)
        for method in BUDGETED:
            value, count = best(adapter_of(method, budget, rank, seed), RATES[method])
            found[f"{method} {rank}"] = value, count
            exact = method != TENSORS
            if count > budget or (exact and count != budget):
                wrong.append(f"seed {seed}: {method} trains {count} numbers of {budget}")
    return found, wrong


def main() -> int:
    asked = flags(__doc__, "one seed, one rate, two budgets").parse_args()
    torch.set_num_threads(1)
    seeds, ranks, rates = ((0,), RANKS[:2], 1) if asked.quick else ((0, 1, 2), RANKS, 2)
    began, wrong = time.process_time(), list[str]()
    found = defaultdict[str, list[tuple[float, int]]](list)
    for seed in seeds:
        for width in WIDTHS:
            figures, broken = run(seed, width, ranks, rates)
            wrong += broken
            for name, value in figures.items():
                found[f"{width} {name}"].append(value)
    text = report(found, ranks, seeds, time.process_time() - began)
    print(text)
    if asked.save:
        save("apet", {"seeds": seeds, "commit": commit(), "figures": dict(found)}, text)
    for claim in wrong:
        print(f"does not hold: {claim}")
    return int(asked.check and bool(wrong))


def report(
    found: dict[str, list[tuple[float, int]]],
    ranks: tuple[int, ...],
    seeds: tuple[int, ...],
    seconds: float,
) -> str:
    def points(name: str) -> np.ndarray:
        return 100 * np.array([value for value, _ in found[name]])

    def cell(values: np.ndarray) -> str:
        return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"

    lines = [f"Accuracy in percent, mean of {len(seeds)} seeds (least to most)."]
    for width in WIDTHS:
        budgets = [budget_of(rank, width) for rank in ranks]
        lines += ["", f"| {width} wide | " + " | ".join(f"{b:,}" for b in budgets) + " |"]
        lines.append("|---|" + "---|" * len(ranks))
        for method in BUDGETED:
            cells = [cell(points(f"{width} {method} {rank}")) for rank in ranks]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        every = {r: np.array([points(f"{width} {m} {r}") for m in BUDGETED]) for r in ranks}
        spread = [cell(every[r].max(0) - every[r].min(0)) for r in ranks]
        lines.append("| spread over methods | " + " | ".join(spread) + " |")
        for method in (TENSORS, STEEP, LORA):
            margins = [
                cell(points(f"{width} {method} {r}") - points(f"{width} {DRAWN} {r}"))
                for r in ranks
            ]
            lines.append(f"| {method} - {DRAWN} | " + " | ".join(margins) + " |")
        told = [
            f"{name} {cell(points(f'{width} {name}'))} with {found[f'{width} {name}'][0][1]:,}"
            for name in OTHERS
        ]
        low, high = thresholds(every, points(f"{width} head alone"), points(f"{width} full tuning"))
        named = [
            ", ".join("more" if at is None else f"{budget_of(at, width):,}" for at in side)
            for side in (low, high)
        ]
        lines += [
            "",
            f"{'; '.join(told)} numbers. 2 points above the head alone from {named[0]} numbers, "
            f"within 2 points of full tuning from {named[1]}, by seed.",
        ]
    made = f"torch {torch.__version__}, one thread of {processor()}, commit {commit()}"
    return "\n".join([*lines, "", f"{seconds:.0f} seconds of CPU time; {made}."])


def thresholds(
    every: dict[int, np.ndarray], head: np.ndarray, full: np.ndarray
) -> tuple[list[int | None], list[int | None]]:
    """For each seed the smallest rank at which the best method is above either mark."""
    best = {rank: values.max(0) for rank, values in every.items()}

    def first(marks: np.ndarray) -> list[int | None]:
        return [
            next((rank for rank in best if best[rank][seed] >= mark), None)
            for seed, mark in enumerate(marks)
        ]

    return first(head + 2), first(full - 2)


if __name__ == "__main__":
    sys.exit(main())
