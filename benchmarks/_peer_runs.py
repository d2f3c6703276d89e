"""Single runs of the searchers, each in a process of its own with one thread and a cap."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import _tree_space as tree_space
from _peer_searches import PEERS, Peer, prepare
from _peer_tasks import instance_of, task_of

from vitruvius.search import (
    MCTS,
    SMBO,
    Distinct,
    RegularizedEvolution,
    Searcher,
    TreeBO,
    asked,
    told,
)
from vitruvius.space import canonical, compile

CAP = 60.0  # CPU seconds of a run, from the first ask on
BETWEEN = (100, 300)  # sizes that are read from the run of the next larger one
HOPE = 1.25  # a run ends at a size where the next, at its pace, needs this much of what is left
COSTED: dict[str, Searcher] = {
    "TreeBO": TreeBO(),
    "SMBO": SMBO(),
    "MCTS": MCTS(),
    "RegularizedEvolution": RegularizedEvolution(),
}
PRELOADED = 5000


class Capped(BaseException):
    """The CPU time of a run is spent; no handler of a package is to catch it."""


def forked(name: str, calls: Sequence[Callable[[], dict[str, Any]]]) -> None:
    """Each call in a process that is forked off after a peer's package was imported; what it gives
    is a line on standard output."""
    prepare(name)
    failed = 0
    for call in calls:
        sys.stdout.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                print(json.dumps(call()), flush=True)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        failed += os.waitpid(child, 0)[1] != 0
    if failed:
        sys.exit(f"{failed} of {len(calls)} runs of {name} failed")


def run(name: str, task: str, seed: int, sizes: list[int], cap: float = CAP) -> dict[str, Any]:
    """Regret at each size that is reached within the cap, milliseconds, memory."""
    peer, objective = PEERS[name], task_of(task, seed)
    found: dict[str, Any] = {
        "kind": "run",
        "peer": name,
        "task": task,
        "seed": seed,
        "instance": instance_of(seed) if task == "tree" else 0,
        "version": peer.version,
        "regret": {},
    }
    held = memory("VmRSS")
    told_of = [size for size in sizes if size not in BETWEEN] if peer.told else sizes[-1:]
    for most in told_of:
        wanted = [size for size in sizes if size <= most]
        regrets, used = _search(peer, objective, seed, wanted, cap)
        missing = [n for n in wanted if str(n) not in found["regret"] and n <= len(regrets)]
        found["regret"].update({str(n): regrets[n - 1] for n in missing})
        found |= used | {"evaluations": len(regrets)}
        larger = min((size for size in told_of if size > most), default=0)
        if len(regrets) < most or used["milliseconds"] * larger > 1000 * HOPE * cap:
            break  # nor will it reach the larger ones
    found["memory"] = [round(held), round(memory("VmHWM"))]
    return found


def _search(
    peer: Peer, objective: Any, seed: int, sizes: list[int], cap: float
) -> tuple[list[float], dict[str, Any]]:
    """Regret after each evaluation; milliseconds of CPU time of an ask and its tell, and how many
    different points were asked for."""
    signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, cap)
    most, regrets, asked_for = sizes[-1], list[float](), set[str]()
    best, spent, failed = objective.worst, 0.0, 0
    marked, hopeless = (0, 0.0), False  # evaluations and seconds at the last size
    try:
        search = peer.search(objective.space, seed, most, objective.worst)
        for _ in range(most):
            before = time.process_time()
            suggested = search.ask()
            spent += time.process_time() - before
            point = search.point(suggested)
            gain = objective.gain(point)
            asked_for.add(canonical(point))
            failed += gain is None
            before = time.process_time()
            search.tell(suggested, gain)
            spent += time.process_time() - before
            best = best if gain is None else max(best, gain)
            regrets.append(objective.best - best)
            if len(regrets) in sizes[:-1]:
                pace = (spent - marked[1]) / (len(regrets) - marked[0])
                marked = len(regrets), spent
                larger = min(size for size in sizes if size > len(regrets))
                hopeless = pace * (larger - len(regrets)) > HOPE * (cap - spent)
                if hopeless:
                    break
    except Capped:
        pass
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    milliseconds = 1000 * spent / max(len(regrets), 1)
    return regrets, {
        "milliseconds": round(milliseconds, 3),
        "failed": failed,
        "different": len(asked_for),
        "hopeless": hopeless,
    }


def _stop(number: int, frame: Any) -> None:
    raise Capped


def memory(which: str) -> float:
    """MB of this process: ``VmRSS`` now, ``VmHWM`` at most; 0 where the system does not tell.

    Not ``ru_maxrss``, which a process inherits from the one that began it.
    """
    try:
        with open("/proc/self/status") as told_by_system:
            for line in told_by_system:
                if line.startswith(which):
                    return int(line.split()[1]) / 1000
    except OSError:
        pass
    return 0.0


def cost(name: str, count: int, preloaded: int = PRELOADED) -> dict[str, Any]:
    """CPU milliseconds of an ask and its tell on a tree of 23 to 26 decisions, after trials at
    random points of it."""
    instance, program = tree_space.Instance(0), compile(tree_space.LARGE)
    search, draw = Distinct(COSTED[name]).begin(tree_space.LARGE), Random(0)
    before = 0.0
    for trial in range(preloaded + count + 1):
        if trial == preloaded + 1:  # the first ask catches up with what was preloaded
            before = time.process_time()
        point = program.sample(draw) if trial < preloaded else search.ask(trial)
        search.hear(asked(2 * trial, trial, point))
        search.hear(told(2 * trial + 1, trial, instance.score(point)))
    milliseconds = 1000 * (time.process_time() - before) / count
    return {
        "kind": "cost",
        "searcher": name,
        "trials": preloaded,
        "milliseconds": round(milliseconds, 3),
        "calibration": round(calibration(), 4),
    }


def calibration() -> float:
    """CPU seconds of a million additions: about 0.05 where nothing else shares the core, so that
    it shows by how much a busy machine lengthens CPU time."""
    before, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return time.process_time() - before
