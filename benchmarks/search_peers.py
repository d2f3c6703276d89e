"""Ours against the searchers that users would pick instead, each at its defaults.

    python benchmarks/search_peers.py --save --resume  # about 100 minutes on two cores, in two jobs
    python benchmarks/search_peers.py --quick          # a minute: two seeds, small sizes, small cap
    python benchmarks/search_peers.py --check          # exit status 1 where a claim does not hold
    python benchmarks/search_peers.py --peer SMAC3 --task digits --seeds 1

**Peers.** Optuna 5's default TPE and its Gaussian process; Hyperopt's TPE and anneal; SMAC3's
facade for hyperparameters; regularised evolution keyed by path (ours, at its defaults, is such a
one); NePS as it picks its searcher itself, and its regularised evolution; random search. They need

    pip install 'optuna>=5,<6' hyperopt==0.3.0 smac==2.4.1 neural-pipeline-search==0.17.0

in an environment that has vitruvius' own dependencies; one that is missing is left out, with a line
that says so, and then ``--check`` fails. Each gets the space in its own words
(``_peer_spaces.py``): conditions, orders and logarithms where it knows them.

**Tasks.** The tables of trained networks (``_digits_table.py``, ``_tabular_table.py``,
``_character_table.py``), 16, 64 and 256 evaluations; a network that failed is told as a failure.
The conditional tree of ``_tree_space.py``, 64, 256 and 1,000 evaluations, instances 7001, 7002 and
7003, which nothing was chosen on: seed s goes with instance number (s mod 20) mod 3.

**Runs.** 20 seeds (Optuna's GP and SMAC3 10, ours 100 on the tree), each in a process of its own
with one thread, until 60 CPU seconds are spent. SMAC3 plans for a number of trials, so that each
size is a run of its own there. Random search's own regret is not sampled but computed
(``random_regret``): on tables without replacement, on the tree from 100,000 points of an instance.

**Claims.** (1) On the tree the regret is at most 0.85 of the best peer's after 256 and after 1,000
evaluations, with the whole 95 % interval of a paired bootstrap, and on the mean not above it after
64; pairs are of one instance, ours being the mean of five seeds. (2) Over all tasks, 64 and 256
pooled, regret over random's is smaller than each peer's (paired bootstrap, Holm-corrected p < 0.05)
or, where the difference is under 0.05 and not significant, the upper end of its one-sided 95 %
interval is at most 0.05. (3) After 5,000 trials on a tree of 23 to 26 decisions an ask and its tell
take the default and the tree searchers at most 5 ms of CPU. With ``--quick`` only (3) is checked.

Every run is a line of results/search_peers.jsonl; with ``--save --resume`` those that are there are
not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from _peer_report import claims, report, shown
from _peer_runs import CAP, COSTED, cost, forked, run
from _peer_searches import OURS, PEERS, present
from _peer_tasks import (
    INSTANCES,
    SAMPLES,
    TABLE_SIZES,
    TABLES,
    TREE_SIZES,
    known,
    table,
    tree,
)
from _results import RESULTS, commit, flags, processor

OUR_TREE_SEEDS = 100
TOGETHER = 5  # runs that follow one import of a peer
SLOW = ("SMAC3", "Optuna GP", "NePS", "Hyperopt TPE", "Optuna TPE", "Hyperopt anneal")  # first
QUICK = {"seeds": 2, "table": [16], "tree": [32], "cap": 10.0, "samples": 5_000, "costed": 50}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Work = dict[str, Any]


class Lines:
    """What is known: a line for each run, added to the file as it ends where that is wanted."""

    def __init__(self, given: argparse.Namespace, name: str) -> None:
        self.path, self.lock = RESULTS / f"{name}.jsonl", threading.Lock()
        self.save, self.lines = given.save, list[dict[str, Any]]()
        self.errors: list[str] = []
        if given.resume and self.path.exists():
            self.lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        elif self.save:
            self.path.write_text("")
        self.add({"kind": "made", **made()})

    def add(self, line: dict[str, Any]) -> None:
        with self.lock:
            self.lines.append(line)
            if line["kind"] == "run":
                print(shown(line), file=sys.stderr, flush=True)
            if self.save:
                with self.path.open("a") as file:
                    file.write(json.dumps(line) + "\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    def work(self, script: str, tasks: Iterable[Work], jobs: int) -> None:
        """Each in a process of its own, so many at a time. One that fails stops no other."""
        with ThreadPoolExecutor(jobs) as pool:
            for future in [pool.submit(self._child, script, task) for task in tasks]:
                future.result()

    def _child(self, script: str, task: Work) -> None:
        command = [sys.executable, script, "--one", json.dumps(task)]
        environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
        with tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith('{"kind"'):
                    self.add(json.loads(line))
            if child.wait():
                errors.seek(0)
                said = [line for line in errors.read().splitlines() if line.strip()]
                self.errors.append(f"{json.dumps(task)} failed: {' / '.join(said[-6:])}")
                print(self.errors[-1], file=sys.stderr, flush=True)


def planned(given: argparse.Namespace, lines: Lines, sizes: dict[str, list[int]]) -> Iterator[Work]:
    """The runs that are not known yet, the slowest peers first."""
    done = {(line["peer"], line["task"], line["seed"]) for line in lines.of("run")}
    order = sorted(PEERS, key=lambda n: SLOW.index(n) if n in SLOW else len(SLOW))
    for name in order:
        if name not in given.peer or name not in present():
            continue
        todo = []
        for task in sizes:
            count = PEERS[name].seeds
            if name == OURS and task == "tree":
                count = OUR_TREE_SEEDS
            for seed in range(min(count, given.seeds or count)):
                if (name, task, seed) not in done:
                    todo.append((task, seed))
        for i in range(0, len(todo), TOGETHER):
            yield {
                "peer": name,
                "runs": todo[i : i + TOGETHER],
                "sizes": sizes,
                "cap": given.cap,
            }


def expectations(work: Work) -> None:
    """Random search's regret, a line for each task and instance."""
    for task, sizes in work["sizes"].items():
        for instance in INSTANCES if task == "tree" else (0,):
            objective = tree(instance) if task == "tree" else table(task)
            if task == "tree":
                objective.samples = work["samples"]
            regret = {str(size): objective.expected(size) for size in sizes}
            line = {"kind": "expected", "task": task, "instance": instance, "regret": regret}
            print(json.dumps(line), flush=True)


