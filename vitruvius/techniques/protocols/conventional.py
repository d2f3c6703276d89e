"""Report the best of all designs on the very data that it was chosen by: what is to be avoided.

Source: Cha & Cho 2025, "Hyperparameters in Continual Learning: A Reality Check", TMLR,
arXiv:2403.09066 (the conventional evaluation protocol).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import Array, Evaluator, Lab, Measurement, Report, Scenario, Split, Verdict
from vitruvius.space import Node, hyper
from vitruvius.techniques.protocols.class_incremental import ClassIncremental
from vitruvius.techniques.protocols.halves import FINAL
from vitruvius.techniques.protocols.runs import chosen, gain, score_of, scored, table_of
from vitruvius.techniques.protocols.two_phase import arranged, before, need_counts


@dataclass(frozen=True)
class Conventional(Evaluator):
    """The best mean of so many designs on the half "final", in the orders that chose it.

    There to measure how much that flatters: ``optimism`` compares it with ``TwoPhase``.
    """

    scenario: Scenario = hyper(ClassIncremental(), doc="the arrangement of the half")
    searcher: Node | None = hyper(None, doc="a Searcher that draws designs; None: random draws")
    trials: int = hyper(30, doc="designs that are tried")
    orders: int = hyper(3, doc="orders in which each is run")

    def check(self) -> None:
        need_counts(self, trials=self.trials, orders=self.orders)

    def evaluate(self, subject: Node, data: Mapping[str, Split], lab: Lab) -> Report:
        documents = data[FINAL].opened().documents
        states = arranged(self.scenario, documents, range(self.orders))
        found = lab.study(subject, before(states), self.searcher, self.trials)
        table = table_of(scored(found, range(self.orders)))
        scores = table["score"][table["chosen"]]
        error = float(scores.std(ddof=1) / len(scores) ** 0.5) if len(scores) > 1 else None
        name = score_of(found.states[0].measurements).name
        told = Measurement(
            name, float(scores.mean()), found.better, error, details={"runs": scores}
        )
        return Report(table, self.verdict(table), (told,))

    def verdict(self, table: Mapping[str, Array]) -> Verdict:
        """The mean of the best, which says nothing of data that did not choose it."""
        scores = table["score"][table["chosen"]]
        spread = float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")
        evidence = {"mean": float(scores.mean()), "spread": spread, **chosen(table)}
        return Verdict("the best of all that was tried, on the data that chose it", None, evidence)


def optimism(conventional: Report, two_phase: Report) -> float:
    """By how much the best score on the reported half is better than that of a design which was
    chosen elsewhere, in units of the score."""
    best, fair = (_score(report) for report in (conventional, two_phase))
    return gain(best.better) * (best.value - fair.value)


def ranked(reports: Mapping[str, Report]) -> list[str]:
    """Names of subjects, the best first."""
    found = {name: _score(report) for name, report in reports.items()}
    return sorted(found, key=lambda name: -gain(found[name].better) * found[name].value)


def swaps(first: list[str], second: list[str]) -> int:
    """Pairs that stand the other way round in the second ranking."""
    place = {name: i for i, name in enumerate(second)}
    order = np.array([place[name] for name in first])
    return int(sum((order[:i] > order[i]).sum() for i in range(len(order))))


def _score(report: Report) -> Measurement:
    return score_of(report.measurements)
