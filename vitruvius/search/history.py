"""What a searcher hears: the events of a study, in their order.

An event is JSON and nothing else. A searcher's whole state is a fold over them, so that a resumed
search, a second worker and an audit need the events and no more.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from vitruvius.space import Point

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Event:
    """One thing that happened in a study. Kinds, and what their bodies hold:

    - ``asked``: ``point``, ``attempt``, ``share`` of the horizon if it is below 1, ``costs`` that
      the ask was told, ``parent`` (number of the ``trial`` that it begins with, ``overlap``). The
      trial runs.
    - ``rejected``: ``point``, ``attempt``, ``address``, ``reason``. Infeasible, and no trial.
    - ``rung``: ``step``, ``fraction``, ``score``, ``annealed``. A score on the way.
    - ``told``: ``score`` (or None), ``status`` (``finished`` or ``failed``), ``cause``, ``share``
      if the score is of a rung and below 1, what it took.
    - ``stopped``: ``score`` (or None), ``cause``. Ended before its time.
    - ``lost``: the worker died. The trial is asked anew, or dropped.

    A searcher passes over kinds that it does not know.
    """

    sequence: int
    kind: str
    trial: int
    body: Mapping[str, Any] = field(default_factory=dict)


def outcome(event: Event) -> float | None:
    """The score of an ended trial, or None where it failed: NaN and infinity are failures."""
    score = event.body.get("score")
    if event.body.get("status") == "failed" or score is None or not math.isfinite(score):
        return None
    return float(score)


def generator(*parts: int) -> Random:
    """A generator that depends on the numbers alone, the same in every process."""
    text = ":".join(map(str, parts))
    return Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16]))


def asked(sequence: int, trial: int, point: Point, attempt: int = 0, share: float = 1.0) -> Event:
    """The event that a trial began, on a share of its horizon."""
    part = {"share": share} if share < 1 else {}
    return Event(sequence, "asked", trial, {"point": point, "attempt": attempt, **part})


def told(sequence: int, trial: int, score: float | None) -> Event:
    """The event that a trial ended with a score, or failed."""
    status = "failed" if score is None else "finished"
    return Event(sequence, "told", trial, {"score": score, "status": status})
