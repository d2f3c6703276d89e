"""Choose a design on one half of a family of tasks, and score it on the other.

Source: Cha & Cho 2025, "Hyperparameters in Continual Learning: A Reality Check", TMLR,
arXiv:2403.09066 (the generalizable two-phase evaluation protocol).
Differs from the paper: any searcher may draw the designs, and any subject may be put to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitruvius.contracts import (
    Array,
    Documents,
    Evaluator,
    Lab,
    Measurement,
    Report,
    Scenario,
    Split,
    State,
    Verdict,
)
from vitruvius.space import Node, hyper
from vitruvius.techniques.protocols.class_incremental import SCENARIO, ClassIncremental
from vitruvius.techniques.protocols.halves import FINAL, TUNING
from vitruvius.techniques.protocols.runs import chosen, scored, summed, table_of


@dataclass(frozen=True)
class TwoPhase(Evaluator):
    """Phase 1: so many designs on the half "tuning", each in all orders; the best mean is chosen.
    Phase 2: that design alone on the half "final", in orders that are new; mean and spread.

    The half "final" comes in sealed (``Halves``) and is opened after the search has returned, so
    that nothing of it can reach the choice. A decided subject has no phase 1. The number of designs
    is the protocol's, so all subjects have the same.
    """

    scenario: Scenario = hyper(ClassIncremental(), doc="the arrangement of both halves")
    searcher: Node | None = hyper(None, doc="a Searcher that draws designs; None: random draws")
    trials: int = hyper(30, doc="designs of phase 1")
    orders: int = hyper(3, doc="orders in which each design of phase 1 is run")
    finals: int = hyper(5, doc="orders of phase 2, none of which was used before")

    def check(self) -> None:
        need_counts(self, trials=self.trials, orders=self.orders, finals=self.finals)

    def evaluate(self, subject: Node, data: Mapping[str, Split], lab: Lab) -> Report:
        tuning, final = _halves(data)
        first = arranged(self.scenario, tuning.documents, range(self.orders))
        found = None
        if not subject.decided:
            found = lab.study(subject, before(first), self.searcher, self.trials)
        design = subject if found is None else found.design
        new = range(self.orders, self.orders + self.finals)
        second = arranged(self.scenario, final.opened().documents, new)
        need_one_scenario(first[0], second[0])
        states = [lab.run(design, inputs) for inputs in before(second)]
        rows = scored(found, range(self.orders)) + summed(states, second, new)
        table = table_of(rows)
        return Report(table, self.verdict(table), measured(states, second))

    def verdict(self, table: Mapping[str, Array]) -> Verdict:
        """Mean and spread (standard deviation over orders) of phase 2, beside the mean that the
        same design had where it was chosen. Whether that is good, nobody can say alone."""
        second = table["score"][table["phase"] == 2]
        evidence = {
            "mean": float(second.mean()),
            "spread": float(second.std(ddof=1)) if len(second) > 1 else float("nan"),
            **chosen(table),
        }
        return Verdict("chosen on one half, scored on the other", None, evidence)


def arranged(scenario: Scenario, documents: Documents, orders: Sequence[int]) -> list[State]:
    """The scenario of some data in each order."""
    return [scenario.arrange(documents, order) for order in orders]


def before(states: Sequence[State]) -> list[dict[str, State]]:
    """As inputs of a design."""
    return [{"before": state} for state in states]


def measured(states: Sequence[State], inputs: Sequence[State]) -> tuple[Measurement, ...]:
    """Of each measurement of the runs the mean over them, its standard error, and all values."""
    known = [{id(m) for m in state.measurements} for state in inputs]
    runs = [
        {m.name: m for m in state.measurements if id(m) not in old}
        for state, old in zip(states, known, strict=True)
    ]
    found = []
    for name, one in runs[0].items():
        values = np.array([run[name].value for run in runs if name in run])
        error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
        found.append(
            Measurement(
                name,
                float(values.mean()),
                one.better,
                error,
                items=one.items,
                cost=one.cost,
                details={"runs": values},
            )
        )
    return tuple(found)


def need_counts(owner: Node, **counts: int) -> None:
    """Raise ValueError where a count is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{type(owner).__name__}.{name} must be at least 1; got {count}.")


def need_one_scenario(first: State, second: State) -> None:
    """Raise ValueError where the halves do not make the same scenario."""
    told = [dict(state.fitted[SCENARIO].values) for state in (first, second)]
    if told[0] != told[1]:
        raise ValueError(
            f"Both halves must make one scenario; got {told[0]} and {told[1]}. "
            "Cut the family with Halves, which gives both as many classes."
        )


def _halves(data: Mapping[str, Split]) -> tuple[Split, Split]:
    if not {TUNING, FINAL} <= set(data):
        raise ValueError(
            f"TwoPhase needs the halves {TUNING!r} and {FINAL!r}; got {sorted(data)}. "
            "Pass Halves(...).splits."
        )
    if not data[FINAL].sealed:
        raise ValueError(
            "TwoPhase needs the half 'final' sealed, so that nothing reaches it before the choice. "
            "Pass Halves(...).splits."
        )
    return data[TUNING], data[FINAL]
