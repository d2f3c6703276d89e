"""What metrics of rankings share: one value for each query, through ``ir-measures``.

Source: MacAvaney, Macdonald & Ounis 2022, "Streamlining Evaluation with ir-measures",
arXiv:2111.13466.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from vitruvius.contracts import Array, Measurement, Predictions
from vitruvius.techniques.metrics.scored import Scored, mean_score


@dataclass(frozen=True)
class Ranked(Scored):
    """Scores [queries items] against the only right item [queries], or grades [queries items].

    A grade of 0 or less is no answer; queries without any are left out. Of equal scores the
    worse item counts as first, so that knowing nothing earns nothing. ``details["items"]`` has
    the value of each query that counts, ``details["queries"]`` which they are.
    """

    @abstractmethod
    def depth(self) -> int | None:
        """How many of the first items count; None: all."""

    @abstractmethod
    def theirs(self, library: Any) -> Any:
        """The measure as ir-measures has it."""

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        return mean_score(self.by_query(predictions)[1])

    def measure(self, predictions: Predictions) -> Measurement:
        queries, values = self.by_query(predictions)
        depth, items = self.depth(), len(values)
        name = self.name if depth is None else f"{self.name}@{depth}"
        stderr = float(values.std(ddof=1) / items**0.5) if items > 1 else None
        details = {"items": values, "queries": queries}
        return Measurement(name, float(values.mean()), self.better, stderr, items, details=details)

    def by_query(
        self, predictions: Predictions
    ) -> tuple[Int[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
        """Queries that have an answer, as positions, and their values."""
        scores, grades = graded(self, predictions)
        queries = np.flatnonzero((grades > 0).any(1))
        if not len(queries):
            raise ValueError(
                f"{type(self).__name__} needs a query with an answer; all grades are 0. "
                "Score queries whose answers are among the items."
            )
        order = np.lexsort((grades[queries], -scores[queries]))
        run, answers = {}, {}
        for query, ranking in zip(queries.tolist(), order, strict=True):
            of_query = grades[query]
            last = int(np.flatnonzero(of_query[ranking] > 0)[-1]) + 1
            kept = ranking[: min(last, self.depth() or last)].tolist()
            run[str(query)] = {str(item): float(-place) for place, item in enumerate(kept)}
            answers[str(query)] = {
                str(item): int(of_query[item]) for item in np.flatnonzero(of_query > 0).tolist()
            }
        library = _library(type(self).__name__)
        found = library.iter_calc([self.theirs(library)], answers, run)
        by_name = {made.query_id: made.value for made in found}
        return queries, np.array([by_name.get(str(query), 0.0) for query in queries.tolist()])


def graded(owner: Ranked, predictions: Predictions) -> tuple[Array, Array]:
    """Scores [Q D] and grades [Q D] of predictions. Raises ValueError for anything else."""
    name = type(owner).__name__
    if predictions.targets is None:
        raise ValueError(f"{name} needs targets; these predictions have none.")
    scores = predictions.values.detach().cpu().double().numpy()
    targets = predictions.targets.detach().cpu().numpy()
    if scores.ndim != 2 or targets.dtype.kind not in "iu" or targets.ndim not in (1, 2):
        raise ValueError(
            f"{name} scores [queries items] against the right item [queries] or whole grades "
            f"[queries items]; got {list(scores.shape)} against {targets.dtype} "
            f"{list(targets.shape)}."
        )
    if np.isnan(scores).any():
        raise ValueError(f"{name} needs scores that are numbers; some are not.")
    items = scores.shape[1]
    if targets.ndim == 2 and targets.shape != scores.shape:
        raise ValueError(
            f"{name} needs a grade for each score; got {list(targets.shape)} grades for "
            f"{list(scores.shape)} scores."
        )
    if targets.ndim == 1 and (len(targets) != len(scores) or (targets >= items).any()):
        raise ValueError(
            f"{name} needs one item below {items} for each of {len(scores)} queries; got "
            f"{len(targets)} up to {targets.max()}."
        )
    if targets.ndim == 2:
        return scores, targets
    return scores, (np.arange(items) == targets[:, None]).astype(np.int64)


def _library(name: str) -> Any:
    try:
        return importlib.import_module("ir_measures")
    except ImportError as error:
        raise ValueError(
            f"{name} needs the ir-measures library: pip install 'vitruvius[retrieval]'."
        ) from error
