"""Searches of a table in simulated time: every epoch takes the seconds that it took in training.

A network that goes on takes the epochs that are missing. Only networks that were trained to the end
count for the best so far; what does not end within the time does not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from _peer_searches import PEERS, NepsSearch, OptunaSearch, PeerSearch
from _peer_tasks import TableTask, table

from vitruvius.search import ASHA, Distinct, RandomSearch, Search, Searcher, TreeBO, asked, told
from vitruvius.search.history import Event

SHOWN = (4, 16, 64)  # whole trainings of mean length: the time that is simulated
Step = tuple[int, int, Callable[[float | None], None]]
"""A network, the epoch it is trained to, and who hears its gain there."""


class Clock:
    """The seconds used, and the best gain of a whole training at each time shown."""

    def __init__(self, task: TableTask) -> None:
        self.task, self.used, self.best = task, 0.0, task.worst
        self.unit = float(task.seconds.mean()) * task.epochs
        self.trained: dict[int, int] = {}
        self.found: list[float] = []

    @property
    def over(self) -> bool:
        return len(self.found) == len(SHOWN)

    def train(self, network: int, until: int) -> float | None:
        """Its gain at an epoch; None where the training failed by then."""
        more = max(0, until - self.trained.get(network, 0))
        self.used += more * float(self.task.seconds[network])
        self.trained[network] = max(until, self.trained.get(network, 0))
        while not self.over and self.used > SHOWN[len(self.found)] * self.unit:
            self.found.append(self.best)
        gain = float(self.task.gains[network, until - 1])
        if gain != gain:
            return None
        if until == self.task.epochs and not self.over:
            self.best = max(self.best, gain)
        return gain


def ours(searcher: Searcher, task: TableTask, seed: int) -> Iterator[Step]:
    """A searcher of ours, as a study runs it: it hears the scores on the way too."""
    search: Search = Distinct(searcher.replace(seed=seed)).begin(task.space)
    numbers = itertools.count()
    for trial in itertools.count():
        point = search.ask(trial)
        share, network = search.share(point), task.number(point)
        until = max(1, round(share * task.epochs))
        heard: list[float | None] = []
        yield network, until, heard.append
        search.hear(asked(next(numbers), trial, point, share=share))
        for epoch in range(1, until + 1):
            body = {"step": epoch, "fraction": epoch / task.epochs, "annealed": False}
            body["score"] = float(task.gains[network, epoch - 1])
            search.hear(Event(next(numbers), "rung", trial, body))
        search.hear(told(next(numbers), trial, heard[0]))


def optuna(task: TableTask, seed: int) -> Iterator[Step]:
    """Optuna's default sampler, and its Hyperband pruner, which hears of every epoch."""
    import optuna

    search = OptunaSearch(task.space, seed, 0, task.worst)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=task.epochs)
    sampler = search.study.sampler
    search.study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    states = optuna.trial.TrialState
    while True:
        suggested = search.ask()
        trial, network = suggested[0], task.number(search.point(suggested))
        state = None
        for epoch in range(1, task.epochs + 1):
            heard: list[float | None] = []
            yield network, epoch, heard.append
            if heard[0] is None:
                state = states.FAIL
                break
            trial.report(heard[0], epoch)
            if epoch < task.epochs and trial.should_prune():
                state = states.PRUNED
                break
        search.study.tell(trial, None if state is not None else heard[0], state=state)


class _NepsRungs(NepsSearch):
    def __init__(self, task: TableTask, seed: int) -> None:
        self.epochs = task.epochs
        super().__init__(task.space, seed, 0, task.worst)


def neps(task: TableTask, seed: int) -> Iterator[Step]:
    """What NePS picks itself where there is a fidelity: Hyperband."""
    search: PeerSearch = _NepsRungs(task, seed)
    while True:
        suggested = search.ask()
        config = {key.removeprefix("ENVIRONMENT__"): v for key, v in suggested.config.items()}
        heard: list[float | None] = []
        yield task.number(search.point(suggested)), int(config["epochs"]), heard.append
        search.tell(suggested, heard[0])


OURS, RANDOM = "TreeBO in ASHA (ours)", "random search"
RUNGS: dict[str, tuple[str, Callable[[TableTask, int], Iterator[Step]]]] = {
    OURS: ("TreeBO (ours)", lambda task, seed: ours(ASHA(TreeBO()), task, seed)),
    "TreeBO in ASHA, measured rungs (ours)": (
        "TreeBO (ours)",
        lambda task, seed: ours(ASHA(TreeBO(), rungs="measured"), task, seed),
    ),
    "TreeBO, whole trainings (ours)": (
        "TreeBO (ours)",
        lambda task, seed: ours(TreeBO(), task, seed),
    ),
    RANDOM: (RANDOM, lambda task, seed: ours(RandomSearch(), task, seed)),
    "Optuna TPE, Hyperband": ("Optuna TPE", optuna),
    "NePS Hyperband": ("NePS", neps),
}
"""By name: the peer whose package it needs, and the steps it takes."""


def run(name: str, task: str, seed: int, cap: float) -> dict[str, Any]:
    """The regret at each time, unless ``cap`` CPU seconds are spent before."""
    held = table(task)
    clock, began, evaluations = Clock(held), time.process_time(), 0
    for network, until, hear in RUNGS[name][1](held, seed):
        evaluations += 1
        hear(clock.train(network, until))
        if clock.over or time.process_time() - began > cap:
            break
    regrets = {str(n): held.best - gain for n, gain in zip(SHOWN, clock.found, strict=False)}
    return {
        "kind": "run",
        "peer": name,
        "task": task,
        "seed": seed,
        "version": PEERS[RUNGS[name][0]].version,
        "regret": regrets,
        "evaluations": evaluations,
        "networks": len(clock.trained),
        "milliseconds": round(1000 * (time.process_time() - began) / evaluations, 3),
    }
