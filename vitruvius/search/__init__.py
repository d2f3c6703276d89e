"""Searchers: ask a point, hear what became of it."""

from vitruvius.search.distinct import Distinct
from vitruvius.search.evolution import RegularizedEvolution
from vitruvius.search.exhaustive import Exhaustive
from vitruvius.search.fresh import Exhausted
from vitruvius.search.history import Better, Event, asked, generator, outcome, told
from vitruvius.search.mcts import MCTS
from vitruvius.search.optuna_baselines import OptunaGP, OptunaTPE
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Costs, Search, Searcher, ask
from vitruvius.search.smbo import SMBO

__all__ = [
    "MCTS",
    "SMBO",
    "Better",
    "Costs",
    "Distinct",
    "Event",
    "Exhausted",
    "Exhaustive",
    "OptunaGP",
    "OptunaTPE",
    "RandomSearch",
    "RegularizedEvolution",
    "Search",
    "Searcher",
    "ask",
    "asked",
    "generator",
    "outcome",
    "told",
]
