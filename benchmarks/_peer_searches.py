"""The searchers that are compared, ours and those of other packages, behind ask and tell.

Each peer keeps its own study, its own defaults and its own words for a trial that failed. A search
asks for a point and hears a gain (higher is better), or None where the trial failed. CPU time of
``ask`` and ``tell`` is that of the peer: translating its numbers into a point comes after it.

Needs, besides vitruvius: optuna 5, hyperopt 0.3, smac 2.4, neural-pipeline-search 0.17; a peer
whose package is missing is left out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import random
import sys
import tempfile
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from _peer_spaces import (
    config_space,
    hyperopt_point,
    hyperopt_space,
    neps_point,
    neps_space,
    optuna_point,
    point_of,
)

from vitruvius.search import (
    Distinct,
    RandomSearch,
    RegularizedEvolution,
    Searcher,
    TreeBO,
    asked,
    told,
)
from vitruvius.space import Point, compile


class PeerSearch(ABC):
    """A search under way: one point asked, then its gain told, and so on."""

    def __init__(self, space: Any, seed: int, most: int, worst: float) -> None:
        """``most``: trials at most; ``worst``: the gain that a package needs for a failure."""
        self.space, self.program, self.seed = space, compile(space), seed
        self.most, self.worst = most, worst
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Set up the package's study."""

    @abstractmethod
    def ask(self) -> Any:
        """What the package suggests, in its own words."""

    @abstractmethod
    def point(self, suggested: Any) -> Point:
        """The point that a suggestion stands for."""

    @abstractmethod
    def tell(self, suggested: Any, gain: float | None) -> None:
        """What became of it."""


class OursSearch(PeerSearch):
    """A searcher of ours as a study runs it: no point twice."""

    searcher: Searcher = TreeBO()

    def begin(self) -> None:
        self.search = Distinct(self.searcher.replace(seed=self.seed)).begin(self.space)
        self.trial = 0

    def ask(self) -> Any:
        return self.search.ask(self.trial)

    def point(self, suggested: Any) -> Point:
        return suggested

    def tell(self, suggested: Any, gain: float | None) -> None:
        self.search.hear(asked(2 * self.trial, self.trial, suggested))
        self.search.hear(told(2 * self.trial + 1, self.trial, gain))
        self.trial += 1


class EvolutionSearch(OursSearch):
    searcher = RegularizedEvolution()


class RandomPeer(OursSearch):
    searcher = RandomSearch()


class OptunaSearch(PeerSearch):
    """Optuna's default sampler (TPE), define by run; a failed trial is told as FAIL."""

    def begin(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna = optuna
        self.study = optuna.create_study(direction="maximize", sampler=self.sampler())

    def sampler(self) -> Any:
        return self.optuna.samplers.TPESampler(seed=self.seed)

    def ask(self) -> Any:
        trial = self.study.ask()
        return trial, optuna_point(self.program, trial)

    def point(self, suggested: Any) -> Point:
        return suggested[1]

    def tell(self, suggested: Any, gain: float | None) -> None:
        failed = self.optuna.trial.TrialState.FAIL if gain is None else None
        self.study.tell(suggested[0], gain, state=failed)


class OptunaGPSearch(OptunaSearch):
    """Optuna's Gaussian process: what not all points share, its independent sampler draws."""

    def sampler(self) -> Any:
        return self.optuna.samplers.GPSampler(seed=self.seed, warn_independent_sampling=False)


class HyperoptSearch(PeerSearch):
    """As ``fmin`` asks and tells; a failed trial has the status ``fail``."""

    algorithm = "tpe"

    def begin(self) -> None:
        import hyperopt

        logging.getLogger("hyperopt").setLevel(logging.ERROR)
        self.hyperopt = hyperopt
        self.suggest = importlib.import_module(f"hyperopt.{self.algorithm}").suggest
        self.domain = hyperopt.base.Domain(lambda point: 0.0, hyperopt_space(self.space))
        self.trials = hyperopt.Trials()
        self.draw = np.random.default_rng(self.seed)

    def ask(self) -> Any:
        ids = self.trials.new_trial_ids(1)
        self.trials.refresh()
        seed = int(self.draw.integers(2**31 - 1))
        return self.suggest(ids, self.domain, self.trials, seed)[0]

    def point(self, suggested: Any) -> Point:
        return hyperopt_point(self.program, suggested["misc"]["vals"])

    def tell(self, suggested: Any, gain: float | None) -> None:
        if gain is None:
            suggested["result"] = {"status": self.hyperopt.STATUS_FAIL}
        else:
            suggested["result"] = {"status": self.hyperopt.STATUS_OK, "loss": -gain}
        suggested["state"] = self.hyperopt.JOB_STATE_DONE
        self.trials.insert_trial_docs([suggested])
        self.trials.refresh()


class AnnealSearch(HyperoptSearch):
    algorithm = "anneal"


class SmacSearch(PeerSearch):
    """SMAC3's facade for hyperparameters (random forest), told how many trials there will be.

    A failed trial has the status CRASHED, and the cost of the worst trial that there can be.
    """

    def begin(self) -> None:
        from smac import HyperparameterOptimizationFacade, Scenario
        from smac.runhistory import StatusType, TrialValue

        logging.getLogger("smac").setLevel(logging.ERROR)
        self.folder = tempfile.TemporaryDirectory()
        self.value, self.status = TrialValue, StatusType
        scenario = Scenario(
            config_space(self.space, self.seed),
            deterministic=True,
            n_trials=self.most,
            seed=self.seed,
            crash_cost=-self.worst,
            output_directory=self.folder.name,  # type: ignore[arg-type]
        )
        self.smac = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=logging.ERROR
        )

    def ask(self) -> Any:
        return self.smac.ask()

    def point(self, suggested: Any) -> Point:
        return point_of(self.program, dict(suggested.config))

    def tell(self, suggested: Any, gain: float | None) -> None:
        status = self.status.CRASHED if gain is None else self.status.SUCCESS
        cost = -(self.worst if gain is None else gain)
        self.smac.tell(suggested, self.value(cost=cost, status=status))


