"""Optuna sees our decisions as the parameters they are, and what failed as the worst."""

from __future__ import annotations

import sys
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from vitruvius.search import OptunaGP, OptunaTPE, asked, told
from vitruvius.search.optuna_baselines import _OptunaSearch
from vitruvius.space import integers, log_uniform, one_of, where

SPACE: Any = (
    log_uniform(1e-4, 1.0, label="rate"),
    one_of(8, 16, 32, label="width"),
    one_of("relu", "tanh", True, 1, label="kind"),
    integers(1, 64, log=True, label="heads"),
)
POINT = {"rate": 1e-2, "width": 16, "kind": 1, "heads": 4}


def search_of(searcher: Any, space: Any = SPACE, better: Any = "higher") -> _OptunaSearch:
    search = searcher.begin(space, better)
    assert isinstance(search, _OptunaSearch)
    return search


def test_decisions_become_parameters_of_their_kind() -> None:
    search = search_of(OptunaTPE())
    search.hear(asked(0, 0, POINT))
    search.hear(told(1, 0, 0.5))
    (trial,) = search._study(0).trials
    assert trial.distributions == {
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "width": IntDistribution(0, 2),
        "kind": CategoricalDistribution((0, 1, 2, 3)),
        "heads": IntDistribution(1, 64, log=True),
    }
    assert trial.params == {"rate": 1e-2, "width": 1, "kind": 3, "heads": 4}
    assert trial.value == 0.5


def test_failed_trials_are_the_worst_and_running_ones_run() -> None:
    search = search_of(OptunaTPE(), better="lower")
    for trial, score in enumerate([3.0, None, 5.0]):
        search.hear(asked(0, trial, POINT))
        search.hear(told(0, trial, score))
    search.hear(asked(0, 3, POINT))
    trials = search._study(0).trials
    assert [t.value for t in trials] == [-3.0, -5.0, -5.0, None]
    assert trials[3].state == optuna.trial.TrialState.RUNNING


def test_the_sampler_is_the_named_one() -> None:
    sampler = OptunaTPE(initial=7, pool=48, multivariate=False).sampler(3)
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert sampler._n_startup_trials == 7
    assert sampler._n_ei_candidates == 48
    assert not sampler._multivariate
    assert isinstance(OptunaGP().sampler(3), optuna.samplers.GPSampler)


def never_even(n: int) -> bool:
    return n % 2 == 1


def test_infeasible_suggestions_are_passed_over() -> None:
    space: Any = (integers(1, 20, name="n"), where(never_even, "@n"))
    search = search_of(OptunaTPE(initial=2), space)
    for trial in range(12):
        point = search.ask(trial)
        assert point["@n"] % 2 == 1
        search.hear(asked(0, trial, point))
        search.hear(told(0, trial, float(point["@n"])))


def test_without_optuna_a_word_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"OptunaTPE needs Optuna: pip install 'vitruvius\[base"):
        OptunaTPE().begin(SPACE)


def test_group_needs_multivariate() -> None:
    with pytest.raises(ValueError, match="group needs multivariate"):
        OptunaTPE(multivariate=False, group=True)
