"""Searchers: ask a point, hear what became of it."""

from vitruvius.search.asha import ASHA
from vitruvius.search.costs import Costs, Price, Recorded
from vitruvius.search.distinct import Distinct
from vitruvius.search.evolution import RegularizedEvolution
from vitruvius.search.exhaustive import Exhaustive
from vitruvius.search.fresh import Exhausted
from vitruvius.search.gradual import Gradual
from vitruvius.search.history import Better, Event, asked, generator, outcome, told
from vitruvius.search.mcts import MCTS
from vitruvius.search.optuna_baselines import OptunaGP, OptunaTPE
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.searcher import Search, Searcher, ask
from vitruvius.search.smbo import SMBO
from vitruvius.search.starting import Starting
from vitruvius.search.successive_halving import SuccessiveHalving
from vitruvius.search.tree_bo import TreeBO

__all__ = [
    "ASHA",
    "MCTS",
    "SMBO",
    "Better",
    "Costs",
    "Distinct",
    "Event",
    "Exhausted",
    "Exhaustive",
    "Gradual",
    "OptunaGP",
    "OptunaTPE",
    "Price",
    "RandomSearch",
    "Recorded",
    "RegularizedEvolution",
    "Search",
    "Searcher",
    "Starting",
    "SuccessiveHalving",
    "TreeBO",
    "ask",
    "asked",
    "generator",
    "outcome",
    "told",
]
