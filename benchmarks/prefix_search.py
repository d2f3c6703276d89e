"""Does a search find the best design sooner where designs share work, and it knows what each costs?

    python benchmarks/prefix_search.py                  # some ten minutes
    python benchmarks/prefix_search.py --quick          # a minute: smaller stages, one seed is run
    python benchmarks/prefix_search.py --check --save   # exit status 1 where the claim fails

24 designs over scikit-learn's digits: 3 ways to learn without labels x 8 ways to go on with them
(``_turned_digits.py``). ``SMBO`` searches them twice: as a study does it, with a store and with
what is left to compute for each design; and with ``per_cost=0`` and no store. Counted are the CPU
seconds until the best of the 24 has been told.

1. **Looked up.** All 24 are run once and their scores and seconds kept. Both searches then replay
   on that table, 100 seeds: a trial takes its second stage and, where that is not stored, its
   first.
2. **Run.** Both searches as they are, 20 seeds: the search of a study, with its journal, store and
   costs; asking, writing and checking included. Every score must be that of the table, and the
   search without costs must ask what it asked there.

The claim: in both, summed over seeds, the first takes at most half the seconds of the second. When
the best is found is luck as well: what five seeds give is printed, with its spread over groups of
five, and not claimed.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _results import circumstances, ended, flags
from _turned_digits import space
from prefix_reuse import SEED, SIZES, Parts

from vitruvius.pipeline.evaluation import score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.search import SMBO, Distinct, Price, asked, told
from vitruvius.search.costs import in_one_unit
from vitruvius.space import Point, canonical, enumerate_points, replay
from vitruvius.study.asking import Asking
from vitruvius.study.budget import Budget
from vitruvius.study.executor import Inline
from vitruvius.study.journal import Journal
from vitruvius.study.session import Session
from vitruvius.study.study import JOURNAL, Study
from vitruvius.study.worker import Job

RUN = 20  # seeds run
LOOKED_UP = 100  # seeds looked up
FEW = 5
RATIO = 0.5
PREFIX = "turns"  # addresses of the first stage begin with it


class Table:
    """Scores and CPU seconds of all designs, each run once without a store."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        parts, setting = Parts(), Setting(0, torch.device("cpu"), torch.float32, 1)
        points = list(enumerate_points(tree))
        parts.watched = False
        LocalLab(setting).run(replay(tree, points[0]), {})  # what is loaded and compiled once
        parts.watched = True
        self.scores: dict[str, float] = {}
        for point in points:
            state = LocalLab(setting).run(replay(tree, point), {})
            self.scores[canonical(point)] = score_of(state).value
        parts.watched = False
        first, second, last = (
            [one["CPU"] for one in parts.seconds[name]] for name in ("Turns", "Labels", "Evaluate")
        )
        self.first = dict(zip(self.scores, first, strict=True))
        self.rest = {
            key: a + b for key, a, b in zip(self.scores, second, last, strict=True)
        }  # fmt: skip
        self.best = max(self.scores.values())


def prefix(point: Mapping[str, Any]) -> str:
    return canonical({a: label for a, label in point.items() if a.startswith(PREFIX)})


def looked_up(table: Table, seed: int, aware: bool) -> tuple[float, int]:
    """Seconds and trials until the best design has been told, on the table."""
    search = Distinct(SMBO(seed=seed, per_cost=float(aware))).begin(table.tree)
    served: dict[str, int] = {}
    firsts: list[float] = []
    rests: list[float] = []
    seconds = 0.0

    def costs(points: Sequence[Point]) -> list[float]:
        """As a study's ``Costing`` tells them of stages that foresee nothing."""
        if not firsts:
            return [math.nan] * len(points)
        uses = sum(served.values()) / len(served)
        first, rest = statistics.median(firsts), statistics.median(rests)
        prices = [(prefix(p) not in served) * first / uses + rest for p in points]
        return in_one_unit([Price(0.0, price) for price in prices])

    for trial in range(1, len(table.scores) + 1):  # as a study counts
        point = search.ask(trial, costs=costs if aware else None)
        key, stage = canonical(point), prefix(point)
        if not aware or stage not in served:
            seconds += table.first[key]
            firsts.append(table.first[key])
        seconds += table.rest[key]
        rests.append(table.rest[key])
        served[stage] = served.get(stage, 0) + 1
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, table.scores[key]))
        if table.scores[key] == table.best:
            return seconds, trial
    raise AssertionError("the best design is one of the designs")


class Timed(Inline):
    """Runs jobs, with or without their store, and says when a score came."""

    def __init__(self, stored: bool, heard: Callable[[float], None]) -> None:
        super().__init__()
        self.stored, self.heard = stored, heard

    def submit(self, job: Job) -> None:
        super().submit(job if self.stored else replace(job, store=None))

    def work(self, hear: Any, seconds: float) -> None:
        def listen(kind: str, number: int, body: Mapping[str, Any]) -> None:
            if kind == "told":
                self.heard(body["score"])
            hear(kind, number, body)

        super().work(listen, seconds)


