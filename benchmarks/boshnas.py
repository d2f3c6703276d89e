"""Does BOSHNAS search? 10 random and 40 chosen networks out of 2,048 trained ones, looked up.

    python benchmarks/boshnas.py                  # some minutes on 2 cores
    python benchmarks/boshnas.py --quick          # under a minute: fewer seeds
    python benchmarks/boshnas.py --check --save   # exit status 1 where a claim fails

Regret is the best validation accuracy of all networks less the best that was found. That of random
search without repeats is computed exactly from the table, not sampled: of N networks in order, the
best of n is at most the k-th with probability C(k, n) / C(N, n).

The claims, after 50 evaluations: BOSHNAS has at most 0.70 of random search's expected regret, and
its regret less that of SMBO (ridge) from the same 10 points is at most one standard error of that
difference. A network whose training failed is a failed trial, and counts as accuracy 0.

The defaults of BOSHNAS were chosen on another table (``_digits_table.make("other")``) with seeds
from 1000, never on this one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from math import comb
from typing import Any

from _results import circumstances, ended, flags

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _digits_table as digits_table
import numpy as np

from vitruvius.search import BOSHNAS, SMBO, Distinct, Searcher, asked, told

INITIAL, EVALUATIONS = 10, 50
SHOWN = (10, 20, 30, 40, 50)
SHARE = 0.70  # of random search's expected regret
SEARCHERS: dict[str, Searcher] = {
    "BOSHNAS": BOSHNAS(initial=INITIAL),
    "SMBO, same start": SMBO(initial=INITIAL - 1),  # it draws one more than it says
    "SMBO": SMBO(),
}


def replay(name: str, seed: int) -> dict[str, Any]:
    """Accuracy of each of 50 evaluations, numbers of the first networks, CPU seconds of asks."""
    table = digits_table.load()
    search = Distinct(SEARCHERS[name].replace(seed=seed)).begin(digits_table.SPACE)
    scores, start = [], []
    began = time.process_time()
    for trial in range(EVALUATIONS):
        point = search.ask(trial)
        score = table.score(point)
        failed = score != score
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, None if failed else score))
        scores.append(0.0 if failed else score)
        start.append(table.index[tuple(point[n] for n in digits_table.NAMES)])
    return {
        "scores": scores,
        "start": start[:INITIAL],
        "seconds": time.process_time() - began,
    }


def expected(scores: np.ndarray, draws: int) -> float:
    """The expected best of so many draws without replacement: exact."""
    in_order = sorted(scores)
    count = len(in_order)
    every = comb(count, draws)
    chances = [comb(k, draws) / every for k in range(count + 1)]  # that the best is among k worst
    return sum(s * (chances[k + 1] - chances[k]) for k, s in enumerate(in_order))


def figures_of(seeds: int, processes: int) -> dict[str, Any]:
    with ProcessPoolExecutor(processes) as pool:
        waiting = {n: [pool.submit(replay, n, s) for s in range(seeds)] for n in SEARCHERS}
        runs = {name: [future.result() for future in found] for name, found in waiting.items()}
    for ours, ridge in zip(runs["BOSHNAS"], runs["SMBO, same start"], strict=True):
        if ours["start"] != ridge["start"]:
            raise RuntimeError("The two searchers do not start from the same points.")
    scores = np.nan_to_num(digits_table.load().scores)
    top = float(scores.max())
    random = {str(n): top - expected(scores, n) for n in SHOWN}
    figures: dict[str, Any] = {"best of all": top, "random, exact": random, "searchers": {}}
    regret = {}
    for name, found in runs.items():
        curve = top - np.maximum.accumulate([run["scores"] for run in found], axis=1)
        last = regret[name] = curve[:, -1]
        figures["searchers"][name] = {
            "searcher": repr(SEARCHERS[name]),
            "regret": {str(n): float(curve[:, n - 1].mean()) for n in SHOWN},
            "standard error": float(last.std(ddof=1) / len(last) ** 0.5),
            "ratio to random": float(last.mean() / random[str(EVALUATIONS)]),
            "found the best": float((last == 0).mean()),
            "CPU seconds": float(np.mean([run["seconds"] for run in found])),
            "regrets": [round(float(r), 5) for r in last],
        }
    for name in list(SEARCHERS)[1:]:
        gap = regret["BOSHNAS"] - regret[name]
        figures[f"BOSHNAS less {name}"] = {
            "mean": float(gap.mean()),
            "standard error": float(gap.std(ddof=1) / len(gap) ** 0.5),
        }
    return figures


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    ratio = figures["searchers"]["BOSHNAS"]["ratio to random"]
    yield f"regret is {ratio:.2f} <= {SHARE:.2f} of random search's expectation", ratio <= SHARE
    gap = figures["BOSHNAS less SMBO, same start"]
    yield (
        f"regret less that of ridge SMBO is {gap['mean']:+.5f} <= one standard error, "
        f"{gap['standard error']:.5f}",
        gap["mean"] <= gap["standard error"],
    )


def report(figures: dict[str, Any]) -> str:
    lines = [
        "Regret: best validation accuracy of all 2,048 networks "
        f"({figures['best of all']:.4f}) less the best found, mean over seeds.\n",
        f"| searcher | {' | '.join(f'@{n}' for n in SHOWN)} | ± s.e. | of random's "
        "| found the best | CPU s a search |",
        "|---|" + "---|" * (len(SHOWN) + 4),
    ]
    exact = " | ".join(f"{figures['random, exact'][str(n)]:.4f}" for n in SHOWN)
    lines.append(f"| random, exact | {exact} | 0 | 1.00 | {EVALUATIONS / 2048:.0%} | |")
    for name, row in figures["searchers"].items():
        cells = " | ".join(f"{row['regret'][str(n)]:.4f}" for n in SHOWN)
        lines.append(
            f"| {name} | {cells} | {row['standard error']:.4f} | {row['ratio to random']:.2f} "
            f"| {row['found the best']:.0%} | {row['CPU seconds']:.2f} |"
        )
    lines.append("")
    for name in list(SEARCHERS)[1:]:
        gap = figures[f"BOSHNAS less {name}"]
        lines.append(
            f"BOSHNAS less {name}, paired by seed: {gap['mean']:+.5f} "
            f"± {gap['standard error']:.5f} (standard error)\n"
        )
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    parser = flags(__doc__, "fewer seeds; under a minute")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args()
    began = time.perf_counter()
    seeds = 6 if given.quick else given.seeds
    figures = figures_of(seeds, given.processes)
    figures["made"] = circumstances(
        "numpy", "torch", seeds=f"0 to {seeds - 1}", seconds=round(time.perf_counter() - began)
    )
    return ended("boshnas", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
