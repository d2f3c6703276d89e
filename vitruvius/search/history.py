"""What a searcher hears: the events of a study, in their order.

An event is JSON and nothing else. A searcher's whole state is a fold over them, so that a resumed
search, a second worker and an audit need the events and no more.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from vitruvius.space import Point

Better = Literal["higher", "lower"]
COSTS = ("parameters", "flops", "seconds", "latency")
"""What a trial is told to cost, beside its score: small is good."""
WORST = -2.0  # standing of what failed or is infeasible: a logit below the third per cent


@dataclass(frozen=True)
class Event:
    """One thing that happened in a study. Kinds, and what their bodies hold:

    - ``asked``: ``point``, ``attempt``, ``share`` of the horizon if it is below 1, ``costs`` that
      the ask was told, ``parent`` (number of the ``trial`` that it begins with, ``overlap``). The
      trial runs.
    - ``rejected``: ``point``, ``attempt``, ``address``, ``reason``. Infeasible, and no trial.
    - ``rung``: ``step``, ``fraction``, ``score``, ``annealed``. A score on the way.
    - ``told``: ``score`` (or None), ``status`` (``finished`` or ``failed``), ``cause``, ``share``
      if the score is of a rung and below 1, what it took (``COSTS``).
    - ``stopped``: ``score`` (or None), ``cause``. Ended before its time.
    - ``lost``: the worker died. The trial is asked anew, or dropped.
    - ``earlier``: what was taken over from another study: ``from``, ``better``, and ``trials``
      with ``trial``, ``point`` (the decisions that agree with this space), ``score`` and costs.

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


def standings(body: Mapping[str, Any]) -> list[float]:
    """How the trials of an event "earlier" stood among each other, on the scale of a normal score:
    the logit of a rank, higher is better; what failed stands as low as a rank can."""
    sign = -1.0 if body.get("better") == "lower" else 1.0
    scores = [outcome(Event(0, "told", 0, trial)) for trial in body["trials"]]
    gains = [-math.inf if score is None else sign * score for score in scores]
    known = sorted(gain for gain in gains if gain > -math.inf)
    found = []
    for gain in gains:
        below = bisect.bisect_left(known, gain) + bisect.bisect_right(known, gain)
        share = (below + 1) / (2 * len(known) + 2)
        found.append(WORST if gain == -math.inf else math.log(share / (1 - share)) / 1.7)
    return found


def cost_of(body: Mapping[str, Any], name: str) -> float | None:
    """A cost of an ended trial, from the body of its event; None where it is not known. Its seconds
    are those of all its stages, those included that it found in a store."""
    value = body.get(name)
    if name == "seconds" and body.get("alone") is not None:
        value = body["alone"]
    return None if value is None or not math.isfinite(value) else float(value)


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
