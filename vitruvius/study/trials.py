"""What the journal says of each trial, and of the study: what every view of a study reads.

Pure functions of the events. Unknown kinds of events are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vitruvius.search.history import Event
from vitruvius.space import digest

Status = Literal["finished", "failed", "infeasible", "stopped", "running"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Trial:
    """One design that was tried, or (``infeasible``) a point that names none."""

    number: int
    """As the study counts. Refused points are no trials: they are -1, -2, ... as they came."""
    point: Mapping[str, Any]
    status: Status
    score: float | None = None
    """Of the study's metric on the validation part; None where there is none."""
    scores: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[int, float, float], ...] = ()
    """(step, fraction of the training, validation score) of each evaluation on the way."""
    parameters: int | None = None
    flops: float | None = None
    """Spent on training."""
    seconds: float | None = None
    started: float | None = None
    """Unix time in seconds, as is ``ended``."""
    ended: float | None = None
    cause: str | None = None
    """Why it failed, stopped or is infeasible, in one line."""
    digest: str = ""
    """Of the point."""
    attempt: int = 0
    """How many points were refused for this trial before this one."""


@dataclass(frozen=True)
class Summary:
    """A study as its journal tells it."""

    meta: Mapping[str, Any]
    """The body of the event "study": space, searcher, budget, seed, source, versions."""
    trials: tuple[Trial, ...]
    """By number, the infeasible ones last."""
    best: Trial | None
    """Of the finished ones; of equals the first."""
    better: Better
    metric: str
    ended: str | None
    """Why the study ended; None while it runs, or where it was killed."""
    final: Mapping[str, Any] | None
    """The body of the event "final": what was re-scored, tested and exported."""

    def of(self, *statuses: Status) -> tuple[Trial, ...]:
        """The trials of these statuses."""
        return tuple(trial for trial in self.trials if trial.status in statuses)

    @property
    def leaders(self) -> tuple[Trial, ...]:
        """Finished trials, best first; of equals the first one tried."""
        return ranked(self.trials, self.better)


def trials(events: Iterable[Event]) -> tuple[Trial, ...]:
    """Every trial by number, then the refused points in the order they were refused."""
    tried: dict[int, Trial] = {}
    refused: list[Trial] = []
    for event in events:
        fold = _FOLDS.get(event.kind)
        if event.kind == "ended":
            for trial in tried.values():
                if trial.status == "running":
                    at = Event(event.sequence, "stopped", trial.number, _time_of(event))
                    tried[trial.number] = _closed(trial, at, "the study ended")
        elif event.kind == "asked":
            tried[event.trial] = _asked(tried.get(event.trial), event)
        elif event.kind == "rejected":
            asked = tried.get(event.trial)
            if asked is not None and asked.attempt == event.body.get("attempt", 0):
                del tried[event.trial]
            refused.append(_refused(-1 - len(refused), event, asked))
        elif fold is not None:
            if event.trial not in tried:
                raise ValueError(
                    f"Event {event.sequence} is {event.kind!r} of trial {event.trial}, which was "
                    "never asked: these events are not the whole journal of a study."
                )
            tried[event.trial] = fold(tried[event.trial], event)
    return (*(tried[number] for number in sorted(tried)), *refused)


def summary(events: Iterable[Event]) -> Summary:
    """The whole study, from all its events."""
    events = list(events)
    meta: Mapping[str, Any] = {}
    final: Mapping[str, Any] | None = None
    ended: str | None = None
    for event in events:
        if event.kind == "study":
            meta = event.body
        elif event.kind == "final":
            final = event.body
        elif event.kind == "ended":
            ended = str(event.body.get("cause") or "done")
        elif event.kind in ("started", "asked"):
            ended = None
    found = trials(events)
    better: Better = "lower" if meta.get("better") == "lower" else "higher"
    leaders = ranked(found, better)
    best = leaders[0] if leaders else None
    return Summary(meta, found, best, better, str(meta.get("metric", "score")), ended, final)


def ranked(found: Iterable[Trial], better: Better) -> tuple[Trial, ...]:
    """Finished trials with a score, best first; of equals the lowest number first."""
    sign = -1.0 if better == "higher" else 1.0
    scored = [
        (sign * trial.score, trial.number, trial)
        for trial in found
        if trial.status == "finished" and trial.score is not None
    ]
    return tuple(trial for _, _, trial in sorted(scored, key=lambda item: item[:2]))


def to_json(study: Summary) -> dict[str, Any]:
    """What ``vitruvius show --json`` prints: the best trial (or null), and every trial."""
    return {
        "best": None if study.best is None else _written(study.best),
        "trials": [_written(trial) for trial in study.trials],
    }


def _written(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "point": dict(trial.point),
        "scores": dict(trial.scores),
        "status": trial.status,
        "seconds": trial.seconds,
    }


def _asked(before: Trial | None, event: Event) -> Trial:
    point = event.body["point"]
    trial = Trial(
        event.trial,
        point,
        "running",
        started=event.body.get("at"),
        digest=digest(point),
        attempt=event.body.get("attempt", 0),
    )
    if before is not None and before.digest == trial.digest:  # goes on from its checkpoint
        return replace(trial, curve=before.curve, started=before.started)
    return trial


def _refused(number: int, event: Event, asked: Trial | None) -> Trial:
    point = event.body.get("point", asked.point if asked else {})
    address, reason = event.body.get("address", ""), event.body.get("reason", "")
    return Trial(
        number,
        point,
        "infeasible",
        started=event.body.get("at"),
        ended=event.body.get("at"),
        cause=f"{address}: {reason}" if address else reason,
        digest=digest(point),
        attempt=event.body.get("attempt", 0),
    )


def _rung(trial: Trial, event: Event) -> Trial:
    score = event.body.get("score")
    if score is None or trial.status in ("finished", "failed"):
        return trial
    step = event.body["step"]
    curve = {point[0]: point for point in trial.curve}  # a step done again replaces the first
    curve[step] = (step, event.body["fraction"], score)
    return replace(trial, curve=tuple(curve[s] for s in sorted(curve)))


def _told(trial: Trial, event: Event) -> Trial:
    if trial.status in ("finished", "failed"):  # by a worker that was thought dead
        return trial
    body = event.body
    return replace(
        trial,
        status=body["status"],
        score=body.get("score"),
        scores=body.get("scores") or {},
        parameters=body.get("parameters"),
        flops=body.get("flops"),
        seconds=body.get("seconds"),
        ended=body.get("at"),
        cause=body.get("cause"),
    )


def _stopped(trial: Trial, event: Event) -> Trial:
    if trial.status in ("finished", "failed"):
        return trial
    return _closed(trial, event, event.body.get("cause") or "stopped")


def _lost(trial: Trial, event: Event) -> Trial:
    if trial.status in ("finished", "failed"):
        return trial
    return _closed(trial, event, event.body.get("cause") or "its worker died")


def _closed(trial: Trial, event: Event, cause: str) -> Trial:
    body, ended = event.body, event.body.get("at")
    seconds = body.get("seconds")
    if seconds is None and ended is not None and trial.started is not None:
        seconds = max(0.0, ended - trial.started)
    return replace(
        trial,
        status="stopped",
        score=body.get("score"),
        scores=body.get("scores") or {},
        parameters=body.get("parameters"),
        flops=body.get("flops"),
        seconds=seconds,
        ended=ended,
        cause=cause,
    )


def _time_of(event: Event) -> dict[str, Any]:
    return {"at": event.body["at"]} if "at" in event.body else {}


_FOLDS = {"rung": _rung, "told": _told, "stopped": _stopped, "lost": _lost}
