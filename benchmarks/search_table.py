"""Do the searchers search? 2,048 trained networks looked up, and the time an ask takes.

    python benchmarks/search_table.py                 # about three minutes on 2 cores
    python benchmarks/search_table.py --quick         # under a minute: fewer seeds
    python benchmarks/search_table.py --check --save  # exit status 1 where the claim does not hold
    python benchmarks/search_table.py --make-table    # train the 2,048 networks anew, two minutes

The claim: after 64 evaluations MCTS with bisection and SMBO are better than random search (paired
over seeds, one-sided bootstrap, p < 0.01), the best of ours is not worse than Optuna's TPE, and at
5,000 trials on a conditional tree of 23 to 26 decisions an ask and its tell take each searcher of
ours at most 5 ms.

The defaults of the searchers were chosen on another table (``_digits_table.make("other")``: drawn
classification data) and on instances 1000 and up of ``_tree_space``, never on this table.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any

from _results import circumstances, ended, flags

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _digits_table as digits_table
import _tree_space as tree_space
import numpy as np

from vitruvius.search import (
    MCTS,
    SMBO,
    Distinct,
    OptunaTPE,
    RandomSearch,
    RegularizedEvolution,
    Searcher,
    asked,
    told,
)
from vitruvius.space import Point, compile

EVALUATIONS = 64
SHOWN = (8, 16, 32, 48, 64)
TREE_SHOWN = (64, 100, 300)
SIZES = (100, 1000, 5000)
LIMIT = 5.0  # milliseconds of an ask and its tell
ALPHA = 0.01
LEGEND = """
good 33-64: share of evaluations 33 to 64 in the top tenth of all networks. to random's 64:
evaluations until the mean is what random search has after 64. p: one-sided, paired bootstrap over
seeds, of not being better than random.

The defaults of the searchers were chosen on another table (drawn classification data) and on
instances 1000 and up of `_tree_space.py`, not on this table.

