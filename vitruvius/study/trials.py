"""What the journal says of each trial, and of the study: what every view of a study reads.

Pure functions of the events. Unknown kinds of events are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from vitruvius.search.history import Event
from vitruvius.space import digest
from vitruvius.study.words import plural, score_word, share_word

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
    attempt: int = 0
    """How many points were refused for this trial before this one."""
    share: float = 1.0
    """Of its horizon, at which it stood still. Below 1 its score is of a rung: un-annealed, and not
    to be held against that of a whole training."""
    alone: float | None = None
    """Seconds that all its stages took, those included that it found in the store."""
    latency: float | None = None
    """Seconds to answer one item, where the study asks for it."""
    parent: Mapping[str, Any] | None = None
    """What it began with: a number under "trial", the share of its parameters under "overlap"."""

    def cost(self, name: str) -> float | None:
        """One of ``COSTS``, to be small; None where it is not known."""
        if name == "seconds" and self.alone is not None:
            return self.alone
        value: float | None = getattr(self, name)
        return value

    @property
    def whole_flops(self) -> float:
        """What its design takes to the end of its horizon, about."""
        return (self.flops or 0.0) / self.share

    @property
    def whole_seconds(self) -> float:
        """What its design takes to the end of its horizon without a store, about."""
        return (self.alone or self.seconds or 0.0) / self.share

    @cached_property
    def digest(self) -> str:
        """Of the point: a name that is the same in every study."""
        return digest(self.point)


@dataclass(frozen=True, repr=False)
class Summary:
    """A study as its journal tells it."""

    meta: Mapping[str, Any]
    """The body of the event "study": space, searcher, budget, seed, source, versions."""
    trials: tuple[Trial, ...]
    """By number, the infeasible ones last."""
    best: Trial | None
    """The first of the leaders."""
    better: Better
    metric: str
    ended: str | None
    """Why the study ended; None while it runs, or where it was killed."""
    final: Mapping[str, Any] | None
    """The body of the event "final": what was re-scored, tested and exported."""
    earlier: tuple[Mapping[str, Any], ...] = ()
    """The bodies of the events "earlier": what was taken over from other studies."""

    def __repr__(self) -> str:
        best, found = self.best, ""
        if best is not None:
            found = f", best {best.number} with {self.metric} {score_word(best.score)}"
            found += share_word(best.share)
        count = plural(sum(trial.status != "infeasible" for trial in self.trials), "trial")
        return f"<{type(self).__name__} of {self.meta.get('source')}: {count}{found}>"

    def of(self, *statuses: Status) -> tuple[Trial, ...]:
        """The trials of these statuses."""
        return tuple(trial for trial in self.trials if trial.status in statuses)

    @property
    def also(self) -> tuple[str, ...]:
        """The costs that are objectives beside the score."""
        return tuple(self.meta.get("also") or ())

    @property
    def alike(self) -> tuple[Trial, ...]:
        """Finished trials whose scores may be held against each other: those of the share of the
        horizon at which there are most."""
        done = self.of("finished")
        counts = Counter(trial.share for trial in done)
        most = max(counts, key=lambda share: (counts[share], share), default=1.0)
        return tuple(trial for trial in done if trial.share == most)

    @property
    def leaders(self) -> tuple[Trial, ...]:
        """Finished trials, best first; of equals the first one tried. Whole trainings come before
        rungs, and later rungs before earlier ones; a rung from which its point went on is none."""
        return ranked(self.trials, self.better)


class Ledger:
    """What the events so far tell, kept as they come: the fold of ``summary``, step by step."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._meta: Mapping[str, Any] = {}
        self._final: Mapping[str, Any] | None = None
        self._ended: str | None = None
        self._earlier: list[Mapping[str, Any]] = []
        self._tried: dict[int, Trial] = {}
        self._refused: list[Trial] = []
        for event in events:
            self.hear(event)

    def hear(self, event: Event) -> None:
        """Take in the next event."""
        tried = self._tried
        if event.kind == "study":
            self._meta = event.body
        elif event.kind == "earlier":
            self._earlier.append(event.body)
        elif event.kind == "final":
            self._final = event.body
        elif event.kind == "started":
            self._ended = None
        elif event.kind == "ended":
            self._ended = str(event.body.get("cause") or "done")
            at = {"at": event.body["at"]} if "at" in event.body else {}
            for trial in tried.values():
                if trial.status == "running":
                    stopped = Event(event.sequence, "stopped", trial.number, at)
                    tried[trial.number] = _closed(trial, stopped, "the study ended")
        elif event.kind == "asked":
            self._ended = None
            tried[event.trial] = _asked(tried.get(event.trial), event)
        elif event.kind == "rejected":
            asked = tried.get(event.trial)
            if asked is not None and asked.attempt == event.body.get("attempt", 0):
                del tried[event.trial]
            self._refused.append(_refused(-1 - len(self._refused), event, asked))
        elif event.kind in _FOLDS:
            if event.trial not in tried:
                raise ValueError(
                    f"Event {event.sequence} is {event.kind!r} of trial {event.trial}, which was "
                    "never asked: these events are not the whole journal of a study."
                )
            tried[event.trial] = _FOLDS[event.kind](tried[event.trial], event)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial by number, then the refused points in the order they were refused."""
        return (*(self._tried[number] for number in sorted(self._tried)), *self._refused)

    @property
    def summary(self) -> Summary:
        """The whole study."""
        found, meta = self.trials, self._meta
        better: Better = "lower" if meta.get("better") == "lower" else "higher"
        best = next(iter(ranked(found, better)), None)
        metric = str(meta.get("metric", "score"))
        earlier = tuple(self._earlier)
        return Summary(meta, found, best, better, metric, self._ended, self._final, earlier)


def trials(events: Iterable[Event]) -> tuple[Trial, ...]:
    """Every trial by number, then the refused points in the order they were refused."""
    return Ledger(events).trials


def summary(events: Iterable[Event]) -> Summary:
    """The whole study, from all its events."""
    return Ledger(events).summary


def ranked(found: Iterable[Trial], better: Better) -> tuple[Trial, ...]:
    """Finished trials with a score, by share of the horizon, then best first; of equals the lowest
    number first. Rungs from which the same point went on are left out."""
    sign = -1.0 if better == "higher" else 1.0
    done = [trial for trial in found if trial.status == "finished" and trial.score is not None]
    reached: dict[str, float] = {}
    if any(trial.share < 1 for trial in done):
        for trial in done:
            reached[trial.digest] = max(trial.share, reached.get(trial.digest, 0.0))
    last = [trial for trial in done if trial.share >= reached.get(trial.digest, 0.0)]
    return tuple(sorted(last, key=lambda t: (-t.share, sign * (t.score or 0.0), t.number)))


def to_json(study: Summary) -> dict[str, Any]:
    """What ``vitruvius show --json`` prints: the best trial (or null), and every trial."""
    return {
        "best": None if study.best is None else _written(study.best),
        "trials": [_written(trial) for trial in study.trials],
    }


def _written(trial: Trial) -> dict[str, Any]:
    written = {
        "number": trial.number,
        "point": dict(trial.point),
        "scores": dict(trial.scores),
        "status": trial.status,
        "seconds": trial.seconds,
    }
    more = {"share": trial.share} if trial.share != 1 else {}
    more |= {"parent": dict(trial.parent)} if trial.parent else {}
    return {**written, **more}


def _asked(before: Trial | None, event: Event) -> Trial:
    point = event.body["point"]
    trial = Trial(
        event.trial,
        point,
        "running",
        started=event.body.get("at"),
        attempt=event.body.get("attempt", 0),
        share=event.body.get("share", 1.0),
        parent=event.body.get("parent"),
    )
    same = before is not None and (before.point, before.share) == (trial.point, trial.share)
    if before is not None and same:  # goes on from its checkpoint
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
        share=body.get("share", 1.0),
        alone=body.get("alone"),
        latency=body.get("latency"),
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


_FOLDS = {"rung": _rung, "told": _told, "stopped": _stopped, "lost": _lost}
