"""Several objectives at once.

Source: Caruana 1997, "Multitask learning", section 2 (one network, the losses added); terms over
flows of data of their own as in Sun et al. 2023, "MixDA", arXiv:2308.02560.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from vitruvius.contracts import Batch, Corrupted, Given, Loss, Model, Objective, Progress, Schedule
from vitruvius.space import Node, hyper, log_uniform
from vitruvius.techniques.objectives.supervised import Supervised


@dataclass(frozen=True)
class Term(Node):
    """An objective, how much it counts, and the flow of data it reads."""

    objective: Objective = hyper(..., None, "what is minimised")
    weight: float | Schedule = hyper(1.0, log_uniform(0.01, 10.0), "factor, may change over time")
    source: str | None = hyper(None, None, "another flow of data; None: the batch itself")

    def check(self) -> None:
        if not isinstance(self.objective, Objective):
            raise ValueError(f"Term.objective takes an objective; got {self.objective!r:.60}.")
        if not isinstance(self.weight, Schedule) and self.weight < 0:
            raise ValueError(f"Term.weight must not be negative; got {self.weight}.")

    def factor(self, now: Progress) -> float:
        return float(self.weight.value(now) if isinstance(self.weight, Schedule) else self.weight)


@dataclass(frozen=True, init=False)
class Sum(Objective):
    """sum of weight * loss over terms. Costs what its terms cost."""

    varargs: ClassVar[str | None] = "terms"
    terms: tuple[Term, ...] = hyper((), None, "what is added")

    def __init__(self, *terms: Term, label: str | None = None) -> None:
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "label", label)
        self.__post_init__()

    @classmethod
    def example(cls) -> Sum:
        return cls(Term(Supervised()), Term(Supervised(0.1), 0.5))

    def check(self) -> None:
        if not self.terms:
            raise ValueError("Sum.terms is empty. Give at least one Term(objective).")
        for term in self.terms:
            if not isinstance(term, Term):
                raise ValueError(f"Sum.terms takes Term(objective, weight); got {term!r:.60}.")

    def sources(self) -> tuple[str, ...]:
        named = [term.source for term in self.terms if term.source is not None]
        inner = [name for term in self.terms for name in term.objective.sources()]
        return tuple(dict.fromkeys(named + inner))

    def build(self, model: Model) -> nn.Module:
        """Parts of each term; one that stays with the model is shared by all terms."""
        made = []
        for term in self.terms:
            parts = term.objective.build(model)
            kept = {**model.heads, **term.objective.heads(parts)}
            model = Model(model.bodies, kept, model.lineage, model.designs, model.tokenizer)
            made.append(parts)
        return nn.ModuleList(made)

    def heads(self, parts: Any) -> Mapping[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for term, part in zip(self.terms, parts, strict=True):
            found |= term.objective.heads(part)
        return found

    def loss(self, model: Model, parts: Any, seen: Corrupted, now: Progress, given: Given) -> Loss:
        """Of what was already corrupted, in the same way for all terms."""
        return self._added(
            [
                term.objective.loss(model, part, seen, now, given)
                for term, part in zip(self.terms, parts, strict=True)
            ],
            now,
        )

    def step(self, model: Model, parts: Any, batch: Batch, now: Progress, given: Given) -> Loss:
        """Each term corrupts and judges its own batch."""
        losses = []
        for term, part in zip(self.terms, parts, strict=True):
            rows = batch if term.source is None else batch.sources[term.source]
            losses.append(term.objective.step(model, part, rows, now, given))
        return self._added(losses, now)

    def _added(self, losses: list[Loss], now: Progress) -> Loss:
        if any(loss.accumulated for loss in losses):
            raise ValueError("Sum takes no objective that accumulates gradients by itself.")
        factors = [term.factor(now) for term in self.terms]
        named: dict[str, Tensor] = {}
        for number, (term, loss) in enumerate(zip(self.terms, losses, strict=True)):
            name = f"{number}.{type(term.objective).__name__}"
            named[name] = loss.value.detach()
            named |= {f"{name}.{part}": value for part, value in loss.parts.items()}
        one_source = len({term.source for term in self.terms}) == 1
        rows = [loss.per_row for loss in losses]
        if one_source and all(row is not None for row in rows):
            weighted = [f * row for f, row in zip(factors, rows, strict=True) if row is not None]
            per_row = sum(weighted[1:], weighted[0])
            return Loss(per_row.mean(), per_row, named)
        values = [f * loss.value for f, loss in zip(factors, losses, strict=True)]
        return Loss(sum(values[1:], values[0]), None, named)
