"""The budget of a study: what it may use, what it has used, and what may still begin.

Pure functions of the events and of the time. What cannot end inside the budget is not started.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from vitruvius.search.history import Event

MARGIN = 1.25
"""By how much a prediction of seconds is stretched: machines are shared, and small networks reach
fewer FLOPs per second than large ones. Chosen, not fitted."""

RESERVE = 0.3
"""The largest share of the seconds that is kept for the final evidence."""

REFIT_SHARE = 1 / 3
"""The largest share of the seconds that is kept for training the final model on all that has
labels. Chosen, not fitted."""

CLOSING_SECONDS = 2.0
"""What the report and the export take."""


class Clock(Protocol):
    """Unix time in seconds: ``time.time``, or a test's own."""

    def __call__(self) -> float: ...


@dataclass(frozen=True)
class Budget:
    """What a study may use; None: no limit. At least one is given."""

    seconds: float | None = None
    trials: int | None = None
    flops: float | None = None
    """Of training, forward and backward."""

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            raise ValueError(
                "Budget needs a limit, or the study never ends; got none. "
                "Give trials=100 or seconds=600 (--trials, --seconds)."
            )
        for name, value in given.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 < value < math.inf:
                raise ValueError(
                    f"Budget.{name} must be a number above 0; got {value!r}. "
                    "For no such limit, leave it out."
                )
        if self.trials is not None and self.trials != int(self.trials):
            raise ValueError(f"Budget.trials must be a whole number; got {self.trials!r}.")


@dataclass(frozen=True)
class Spent:
    """What a study has used, or what is left to it."""

    seconds: float = 0.0
    """While a process worked on the study; the time between two sessions is not counted."""
    trials: int = 0
    """Runs begun and not lost: those that run count, refused points do not; a promotion is a run
    of its own."""
    flops: float = 0.0


def spent(events: Iterable[Event], now: float | None = None) -> Spent:
    """What the events tell was used; with ``now``, the session under way counts until then.

    A session begins with "started" and lasts until its last event: a killed one ended there.
    """
    begun: float | None = None
    latest, seconds, flops = 0.0, 0.0, 0.0
    counted: set[int] = set()
    for event in events:
        at = event.body.get("at")
        if event.kind == "started" and at is not None:
            if begun is not None:
                seconds += max(0.0, latest - begun)
            begun = latest = at
        elif at is not None:
            latest = max(latest, at)
        if event.kind == "asked":
            counted.add(event.trial)
        elif event.kind in ("rejected", "lost"):
            counted.discard(event.trial)
        elif event.kind in ("told", "stopped"):
            counted.add(event.trial)
        if event.kind in ("told", "stopped", "rescored"):
            flops += _computed(event)[0] or 0.0
    if begun is not None:
        seconds += max(0.0, max(latest, now if now is not None else latest) - begun)
    return Spent(seconds, len(counted), flops)


def left(budget: Budget, used: Spent) -> Spent:
    """What of the budget is not used yet, at least nothing; infinite where there is no limit."""
    seconds = math.inf if budget.seconds is None else max(0.0, budget.seconds - used.seconds)
    flops = math.inf if budget.flops is None else max(0.0, budget.flops - used.flops)
    trials = max(0, budget.trials - used.trials) if budget.trials is not None else 2**63
    return Spent(seconds, trials, flops)


def speed(events: Iterable[Event]) -> float | None:
    """FLOPs per second of this study's trainings: the median of its finished trials, of what they
    computed and did not find in the store.

    Before one has finished, what a "probe" event measured (body: flops, seconds); None without.
    """
    measured: list[float] = []
    probed: list[float] = []
    for event in events:
        flops, seconds = _computed(event)
        if not flops or not seconds:
            continue
        if event.kind == "told" and event.body.get("status") == "finished":
            measured.append(flops / seconds)
        elif event.kind == "probe":
            probed.append(flops / seconds)
    found = measured or probed
    return median(found) if found else None


def _computed(event: Event) -> tuple[float | None, float | None]:
    """FLOPs and seconds of what a trial computed; what it found in the store is not counted."""
    flops, computed = event.body.get("flops"), event.body.get("computed")
    if computed is None or computed["flops"] >= (flops or 0.0):
        return flops, event.body.get("seconds")
    return computed["flops"], computed["seconds"]


def predicted_seconds(flops: float, flops_per_second: float | None) -> float | None:
    """How long so much training takes, with a margin; None where no speed is known yet."""
    return None if not flops_per_second else MARGIN * flops / flops_per_second


def testing_seconds(events: Iterable[Event], items: Mapping[str, int]) -> float:
    """What measuring the test part takes, told from the trials: a third of what training on as many
    items took for one epoch. Nothing before a trial has told its epochs."""
    found = [
        event.body["seconds"] / event.body.get("scores", {})["epochs"]
        for event in events
        if event.kind == "told" and event.body.get("status") == "finished"
        if event.body.get("seconds") and event.body.get("scores", {}).get("epochs")
    ]
    if not found or not items.get("train"):
        return 0.0
    return max(found) / 3 * items.get("test", 0) / items["train"]


def reserved_seconds(
    budget: Budget,
    events: Iterable[Event],
    trainings: int,
    workers: int = 1,
    closing: float = CLOSING_SECONDS,
    refit: float = 0.0,
) -> float:
    """Seconds kept for the final evidence: so many trainings anew, and ``closing``: the test,
    report and export.

    A training is taken to last as the mean of the finished trials would without a store and to the
    end of their horizon. For trainings never more than a share RESERVE of the budget is kept, and
    nothing for those that do not fit into that. Before these comes the training of the final model
    on all that has labels, which takes ``refit`` times as long as a trial, where it fits into a
    share REFIT_SHARE of the budget: in a shorter one a second design gains more. Nothing where
    seconds have no limit.
    """
    if budget.seconds is None:
        return 0.0
    took = [
        (event.body.get("alone") or event.body["seconds"]) / event.body.get("share", 1.0)
        for event in events
        if event.kind == "told" and event.body.get("status") == "finished"
        if event.body.get("seconds")
    ]
    each = MARGIN * sum(took) / len(took) if took else 0.0
    rounds = math.ceil(trainings / max(1, workers))
    if refit * each <= REFIT_SHARE * budget.seconds:
        closing += refit * each
    fit = math.floor(max(0.0, RESERVE * budget.seconds - closing) / each) if each else rounds
    return min(closing + each * min(rounds, fit), 0.5 * budget.seconds)


def refusal(
    remaining: Spent, flops: float | None = None, seconds: float | None = None
) -> str | None:
    """Why a trial that takes so much may not begin; None where it may.

    ``remaining`` is what is left to the search, the reserve taken off. What is not known of a trial
    is not counted: it is stopped when the time comes.
    """
    if remaining.trials < 1:
        return "the trials were used"
    if remaining.seconds <= 0:
        return "the time was used"
    if remaining.flops <= 0:
        return "the FLOPs were used"
    if seconds is not None and seconds > remaining.seconds:
        return f"it needs about {seconds:.3g} seconds, and {remaining.seconds:.3g} are left"
    if flops is not None and flops > remaining.flops:
        return f"it needs {flops:.3g} FLOPs, and {remaining.flops:.3g} are left"
    return None
