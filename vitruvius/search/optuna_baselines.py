"""Optuna's samplers behind the same call: baselines.

Source: Akiba et al. 2019, "Optuna: A Next-generation Hyperparameter Optimization Framework",
arXiv:1907.10902; TPE after Watanabe 2023, arXiv:2304.11127; GP as in Optuna 5.
A study is made anew from the history at each ask, so that these, too, are folds over the events.
Needs the extra ``vitruvius[baselines]`` (``optuna>=5,<6``), imported when a search begins.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol

from vitruvius.search.history import Better
from vitruvius.search.searcher import Costs, Search, Searcher
from vitruvius.space import Decision, Infeasible, Point, hyper, integers, one_of
from vitruvius.space.domains import Choice, Integers, Real

INFEASIBLE_IN_A_ROW = 8  # suggestions, before a random point is taken


@dataclass(frozen=True)
class OptunaTPE(Searcher):
    """Tree-structured Parzen estimators, as in Optuna 5 (its default sampler).

    A categorical decision becomes a categorical parameter, one with an order an integer or a float
    one. What failed counts as the worst score seen.
    """

    initial: int = hyper(10, integers(2, 32, log=True), "random points to start with")
    pool: int = hyper(24, one_of(24, 48, 96), "candidates of each decision")
    multivariate: bool = hyper(True, one_of(False, True), "one density over decisions together")
    group: bool = hyper(False, one_of(False, True), "densities for each group of decisions")

    def check(self) -> None:
        if self.initial < 1 or self.pool < 1:
            raise ValueError(
                "OptunaTPE.initial and .pool must be at least 1; "
                f"got {self.initial} and {self.pool}."
            )
        if self.group and not self.multivariate:
            raise ValueError("OptunaTPE.group needs multivariate=True.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _OptunaSearch(self, space, better, self.sampler)

    def sampler(self, seed: int) -> Any:
        import optuna

        return optuna.samplers.TPESampler(
            n_startup_trials=self.initial,
            n_ei_candidates=self.pool,
            multivariate=self.multivariate,
            group=self.group,
            constant_liar=True,
            seed=seed,
        )


@dataclass(frozen=True)
class OptunaGP(Searcher):
    """A Gaussian process with the logarithm of expected improvement, as in Optuna 5.

    It models the decisions that all points share, and draws the others at random. It imports torch.
    """

    initial: int = hyper(10, integers(2, 32, log=True), "random points to start with")

    def check(self) -> None:
        if self.initial < 1:
            raise ValueError(f"OptunaGP.initial must be at least 1; got {self.initial}.")

    def begin(self, space: Any, better: Better = "higher") -> Search:
        return _OptunaSearch(self, space, better, self.sampler)

    def sampler(self, seed: int) -> Any:
        import optuna

        return optuna.samplers.GPSampler(
            n_startup_trials=self.initial,
            deterministic_objective=False,
            warn_independent_sampling=False,
            seed=seed,
        )


class _Sampler(Protocol):
    def __call__(self, seed: int) -> Any: ...


class _OptunaSearch(Search):
    def __init__(self, searcher: Searcher, space: Any, better: Better, sampler: _Sampler) -> None:
        super().__init__(searcher, space, better)
        try:
            import optuna
        except ImportError:
            raise ImportError(
                f"{type(searcher).__name__} needs Optuna: pip install 'vitruvius[baselines]'."
            ) from None
        self.optuna, self.sampler = optuna, sampler
        self.history: list[tuple[Point, float | None]] = []
        self.parameters: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}

    def ended(self, trial: int, point: Point, gain: float | None) -> None:
        self.history.append((point, gain))

    def propose(self, draw: Random, costs: Costs | None) -> Point:
        study = self._study(draw.getrandbits(32))
        for _ in range(INFEASIBLE_IN_A_ROW):
            trial = study.ask()
            try:
                return self.program.walk(partial(self._suggest, trial))
            except Infeasible:
                study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        return self.program.sample(draw)

    def _study(self, seed: int) -> Any:
        """A study in memory that holds all that ended, and what runs."""
        before = self.optuna.logging.get_verbosity()
        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        try:
            study = self.optuna.create_study(sampler=self.sampler(seed), direction="maximize")
        finally:
            self.optuna.logging.set_verbosity(before)
        gains = [gain for _, gain in self.history if gain is not None]
        if gains:
            worst = min(gains)
            for i, (point, gain) in enumerate(self.history):
                study.add_trial(self._trial(i, point, worst if gain is None else gain))
        for trial, state in self.states.items():
            if state == "running":
                study.add_trial(self._trial(None, self.points[trial], None))
        return study

    def _trial(self, number: int | None, point: Point, value: float | None) -> Any:
        known = self.parameters.get(number) if number is not None else None
        if known is None:
            known = self._parameters(point)
            if number is not None:
                self.parameters[number] = known
        states = self.optuna.trial.TrialState
        return self.optuna.trial.create_trial(
            state=states.RUNNING if value is None else states.COMPLETE,
            value=value,
            params=known[0],
            distributions=known[1],
        )

    def _parameters(self, point: Point) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the point decides of this space, as Optuna's parameters and distributions."""
        values: dict[str, Any] = {}
        distributions: dict[str, Any] = {}

        def read(decision: Decision) -> Any:
            label = point.get(decision.address, _MISSING)
            if label is _MISSING or not decision.domain.contains(label):
                raise _Left
            values[decision.address] = _index(decision, label)
            distributions[decision.address] = self._distribution(decision)
            return label

        with contextlib.suppress(_Left, Infeasible):  # the space was edited: what fits is kept
            self.program.walk(read)
        return values, distributions

    def _distribution(self, decision: Decision) -> Any:
        domain, distributions = decision.domain, self.optuna.distributions
        if isinstance(domain, Integers):
            return distributions.IntDistribution(domain.low, domain.high, log=domain.log)
        if isinstance(domain, Real):
            return distributions.FloatDistribution(domain.low, domain.high, log=domain.log)
        assert isinstance(domain, Choice)
        if domain.kind == "ordered":
            return distributions.IntDistribution(0, domain.size - 1)
        return distributions.CategoricalDistribution(tuple(range(domain.size)))

    def _suggest(self, trial: Any, decision: Decision) -> Any:
        address, domain = decision.address, decision.domain
        if isinstance(domain, Integers):
            return trial.suggest_int(address, domain.low, domain.high, log=domain.log)
        if isinstance(domain, Real):
            return trial.suggest_float(address, domain.low, domain.high, log=domain.log)
        assert isinstance(domain, Choice)
        if domain.kind == "ordered":
            return domain.labels[trial.suggest_int(address, 0, domain.size - 1)]
        return domain.labels[trial.suggest_categorical(address, tuple(range(domain.size)))]


def _index(decision: Decision, label: Any) -> Any:
    return decision.domain.index(label) if isinstance(decision.domain, Choice) else label


class _Left(Exception):
    """A point of the space before it was edited."""


_MISSING = object()