Regret on the conditional tree of `_tree_space.py` (9 to 26 decisions, no noise), over that of
random search; instances 0 and up.
"""
OVERHEAD_LEGEND = """
Milliseconds of an ask and its tell on a conditional tree of 23 to 26 decisions (instance 0), with
the history preloaded: CPU time (and wall time).
"""

SEARCHERS: dict[str, Searcher] = {
    "random": RandomSearch(),
    "evolution": RegularizedEvolution(),
    "MCTS without bisection": MCTS(bisect=False),
    "MCTS": MCTS(),
    "SMBO": SMBO(),
    "Optuna TPE": OptunaTPE(),
}
OURS = ("evolution", "MCTS", "SMBO")


# ------------------------------------------------------------------------- table


def replay(name: str, seed: int) -> list[float]:
    """Validation accuracy of each of 64 evaluations; a failed one counts as 0."""
    table = digits_table.load()
    search = Distinct(SEARCHERS[name].replace(seed=seed)).begin(digits_table.SPACE)
    scores = []
    for trial in range(EVALUATIONS):
        point = search.ask(trial)
        score = table.score(point)
        failed = score != score
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, None if failed else score))
        scores.append(0.0 if failed else score)
    return scores


def run_table(seeds: int, tpe_seeds: int, processes: int) -> dict[str, np.ndarray]:
    """Scores [seed, evaluation] of each searcher. TPE, by far the slowest, begins first."""
    with ProcessPoolExecutor(processes) as pool:
        waiting = {
            name: [
                pool.submit(replay, name, seed)
                for seed in range(tpe_seeds if name == "Optuna TPE" else seeds)
            ]
            for name in sorted(SEARCHERS, key=lambda name: name != "Optuna TPE")
        }
        return {name: np.array([f.result() for f in waiting[name]]) for name in SEARCHERS}


def better(a: np.ndarray, b: np.ndarray, draws: int = 20_000) -> float:
    """One-sided p that a is not better than b: paired bootstrap over seeds."""
    difference = a - b
    picked = np.random.default_rng(0).integers(len(difference), size=(draws, len(difference)))
    return float((1 + (difference[picked].mean(1) <= 0).sum()) / (1 + draws))


def table_figures(scores: dict[str, np.ndarray]) -> dict[str, Any]:
    table = digits_table.load()
    good = np.nanquantile(np.nan_to_num(table.scores), 0.9)
    best = {name: np.maximum.accumulate(found, axis=1) for name, found in scores.items()}
    random = best["random"]
    target = random.mean(0)[-1]
    figures: dict[str, Any] = {"best of all": float(np.nanmax(table.scores)), "searchers": {}}
    for name, curve in best.items():
        last, mean = curve[:, -1], curve.mean(0)
        reached = np.flatnonzero(mean >= target)
        figures["searchers"][name] = {
            "searcher": repr(SEARCHERS[name]),
            "seeds": len(last),
            "mean best": {str(n): float(mean[n - 1]) for n in SHOWN},
            "standard error": float(last.std(ddof=1) / len(last) ** 0.5),
            "standard deviation": float(last.std(ddof=1)),
            "top decile in 33-64": float((scores[name][:, 32:] >= good).mean()),
            "evaluations to the best of random": int(reached[0]) + 1 if len(reached) else None,
            "p not better than random": None
            if name == "random"
            else better(last, random[: len(last), -1]),
            "curve": [round(float(x), 5) for x in mean],
        }
    ours = max(OURS, key=lambda name: best[name][:, -1].mean())
    rivals = best["Optuna TPE"][:, -1]
    paired = best[ours][: len(rivals), -1]
    figures["best of ours"] = ours
    figures["best of ours minus TPE"] = float((paired - rivals).mean())
    figures["p TPE not better than best of ours"] = better(rivals, paired)
    return figures


# -------------------------------------------------------------------------- tree


def climb(name: str, number: int) -> list[float]:
    """Regret (best score there is less the best found) at each of 300 trials of one instance."""
    instance = tree_space.Instance(number)
    search = Distinct(SEARCHERS[name].replace(seed=number)).begin(tree_space.SPACE)
    best, regret, most = instance.best(), [], -np.inf
    for trial in range(TREE_SHOWN[-1]):
        point = search.ask(trial)
        score = instance.score(point)
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, score))
        most = max(most, score)
        regret.append(best - most)
    return regret


def tree_figures(instances: int, processes: int) -> dict[str, Any]:
    """Mean regret after 64, 100 and 300 trials, and its ratio to that of random search."""
    with ProcessPoolExecutor(processes) as pool:
        waiting = {
            name: [pool.submit(climb, name, number) for number in range(instances)]
            for name in SEARCHERS
            if name != "Optuna TPE"  # minutes for each instance
        }
        regrets = {name: np.array([f.result() for f in found]) for name, found in waiting.items()}
    means = {name: found.mean(0) for name, found in regrets.items()}
    return {
        name: {
            "instances": instances,
            "regret": {str(n): float(mean[n - 1]) for n in TREE_SHOWN},
            "ratio": {str(n): float(mean[n - 1] / means["random"][n - 1]) for n in TREE_SHOWN},
        }
        for name, mean in means.items()
    }


# ---------------------------------------------------------------------- overhead


def overhead(name: str, measured: int) -> dict[str, dict[str, float]]:
    """Milliseconds of an ask and its tell after 100, 1,000 and 5,000 trials, wall and CPU time."""
    instance, program = tree_space.Instance(0), compile(tree_space.LARGE)
    draw = Random(0)
    search = Distinct(SEARCHERS[name].replace(seed=0)).begin(tree_space.LARGE)
    found, heard = {}, 0

    def hear(point: Point) -> None:
        nonlocal heard
        score = instance.score(point)
        search.hear(asked(2 * heard, heard, point))
        search.hear(told(2 * heard + 1, heard, score))
        heard += 1

    for size in SIZES if name != "Optuna TPE" else SIZES[:2]:
        while heard < size:
            hear(program.sample(draw))
        count = measured if name != "Optuna TPE" else 3
        search.ask(heard)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            hear(search.ask(heard))  # the score itself takes 0.02 ms
        found[str(size)] = {
            "wall": 1000 * (time.perf_counter() - wall) / count,
            "cpu": 1000 * (time.process_time() - cpu) / count,
        }
    return found


# ----------------------------------------------------------------------- figures


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    searchers = figures["table"]["searchers"]
    for name in ("MCTS", "SMBO"):
        p = searchers[name]["p not better than random"]
        yield f"{name} beats random search: p = {p:.2g} < {ALPHA}", p < ALPHA
    ours, p = (
        figures["table"]["best of ours"],
        figures["table"]["p TPE not better than best of ours"],
    )
    difference = figures["table"]["best of ours minus TPE"]
    yield (
        f"the best of ours ({ours}) is not worse than TPE: "
        f"{difference:+.5f}, p(TPE better) = {p:.2g} >= {ALPHA}",
        p >= ALPHA and difference >= -0.001,
    )
    for name in ("random", *OURS):
        cost = figures["overhead"][name][str(SIZES[-1])]["cpu"]
        yield f"{name}: {cost:.2f} ms <= {LIMIT} ms of CPU an ask and tell at 5,000", cost <= LIMIT


def report(figures: dict[str, Any]) -> str:
    table, lines = figures["table"], []
    head = " | ".join(f"@{n}" for n in SHOWN)
    lines.append(f"Best validation accuracy so far, mean over seeds; best of all 2,048 networks "
                 f"{table['best of all']:.4f}.\n")  # fmt: skip
    lines.append(f"| searcher | seeds | {head} | ± s.e. | good 33-64 | to random's 64 | p |")
    lines.append("|---|---|" + "---|" * (len(SHOWN) + 4))
    for name, row in table["searchers"].items():
        means = " | ".join(f"{row['mean best'][str(n)]:.4f}" for n in SHOWN)
        p, reached = row["p not better than random"], row["evaluations to the best of random"]
        lines.append(
            f"| {name} | {row['seeds']} | {means} | {row['standard error']:.4f} "
            f"| {row['top decile in 33-64']:.0%} | {reached} | {'' if p is None else f'{p:.2g}'} |"
        )
    lines.append(LEGEND)
    lines.append("| searcher | instances | " + " | ".join(f"@{n}" for n in TREE_SHOWN) + " |")
    lines.append("|---|---|" + "---|" * len(TREE_SHOWN))
    for name, row in figures["tree"].items():
        cells = [f"{row['ratio'][str(n)]:.2f}" for n in TREE_SHOWN]
        lines.append(f"| {name} | {row['instances']} | " + " | ".join(cells) + " |")
    lines.append(OVERHEAD_LEGEND)
    lines.append("| searcher | " + " | ".join(f"{n:,} trials" for n in SIZES) + " |")
    lines.append("|---|" + "---|" * len(SIZES))
    for name, costs in figures["overhead"].items():
        cells = [
            f"{costs[str(n)]['cpu']:.2f} ({costs[str(n)]['wall']:.2f})" if str(n) in costs else "-"
            for n in SIZES
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def made(seeds: int, tpe_seeds: int, seconds: float) -> dict[str, Any]:
    """Under what the figures came about."""
    told = f"0 to {seeds - 1}" + (f", TPE 0 to {tpe_seeds - 1}" * (tpe_seeds != seeds))
    return circumstances("numpy", "optuna", seeds=told, seconds=round(seconds))


def main() -> int:
    parser = flags(__doc__, "fewer seeds; under a minute")
    parser.add_argument("--make-table", action="store_true", help="train the networks anew")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args()
    if given.make_table:
        digits_table.save(digits_table.make())
        print(f"wrote {digits_table.TABLE} ({digits_table.TABLE.stat().st_size / 1000:.0f} kB)")
        return 0
    began = time.perf_counter()
    seeds = 16 if given.quick else given.seeds
    tpe_seeds = min(seeds, 8) if given.quick else seeds
    scores = run_table(seeds, tpe_seeds, given.processes)
    figures = {
        "table": table_figures(scores),
        "tree": tree_figures(4 if given.quick else 40, given.processes),
        "overhead": {
            name: overhead(name, 50 if given.quick else 200)
            for name in SEARCHERS
            if name != "Optuna TPE" or not given.quick
        },
    }
    figures["made"] = made(seeds, tpe_seeds, time.perf_counter() - began)
    return ended("search_table", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