def one(work: Work) -> None:
    """What a process of its own does."""
    if "peer" in work:
        name, sizes, cap = work["peer"], work["sizes"], work["cap"]
        calls = [partial(run, name, task, seed, sizes[task], cap) for task, seed in work["runs"]]
        forked(name, calls)
    elif "cost" in work:
        for name in COSTED:
            print(json.dumps(cost(name, work["cost"])), flush=True)
    else:
        expectations(work)


def measure(given: argparse.Namespace, lines: Lines, sizes: dict[str, list[int]]) -> None:
    have = {(e["task"], e["instance"], size) for e in lines.of("expected") for size in e["regret"]}
    todo = {
        task: wanted
        for task, wanted in sizes.items()
        for instances in [INSTANCES if task == "tree" else (0,)]
        if any((task, i, str(size)) not in have for i in instances for size in wanted)
    }
    works: list[Work] = [{"sizes": todo, "samples": given.samples}] if todo else []
    lines.work(__file__, [*works, *planned(given, lines, sizes)], given.jobs)
    if not lines.of("cost"):
        lines.work(__file__, [{"cost": given.costed}], 1)


def figures(lines: Lines, quick: bool, sizes: dict[str, list[int]]) -> dict[str, Any]:
    """The lines as the report reads them."""
    expected: dict[str, dict[str, dict[str, float]]] = {}
    for line in lines.of("expected"):
        expected.setdefault(line["task"], {})[str(line["instance"])] = line["regret"]
    return {
        "quick": quick,
        "sizes": sizes,
        "runs": [run for run in lines.of("run") if run["task"] in sizes],
        "expected": expected,
        "costs": {line["searcher"]: line for line in lines.of("cost")},
    }


def made() -> dict[str, Any]:
    """Under what the figures came about."""
    return {
        "commit": commit(),
        "machine": f"{processor()}, {os.cpu_count()} cores, one thread for each process",
        "python": platform.python_version(),
        "versions": {peer.package: peer.version for peer in present().values()},
    }


def arguments(about: str | None, jobs: int = 2) -> argparse.ArgumentParser:
    parser = flags(about, "two seeds, small sizes; not saved")
    parser.add_argument("--resume", action="store_true", help="keep runs that are saved")
    parser.add_argument("--jobs", type=int, default=jobs, help="processes at a time")
    parser.add_argument("--seeds", type=int, help="at most so many")
    parser.add_argument("--task", action="append", help="may be given again")
    parser.add_argument("--peer", action="append", help="may be given again")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser


def main() -> int:
    given = arguments(__doc__).parse_args()
    if given.one:
        one(json.loads(given.one))
        return 0
    given.save = given.save and not given.quick  # an hour of runs is not to be written over
    given.cap, given.samples, given.costed = CAP, SAMPLES, 200
    if given.quick:
        given.seeds, given.resume = given.seeds or QUICK["seeds"], False
        given.cap, given.samples, given.costed = QUICK["cap"], QUICK["samples"], QUICK["costed"]
    given.peer = given.peer or list(PEERS)
    wanted = given.task or [*TABLES, "tree"]
    for name in [*given.peer, *wanted]:
        if name not in PEERS and name not in (*TABLES, "tree"):
            sys.exit(f"There is no {name!r}; peers: {list(PEERS)}; tasks: {[*TABLES, 'tree']}.")
    for name in [name for name in given.peer if name not in present()]:
        print(f"{name} is left out: the package {PEERS[name].package} is not installed")
    for task in [task for task in wanted if task not in known()]:
        print(f"{task} is left out: its table is not there")
    quick = {"tree": QUICK["tree"]} if given.quick else {"tree": list(TREE_SIZES)}
    sizes = {
        task: quick.get(task, QUICK["table"] if given.quick else list(TABLE_SIZES))
        for task in wanted
        if task in known()
    }
    began, lines = time.monotonic(), Lines(given, "search_peers")
    measure(given, lines, sizes)
    found = figures(lines, given.quick, sizes)
    text = f"{report(found)}\n\n{json.dumps(made())}\n"
    text += f"{(time.monotonic() - began) / 60:.0f} minutes in this session."
    print(text)
    if given.save:
        (RESULTS / "search_peers.md").write_text(f"# benchmarks/search_peers.py\n\n{text}\n")
    failed = bool(lines.errors) or not all(holds for _, holds in claims(found))
    return int(given.check and failed)


if __name__ == "__main__":
    sys.exit(main())
