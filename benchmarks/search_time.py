"""Searching with rungs: who has the better network after the same training time?

    python benchmarks/search_time.py --save --resume  # a quarter of an hour on two cores
    python benchmarks/search_time.py --quick          # under a minute: two seeds, digits

The tables of ``search_peers.py``, with what every network scored after each epoch and the seconds
that an epoch took. Ours: ``TreeBO`` inside ``ASHA``, with rungs at powers of three and measured
ones, and alone, with whole trainings. Beside it Optuna's default sampler with its Hyperband pruner,
NePS as it picks its searcher itself where there is a fidelity (Hyperband), and random search with
whole trainings. 20 seeds; the time of 4, 16 and 64 whole trainings of mean length
(``_rung_runs.py``). Where trainings have a constant rate a rung is as good as a shorter training;
under a schedule it tells less. No claim: where a peer wins, the page says so. Packages and
processes as in ``search_peers.py``; the search's own time is printed beside.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from _peer_runs import CAP, forked
from _peer_searches import PEERS, present
from _peer_statistics import mean_interval, ratio_interval
from _peer_tasks import TABLES, known
from _results import RESULTS
from _rung_runs import OURS, RANDOM, RUNGS, SHOWN, run
from search_peers import TOGETHER, Lines, Work, arguments, made

SEEDS = 20
Values = dict[int, float]


def planned(lines: Lines, tasks: list[str], seeds: int) -> Iterator[Work]:
    """The runs that are not known yet."""
    done = {(line["peer"], line["task"], line["seed"]) for line in lines.of("run")}
    for name, (peer, _) in reversed(RUNGS.items()):
        if peer not in present():
            continue
        todo = [
            (task, seed)
            for task in tasks
            for seed in range(seeds)
            if (name, task, seed) not in done
        ]
        for i in range(0, len(todo), TOGETHER):
            yield {"rungs": name, "runs": todo[i : i + TOGETHER]}


def regrets(runs: list[dict[str, Any]], name: str, task: str, size: int) -> Values:
    return {
        r["seed"]: r["regret"][str(size)]
        for r in runs
        if r["peer"] == name and r["task"] == task and str(size) in r["regret"]
    }


def report(runs: list[dict[str, Any]]) -> str:
    lines = [
        "Regret over the mean regret of random search after the same training time (1: no better),",
        "its mean over seeds and the 95 % bootstrap interval; columns: whole trainings of mean",
        "length. Networks: how many were begun; ms: CPU time of the search for each evaluation.",
    ]
    for task in dict.fromkeys(r["task"] for r in runs):
        lines += ["", f"## {task}", ""]
        head = " | ".join(f"@{n}" for n in SHOWN)
        lines.append(f"| searcher | version | seeds | {head} | networks | ms |")
        lines.append("|---|---|---|" + "---|" * (len(SHOWN) + 2))
        for name in RUNGS:
            mine = [r for r in runs if r["peer"] == name and r["task"] == task]
            if not mine:
                continue
            cells = []
            for size in SHOWN:
                random = np.mean(list(regrets(runs, RANDOM, task, size).values()) or [np.nan])
                held = [v / random for v in regrets(runs, name, task, size).values()]
                if 2 * len(held) < len(mine):
                    cells.append(f"not reached ({len(held)} of {len(mine)})")
                    continue
                mean, low, high = mean_interval(held)
                cells.append(f"{mean:.2f} [{low:.2f}, {high:.2f}]")
            networks = np.mean([r["networks"] for r in mine])
            milliseconds = np.mean([r["milliseconds"] for r in mine])
            lines.append(
                f"| {name} | {mine[0]['version']} | {len(mine)} | {' | '.join(cells)} "
                f"| {networks:.0f} | {milliseconds:.3g} |"
            )
        lines += ["", *winners(runs, task)]
    return "\n".join(lines)


def winners(runs: list[dict[str, Any]], task: str) -> list[str]:
    """Where a peer has the smaller regret than ours with rungs."""
    lines = []
    for size in SHOWN:
        mine = regrets(runs, OURS, task, size)
        for name in RUNGS:
            theirs = regrets(runs, name, task, size)
            both = np.array([(mine[s], theirs[s]) for s in sorted(set(mine) & set(theirs))])
            if name == OURS or not len(both) or both[:, 0].mean() <= both[:, 1].mean():
                continue
            ratio, low, high = ratio_interval(both)
            sure = "the interval holds 1" if low <= 1 else "beyond chance"
            said = f"ours with rungs has {ratio:.2f} [{low:.2f}, {high:.2f}] times its regret"
            lines.append(f"- **{name} wins at {size}**: {said} ({sure}).")
    return lines or ["Nobody has a smaller mean regret than ours with rungs at any time."]


def main() -> int:
    given = arguments(__doc__).parse_args()
    if given.one:
        work = json.loads(given.one)
        name = work["rungs"]
        calls = [partial(run, name, task, seed, CAP) for task, seed in work["runs"]]
        forked(RUNGS[name][0], calls)
        return 0
    given.save = given.save and not given.quick
    given.resume = given.resume and not given.quick
    wanted = given.task or (["digits"] if given.quick else list(TABLES))
    tasks = [task for task in wanted if task in TABLES and task in known()]
    for task in [task for task in wanted if task not in tasks]:
        print(f"{task} is left out: there is no such table")
    for name in [name for name, (peer, _) in RUNGS.items() if peer not in present()]:
        package = PEERS[RUNGS[name][0]].package
        print(f"{name} is left out: the package {package} is not installed")
    began, lines = time.monotonic(), Lines(given, "search_time")
    seeds = given.seeds or (2 if given.quick else SEEDS)
    lines.work(__file__, planned(lines, tasks, seeds), given.jobs)
    text = f"{report(lines.of('run'))}\n\n{json.dumps(made())}\n"
    text += f"{(time.monotonic() - began) / 60:.0f} minutes in this session."
    print(text)
    if given.save:
        (RESULTS / "search_time.md").write_text(f"# benchmarks/search_time.py\n\n{text}\n")
    return int(given.check and bool(lines.errors))


if __name__ == "__main__":
    sys.exit(main())
