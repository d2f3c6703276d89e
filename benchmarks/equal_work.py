"""Do rungs, and costs, find better networks for the same work?

    python benchmarks/equal_work.py                  # about two minutes on 2 cores
    python benchmarks/equal_work.py --quick          # under a minute: fewer seeds
    python benchmarks/equal_work.py --check --save   # exit status 1 where a claim fails

2,048 trained networks are looked up (``_digits_table.py``), with their validation accuracy after
each of 8 epochs.

1. **Rungs.** A searcher alone, and inside ``ASHA`` and ``SuccessiveHalving``, for the epochs of 64
   whole trainings. A promotion takes the epochs that are missing. Only networks that were trained
   to the end count for the best so far. These trainings have a constant rate, so that a rung is no
   worse than a shorter training; one under a schedule is un-annealed, and tells less.
2. **Costs.** ``SMBO`` with and without the FLOPs of each network, for the FLOPs of 64 networks of
   mean size.

The claims (paired over seeds, one-sided bootstrap): after the work of 16 trainings ``ASHA`` has
found better networks than the searcher inside it alone, for random search and for SMBO (p < 0.01),
and after that of 64 no worse ones; SMBO with costs has after the work of 64 found better ones than
without (p < 0.01).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from _results import ended, flags

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _digits_table as digits_table
import numpy as np
from search_table import ALPHA, better, made

from vitruvius.search import (
    ASHA,
    SMBO,
    Distinct,
    RandomSearch,
    Searcher,
    SuccessiveHalving,
    asked,
    told,
)
from vitruvius.space import Point

SHOWN = (4, 8, 16, 32, 64)  # whole trainings of work
EPOCHS = digits_table.EPOCHS
RUNGS: dict[str, Searcher] = {
    "random": RandomSearch(),
    "ASHA(random)": ASHA(RandomSearch()),
    "SuccessiveHalving(random)": SuccessiveHalving(RandomSearch()),
    "SMBO": SMBO(),
    "ASHA(SMBO)": ASHA(SMBO()),
    "SuccessiveHalving(SMBO)": SuccessiveHalving(SMBO()),
}
COSTS: dict[str, Searcher] = {
    "SMBO without costs": SMBO(),
    "SMBO, per_cost=0.5": SMBO(per_cost=0.5),
    "SMBO, per_cost=1": SMBO(per_cost=1.0),
}
BETTER = (
    ("rungs", "ASHA(random)", "random", 16),
    ("rungs", "ASHA(SMBO)", "SMBO", 16),
    ("costs", "SMBO, per_cost=1", "SMBO without costs", 64),
)
NO_WORSE = (
    ("rungs", "ASHA(random)", "random", 64),
    ("rungs", "ASHA(SMBO)", "SMBO", 64),
)


def flops(point: Point) -> float:
    """Of one item through a network, but for a factor: the sizes of its matrices."""
    width = point["width"]
    return width * (64 + (point["depth"] - 1) * width + 10)


def rungs(name: str, seed: int) -> list[float]:
    """Best whole network after the epochs of so many whole trainings."""
    table = digits_table.load()
    right = table.validation.reshape(-1, EPOCHS)
    search = Distinct(RUNGS[name].replace(seed=seed)).begin(digits_table.SPACE)
    trained: dict[int, int] = {}
    best, used, trial, found = 0.0, 0, 0, []
    while len(found) < len(SHOWN):
        point = search.ask(trial)
        share = search.share(point)
        network = table.index[tuple(point[n] for n in digits_table.NAMES)]
        until = max(1, round(share * EPOCHS))
        used += until - trained.get(network, 0)
        trained[network] = until
        while len(found) < len(SHOWN) and used > SHOWN[len(found)] * EPOCHS:
            found.append(best)  # what does not end within the work does not count
        hits = int(right[network, until - 1])
        score = None if hits == digits_table.FAILED else hits / table.of_validation
        search.hear(asked(2 * trial, trial, point, share=share))
        search.hear(told(2 * trial + 1, trial, score))
        if share == 1 and score is not None:
            best = max(best, score)
        trial += 1
    return found


def costs(name: str, seed: int) -> list[float]:
    """Best network after the FLOPs of so many networks of mean size."""
    table = digits_table.load()
    every = [flops(dict(zip(digits_table.NAMES, labels, strict=True))) for labels in table.index]
    mean = float(np.mean(every))
    search = Distinct(COSTS[name].replace(seed=seed)).begin(digits_table.SPACE)

    def told_costs(points: Sequence[Point]) -> list[float]:
        return [flops(point) for point in points]

    aware = name != "SMBO without costs"
    best, used, trial, found = 0.0, 0.0, 0, []
    while len(found) < len(SHOWN):
        point = search.ask(trial, costs=told_costs if aware else None)
        used += flops(point)
        while len(found) < len(SHOWN) and used > SHOWN[len(found)] * mean:
            found.append(best)
        score = table.score(point)
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, None if score != score else score))
        best = max(best, 0.0 if score != score else score)
        trial += 1
    return found


def measured(seeds: int, processes: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with ProcessPoolExecutor(processes) as pool:
        for part, run, searchers in (("rungs", rungs, RUNGS), ("costs", costs, COSTS)):
            waiting = {n: [pool.submit(run, n, seed) for seed in range(seeds)] for n in searchers}
            scores = {n: np.array([f.result() for f in found]) for n, found in waiting.items()}
            figures[part] = {
                n: {
                    "searcher": repr(searchers[n]),
                    "mean best": [float(x) for x in found.mean(0)],
                    "standard error": [float(x) for x in found.std(0, ddof=1) / seeds**0.5],
                }
                for n, found in scores.items()
            }
            for which, ours, base, work in BETTER + NO_WORSE:
                if which == part:
                    a, b = (scores[name][:, SHOWN.index(work)] for name in (ours, base))
                    row = figures[part][ours].setdefault("p", {})
                    row[str(work)] = {"better": better(a, b), "worse": better(b, a)}
    return figures


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for part, ours, base, work in BETTER + NO_WORSE:
        at, p = SHOWN.index(work), figures[part][ours]["p"][str(work)]
        gain = figures[part][ours]["mean best"][at] - figures[part][base]["mean best"][at]
        said = f"than {base} after the work of {work}: {gain:+.4f}"
        if (part, ours, base, work) in BETTER:
            yield f"{ours} is better {said}, p = {p['better']:.2g} < {ALPHA}", p["better"] < ALPHA
        else:
            yield f"{ours} is no worse {said}, p = {p['worse']:.2g} >= {ALPHA}", p["worse"] >= ALPHA


def report(figures: dict[str, Any]) -> str:
    lines = ["Best validation accuracy so far after the work of so many whole trainings, mean over "
             "seeds ± standard error."]  # fmt: skip
    words = {"rungs": "equal epochs", "costs": "equal FLOPs"}
    for part, word in words.items():
        lines += ["", f"| {word} | {' | '.join(map(str, SHOWN))} |", "|---|" + "---|" * len(SHOWN)]
        for name, row in figures[part].items():
            pairs = zip(row["mean best"], row["standard error"], strict=True)
            cells = [f"{mean:.4f} ± {error:.4f}" for mean, error in pairs]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    parser = flags(__doc__, "fewer seeds; under a minute")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args()
    began, seeds = time.perf_counter(), 16 if given.quick else given.seeds
    figures = measured(seeds, given.processes)
    figures["made"] = made(seeds, seeds, time.perf_counter() - began)
    return ended("equal_work", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
