"""Searchers: ask a point, hear what became of it."""

from vitruvius.search.asha import ASHA
from vitruvius.search.beliefs import Belief, Near, Weights, beliefs, near
from vitruvius.search.boshnas import BOSHNAS
from vitruvius.search.chebyshev import Chebyshev
from vitruvius.search.costs import Costs, Price, Recorded
from vitruvius.search.curves import Curves
from vitruvius.search.distinct import Distinct
from vitruvius.search.evolution import RegularizedEvolution
from vitruvius.search.exhaustive import Exhaustive
from vitruvius.search.fresh import Exhausted
from vitruvius.search.gradual import Gradual
from vitruvius.search.history import Better, Event, asked, generator, outcome, told
from vitruvius.search.mcts import MCTS
from vitruvius.search.optuna_baselines import OptunaGP, OptunaTPE
from vitruvius.search.prior import Prior
from vitruvius.search.random_search import RandomSearch
from vitruvius.search.rank_fidelity import RankFidelity
from vitruvius.search.rung_plan import RungPlan, plan_rungs
from vitruvius.search.searcher import Search, Searcher, ask
from vitruvius.search.smbo import SMBO
from vitruvius.search.starting import Starting
from vitruvius.search.successive_halving import SuccessiveHalving
from vitruvius.search.transfer import Transfer
from vitruvius.search.tree_bo import TreeBO

__all__ = [
    "ASHA",
    "BOSHNAS",
    "MCTS",
    "SMBO",
    "Belief",
    "Better",
    "Chebyshev",
    "Costs",
    "Curves",
    "Distinct",
    "Event",
    "Exhausted",
    "Exhaustive",
    "Gradual",
    "Near",
    "OptunaGP",
    "OptunaTPE",
    "Price",
    "Prior",
    "RandomSearch",
    "RankFidelity",
    "Recorded",
    "RegularizedEvolution",
    "RungPlan",
    "Search",
    "Searcher",
    "Starting",
    "SuccessiveHalving",
    "Transfer",
    "TreeBO",
    "Weights",
    "ask",
    "asked",
    "beliefs",
    "generator",
    "near",
    "outcome",
    "plan_rungs",
    "told",
]