class NepsSearch(PeerSearch):
    """What ``neps.run`` picks itself: a Gaussian process on a flat space, and on one with
    conditions its mixture of random, mutated and crossed points. A failed trial is an exception.
    """

    algorithm: Any = "auto"
    epochs: int | None = None

    def begin(self) -> None:
        import neps
        import torch
        from neps.optimizers import load_optimizer
        from neps.space.neps_spaces.neps_space import (
            check_neps_space_compatibility,
            convert_neps_to_classic_search_space,
        )

        for draw in (random.seed, np.random.seed, torch.manual_seed):
            draw(self.seed)
        logging.getLogger("neps").setLevel(logging.ERROR)
        space = neps_space(self.space, self.epochs)
        if check_neps_space_compatibility(self.algorithm) != "neps":  # as neps.run does
            space = convert_neps_to_classic_search_space(space) or space
        optimizer, info = load_optimizer(self.algorithm, space)
        self.picked = info["name"]
        self.neps = neps.AskAndTell(optimizer)

    def ask(self) -> Any:
        return self.neps.ask()

    def point(self, suggested: Any) -> Point:
        return neps_point(self.program, suggested.config)

    def tell(self, suggested: Any, gain: float | None) -> None:
        result = RuntimeError("the training failed") if gain is None else -gain
        self.neps.tell(suggested, result)


class NepsEvolutionSearch(NepsSearch):
    """NePS's regularised evolution, the one of its searchers that is made for such spaces."""

    algorithm = "neps_regularized_evolution"


@dataclass(frozen=True)
class Peer:
    search: type[PeerSearch]
    package: str = "vitruvius"
    module: str = "vitruvius"
    seeds: int = 20
    told: bool = False
    """Whether it must be told how many trials there will be: then each size is a run."""

    @property
    def version(self) -> str | None:
        """Of its package; None where that is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None if self.module != "vitruvius" else "here"


OURS, RANDOM = "TreeBO (ours)", "random search"
PEERS: dict[str, Peer] = {
    OURS: Peer(OursSearch),
    RANDOM: Peer(RandomPeer),
    "plain regularised evolution": Peer(EvolutionSearch),
    "Optuna TPE": Peer(OptunaSearch, "optuna", "optuna"),
    "Optuna GP": Peer(OptunaGPSearch, "optuna", "optuna", 10),
    "Hyperopt TPE": Peer(HyperoptSearch, "hyperopt", "hyperopt"),
    "Hyperopt anneal": Peer(AnnealSearch, "hyperopt", "hyperopt"),
    "SMAC3": Peer(SmacSearch, "smac", "smac", 10, told=True),
    "NePS": Peer(NepsSearch, "neural-pipeline-search", "neps"),
    "NePS evolution": Peer(NepsEvolutionSearch, "neural-pipeline-search", "neps"),
}


def present() -> dict[str, Peer]:
    """The peers whose package is there."""
    return {name: peer for name, peer in PEERS.items() if peer.version is not None}


def prepare(name: str) -> None:
    """Import what a peer needs and quieten it, before processes are forked off."""
    os.environ.setdefault("NEPS_LOG_LEVEL", "ERROR")
    warnings.simplefilter("ignore")
    importlib.import_module(PEERS[name].module)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
