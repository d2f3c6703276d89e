"""Entities that are found, exactly.

Source: Tjong Kim Sang & De Meulder 2003, "Introduction to the CoNLL-2003 Shared Task",
arXiv:cs/0306050, section 2.3; tags after Ramshaw & Marcus 1995, arXiv:cmp-lg/9505040.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from vitruvius.contracts import Better, Predictions
from vitruvius.space import hyper
from vitruvius.techniques.metrics.scored import Scored, classes_of

Span = tuple[int, int, str]


@dataclass(frozen=True)
class SpanF1(Scored):
    """2 right / (said + true) over entities, from 0 to 1: right with first word, last and type.

    Predictions are of words: probabilities [words tags], with the sentence of each word in
    ``rows``. The standard error is over sentences. Where nothing is said and nothing true, it is 1.
    """

    tags: tuple[str, ...] = hyper(..., doc='names of the classes: "O", "B-Disease", "I-Disease"')

    name: ClassVar[str] = "span_f1"
    better: ClassVar[Better] = "higher"

    def check(self) -> None:
        wrong = [tag for tag in self.tags if tag != "O" and tag[:2] not in ("B-", "I-")]
        if wrong or "O" not in self.tags:
            raise ValueError(
                'SpanF1.tags must hold "O" and otherwise names with "B-" or "I-" in front; '
                f"got {wrong[0] if wrong else self.tags!r}."
            )

    @classmethod
    def example(cls) -> SpanF1:
        """With entities of one type."""
        return cls(("O", "B-Entity", "I-Entity"))

    def score(self, predictions: Predictions) -> tuple[float, Float64[np.ndarray, " N"]]:
        values, targets = classes_of(self, predictions)
        if values.shape[1] != len(self.tags):
            raise ValueError(
                f"SpanF1 has {len(self.tags)} tags and predictions of {values.shape[1]} classes. "
                "Give the labels of the task, in their order."
            )
        right, either = [], []
        for words in sentences(predictions.rows.cpu().numpy()):
            said = set(spans([self.tags[k] for k in values[words].argmax(1)]))
            true = set(spans([self.tags[k] for k in targets[words]]))
            right.append(len(said & true))
            either.append(len(said) + len(true))
        right, either = np.array(right, np.float64), np.array(either, np.float64)
        if not either.sum():
            return 1.0, np.zeros(len(right))
        f1 = float(2 * right.sum() / either.sum())
        return f1, (2 * right - f1 * either) / either.mean()


def spans(tags: Sequence[str]) -> list[Span]:
    """First word, one after the last, and type of each entity.

    "B-" always begins one; so does an "I-" that no entity of its type stands before.
    """
    found: list[Span] = []
    start, kind = 0, ""
    for at, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            found.append((start, at, kind))
            kind = ""
        if not kind and tag != "O":
            start, kind = at, tag[2:]
    return found


def sentences(rows: np.ndarray) -> list[slice]:
    """The words of each sentence: runs of one row."""
    edges = [0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
