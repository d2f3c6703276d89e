"""A study under way in this process: its events, what they tell, and what is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from vitruvius.search import Search
from vitruvius.search.distinct import Distinct
from vitruvius.search.history import Event
from vitruvius.space import Node, canonical, compile, to_json
from vitruvius.study.budget import (
    CLOSING_SECONDS,
    RESERVE,
    Spent,
    left,
    reserved_seconds,
    speed,
    spent,
    testing_seconds,
)
from vitruvius.study.executor import Executor
from vitruvius.study.folder import full
from vitruvius.study.front import contenders
from vitruvius.study.journal import Journal
from vitruvius.study.parents import Parents
from vitruvius.study.settings import SPACE_FILE, Settings, StudyError, allowed, asking, store_of
from vitruvius.study.trials import Ledger, Summary, Trial
from vitruvius.study.worker import FAILURE, Job

LISTEN_SECONDS = 0.25
VIEW_SHARE = 0.05  # of the time, at most, that views take


class Session:
    """Folds the journal and writes to it. What asks and what concludes share one."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        journal: Journal,
        meta: Mapping[str, Any],
        executor: Executor,
    ) -> None:
        self.settings, self.folder, self.journal, self.meta = settings, folder, journal, meta
        self.executor, self.clock = executor, settings.clock
        self.program = compile(settings.space)
        given = asking(settings)
        searcher = given if isinstance(given, Distinct) else Distinct(given)
        self.search: Search = searcher.begin(settings.space, meta["better"])
        if self.search.share({}) < 1:
            self._can_cut()
        self.ledger = Ledger()
        self.steps: dict[int, set[int]] = {}  # of rungs that are written already, by trial
        self.planned: dict[int, Mapping[str, Any]] = {}  # FLOPs and parameters, by trial
        self.lineages: dict[int, Sequence[str]] = {}  # ``Lineage.family`` of finished trials
        self.states: dict[int, str] = {}  # keys of what finished trials left in the store
        self.foreseen: dict[str, Any] = {}  # costs that stages foresaw, by key
        self.pricing = 0.0  # seconds that finding out about costs has taken
        self.prefixes: dict[int, str | None] = {}  # what finished trials may share with others
        self.kind: tuple[int, str] | None = None  # ``Measurement.comparable`` of the first score
        self.parents = Parents(self)  # what trials begin with
        self.events: list[Event] = []
        self.show_at = 0.0
        self.interrupted = False
        self.cause: str | None = None  # why no more trials begin
        for event in journal.read():
            self._hear(event)

    def _can_cut(self) -> None:
        """Refuse a searcher that asks for rungs where there are none."""
        from vitruvius.pipeline.cutting import cuttable

        settings, wanted = self.settings, self.search.stage
        found = cuttable(settings.space, allowed(settings.modules))
        if not found:
            raise StudyError(
                f"{type(settings.searcher).__name__} needs a stage that has rungs, such as Train; "
                "this space has none. Give its searcher alone."
            )
        if wanted is not None and wanted not in found:
            raise StudyError(
                f"{type(settings.searcher).__name__}.stage must name a stage that has rungs; "
                f"got {wanted!r}. This space has: {', '.join(found)}."
            )

    # ------------------------------------------------------------------ events

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self.events[-1].sequence if self.events else 0

    def append(
        self, kind: str, trial: int, body: Mapping[str, Any], after: int | None = None
    ) -> None:
        """Write an event. With ``after``, raises Grown where another process wrote meanwhile."""
        event = self.journal.append(kind, trial, body, after)
        if event.sequence > self.last + 1:
            self.catch_up()
        else:
            self._hear(event)

    def catch_up(self) -> None:
        """Hear what other processes wrote."""
        for event in self.journal.read(self.last):
            self._hear(event)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        self.search.hear(event)
        self.ledger.hear(event)
        self.parents.hear(event)
        if event.kind == "told" and event.body.get("state"):
            self.states[event.trial] = event.body["state"]
        if event.kind == "told" and event.body.get("comparable"):
            self.kind = self.kind or (event.trial, event.body["comparable"])
        if event.kind == "told" and event.body.get("lineage"):
            self.lineages[event.trial] = event.body["lineage"]
        if event.kind == "rung":
            self.steps.setdefault(event.trial, set()).add(event.body["step"])

    def unlike(self, trial: int, body: Mapping[str, Any]) -> str | None:
        """Why a score may not be ranked with those before it; None where it may."""
        kind = body.get("comparable")
        if self.kind is None or not kind or kind == self.kind[1]:
            return None
        first, known = self.kind
        return (
            f"Scores by {self.meta['metric']} rank only models of a kind; trial {first} is of "
            f"{known}, trial {trial} of {kind}. Narrow the space to one of them, or take "
            "across=True."
        )

    @property
    def summary(self) -> Summary:
        return self.ledger.summary

    @property
    def contenders(self) -> tuple[Trial, ...]:
        """Finished trials that may be chosen at the end, best first."""
        return contenders(self.summary, self.settings.final.at_most)

    def show(self, always: bool = False) -> None:
        """Let the views look, not more often than their share of the time allows."""
        begun = time.monotonic()
        if self.settings.views and (always or begun >= self.show_at):
            found = self.summary
            for view in self.settings.views:
                view(found, self.seconds)
            took = time.monotonic() - begun
            self.show_at = begun + max(LISTEN_SECONDS, took / VIEW_SHARE)

    # ------------------------------------------------------------------- budget

    @property
    def seconds(self) -> float:
        """Seconds that this study has run, earlier sessions included."""
        return spent(self.events, self.clock()).seconds

    def remaining(self) -> Spent:
        """What is left to the search: the budget, less what was used, what runs, and the final
        evidence."""
        kept = self.left()
        running = sum(plan.get("flops") or 0.0 for plan in self.planned.values())
        return replace(
            kept,
            seconds=max(0.0, kept.seconds - self.reserve()),
            flops=max(0.0, kept.flops - running - self._reserved_flops()),
        )

    def left(self) -> Spent:
        """What is left of the whole budget."""
        return left(self.settings.budget, spent(self.events, self.clock()))

    def _reserved_flops(self) -> float:
        """FLOPs kept for the final evidence, as ``reserve`` keeps seconds."""
        budget, final = self.settings.budget.flops, self.settings.final
        took = [t.whole_flops for t in self.summary.of("finished") if t.flops]
        if budget is None or not took:
            return 0.0
        return min(final.top * final.seeds * sum(took) / len(took), RESERVE * budget)

    def reserve(self) -> float:
        """Seconds kept for the final evidence."""
        final, workers = self.settings.final, max(1, self.settings.around.workers)
        trainings = final.top * final.seeds
        closing = CLOSING_SECONDS + self.testing_seconds() + self.souping_seconds()
        return reserved_seconds(
            self.settings.budget, self.events, trainings, workers, closing, self.refit_share()
        )

    def refit_share(self) -> float:
        """How many times as long as a trial the training on all labels takes; 0 where there is
        none."""
        items = self.meta.get("items") or {}
        if not self.settings.final.refit or not items.get("train"):
            return 0.0
        return 1 + items.get("validation", 0) / items["train"]

    def testing_seconds(self) -> float:
        """What measuring the test part will take, as far as the trials tell."""
        return testing_seconds(self.events, self.meta.get("items") or {})

    def souping_seconds(self) -> float:
        """What a soup will take: a look at the validation part for each finished trial; no more
        than a tenth of the budget is kept for that."""
        seconds, items = self.settings.budget.seconds, self.meta.get("items") or {}
        if self.settings.final.merger is None or seconds is None:
            return 0.0
        look = testing_seconds(self.events, {**items, "test": items.get("validation", 0)})
        return min(0.1 * seconds, look * (1 + len(self.summary.of("finished"))))

    def stop_at(self, reserve: float) -> float | None:
        """Unix time at which only so many seconds of the budget are left; None: no such time."""
        seconds = self.settings.budget.seconds
        return None if seconds is None else self.clock() + seconds - self.seconds - reserve

    # --------------------------------------------------------------------- jobs

    def has_room(self) -> bool:
        """Whether one more job can run."""
        return len(self.executor.running) < self.executor.size

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def failure(self, trial: Trial) -> str:
        """Where it stands in full why a trial failed."""
        path = self.trial_folder(trial.number) / FAILURE
        return f"See {path}. " if path.exists() else ""

    def job(
        self,
        number: int,
        kind: Literal["run", "test", "soup"],
        design: Node,
        seed: int,
        folder: Path,
        stop_at: float | None = None,
        flops_left: float | None = None,
        members: Sequence[Mapping[str, Any]] = (),
    ) -> Job:
        """A job of this study."""
        merger = self.settings.final.merger
        around, limits = self.settings.around, self.settings.limits
        kept = self.folder / SPACE_FILE
        return Job(
            number=number,
            kind=kind,
            design=to_json(design),
            seed=seed,
            folder=str(folder),
            stop_at=stop_at,
            flops_per_second=speed(self.events),
            flops_left=flops_left,
            max_parameters=limits.max_parameters,
            max_flops=limits.max_flops,
            device=around.device,
            threads=around.threads,
            precision=around.precision,
            store=str(store_of(self.settings).absolute()),
            store_bytes=self.settings.store_bytes,
            user_file=str(kept) if kept.exists() else None,
            modules=allowed(self.settings.modules),
            merger=None if merger is None else to_json(merger),
            members=tuple(members),
            latency="latency" in (*self.settings.also, *self.settings.final.at_most),
        )

    def halted(self, body: Mapping[str, Any]) -> StudyError:
        """The error for a worker that could not write."""
        return StudyError(full(self.folder, body["cause"]))


def same_study(session: Session) -> None:
    """Refuse to go on with another study's journal."""
    meta = session.meta
    known = next((e.body for e in session.events if e.kind == "study"), None)
    if known is None:
        return
    begun = f"The study in {session.folder}"
    for part in ("space", "searcher", "seed", "also", "earlier", "device", "threads", "precision"):
        if canonical({"": known.get(part)}) != canonical({"": meta.get(part)}):
            raise StudyError(
                f"{begun} has another {part}. Choose another folder with --out, "
                f"or go on with that one: vitruvius resume {session.folder}"
            )
    if canonical(known["data"]) != canonical(meta["data"]):
        raise StudyError(
            f"{begun} began with other data than {meta['source']} holds now. "
            "Bring those back, or begin a new study in another folder (--out)."
        )
    given, kept = session.settings.user_file, session.folder / SPACE_FILE
    if given is not None and not (kept.exists() and kept.read_bytes() == Path(given).read_bytes()):
        raise StudyError(
            f"{begun} began with another text of {given}. Choose another folder with --out, "
            f"or go on with that one: vitruvius resume {session.folder}"
        )