def run(table: Table, seed: int, aware: bool) -> tuple[float, int, int]:
    """CPU seconds and trials until the best design has been told, in the search of a study; and
    how many scores differ from those of the table."""
    scores: list[float] = []
    ended = 0.0

    def heard(score: float) -> None:
        nonlocal ended
        scores.append(score)
        if score == table.best and not session.interrupted:
            ended, session.interrupted = time.process_time(), True

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        budget = Budget(trials=len(table.scores), seconds=1e6 if aware else None)
        searcher = SMBO(seed=seed, per_cost=float(aware))
        study = Study(table.tree, searcher, budget, folder, modules=("_turned_digits",))
        with Journal(folder / JOURNAL) as journal:
            meta, began = study._meta(), time.process_time()
            session = Session(study, folder, journal, meta, Timed(aware, heard))
            session.append("study", 0, meta)
            session.append("started", 0, {})
            Asking(session).run()
            points = [session.search.points[t.number] for t in session.summary.of("finished")]
    expected = [table.scores[canonical(point)] for point in points]
    return ended - began, len(scores), sum(a != b for a, b in zip(scores, expected, strict=True))


def measured(size: str, seeds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    table = Table(space(*SIZES[size]))
    found: dict[str, Any] = {"looked up": {}, "run": {}}
    for name, aware in (("with", True), ("without", False)):
        rows = [looked_up(table, seed, aware) for seed in range(LOOKED_UP)]
        found["looked up"][name] = [{"seconds": s, "trials": t} for s, t in rows]
    differing, astray = 0, 0
    for seed in range(seeds):
        for name, aware in (("with", True), ("without", False)):
            seconds, trials, wrong = run(table, seed, aware)
            differing += wrong
            if not aware:
                astray += trials != found["looked up"][name][seed]["trials"]
            row = {"seconds": seconds, "trials": trials}
            found["run"].setdefault(name, []).append(row)
    return {
        "size": size,
        "P": statistics.fmean(table.first.values()),
        "A": statistics.fmean(table.rest.values()),
        "best": table.best,
        "best designs": sum(score == table.best for score in table.scores.values()),
        "scores": sorted(table.scores.values(), reverse=True),
        "differing": differing,
        "astray": astray,
        **found,
    }


def ratio(rows: Mapping[str, Sequence[Mapping[str, float]]], seeds: slice) -> float:
    """Seconds with over seconds without, summed over seeds."""
    sums = [sum(row["seconds"] for row in rows[name][seeds]) for name in ("with", "without")]
    return sums[0] / sums[1]


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, least in (("looked up", LOOKED_UP), ("run", RUN)):
        seeds = len(figures[name]["with"])
        if seeds >= least:
            found = ratio(figures[name], slice(seeds))
            yield f"{name}, {seeds} seeds: {found:.3f} of the seconds, <= {RATIO}", found <= RATIO
    yield "every score is that of the table, to the last bit", figures["differing"] == 0
    yield "without costs each run finds it after as many trials", figures["astray"] == 0


def report(figures: dict[str, Any]) -> str:
    lines = [
        f"24 designs; first stage {figures['P']:.3f} CPU seconds, what follows {figures['A']:.3f}; "
        f"the best has {figures['best']:.4f} ({figures['best designs']} of 24). Until it was told:",
        "",
        "| | seeds | seconds with | trials | seconds without | trials | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, seeds in (("looked up", LOOKED_UP), ("looked up", FEW), ("run", RUN), ("run", FEW)):
        rows = figures[name]
        if len(rows["with"]) < seeds and seeds == FEW:
            continue
        some = slice(min(seeds, len(rows["with"])))
        cells = []
        for which in ("with", "without"):
            mean = {of: statistics.fmean(r[of] for r in rows[which][some]) for of in rows[which][0]}
            cells += [f"{mean['seconds']:.2f}", f"{mean['trials']:.1f}"]
        lines.append(f"| {name} | {some.stop} | {' | '.join(cells)} | {ratio(rows, some):.3f} |")
    groups = sorted(
        ratio(figures["looked up"], slice(i, i + FEW)) for i in range(0, LOOKED_UP, FEW)
    )
    below = sum(group <= RATIO for group in groups) / len(groups)
    lines += [
        "",
        "Seconds and trials are means over seeds; ratios are of sums. Looked up, groups of "
        f"{FEW} seeds have ratios from {groups[0]:.2f} to {groups[-1]:.2f}; {below:.0%} of them "
        f"are at most {RATIO}.",
        "",
        f"Sizes: {figures['size']}.",
        "",
    ]
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    given = flags(__doc__, "smaller stages, one seed run").parse_args()
    size, seeds = ("quick", 1) if given.quick else ("full", RUN)
    figures = {**measured(size, seeds), "made": circumstances("torch", seed=SEED)}
    return ended("prefix_search", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
