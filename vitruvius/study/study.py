"""A study: ask, decide, run the stages, tell; until the budget ends; then the final evidence.

All that happens is an event in the journal. What a study knows is read from there, so that a killed
one goes on where it was.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from vitruvius.search import Exhausted, Search, Searcher
from vitruvius.search.distinct import Distinct
from vitruvius.search.history import Event
from vitruvius.search.random_search import RandomSearch
from vitruvius.space import (
    Infeasible,
    Node,
    canonical,
    compile,
    digest,
    from_json,
    replay,
    sample,
    to_json,
)
from vitruvius.study.budget import (
    MARGIN,
    Budget,
    Spent,
    left,
    refusal,
    reserved_seconds,
    speed,
    spent,
)
from vitruvius.study.executor import Executor, Inline, Processes
from vitruvius.study.journal import Grown, Journal, JournalError
from vitruvius.study.trials import Ledger, Summary, Trial
from vitruvius.study.worker import FAILURE, USER_MODULE, Job, load_user_file, no_room

JOURNAL = "journal.sqlite"
SPACE_FILE = "space.py"  # the copy of a user's space file
REFUSALS = 1000  # infeasible points in a row, after which something is wrong with the space
FAILURES = 20  # failed trials without a finished one, after which something is wrong with all
LISTEN_SECONDS = 0.25
LAST_SECONDS = 0.5  # what the test part takes, at the end of the budget
VIEW_SHARE = 0.05  # of the time, at most, that views take

View = Callable[[Summary, float], None]
Finish = Callable[[Path, Summary], Mapping[str, Any]]


class StudyError(Exception):
    """A study that cannot begin or go on. One line: what, where, how to mend."""


class AllFailed(StudyError):
    """A study of which every trial failed."""


class Interrupted(KeyboardInterrupt):
    """A study that was interrupted, and can go on. One line that says how."""


@dataclass(frozen=True)
class Final:
    """The evidence at the end: the best ``top`` designs are trained anew with ``seeds`` fresh seeds
    each, the best of them on the mean is tested, once."""

    top: int = 3
    seeds: int = 2


@dataclass(frozen=True)
class Limits:
    """What no design may exceed; None: no limit."""

    max_parameters: int | None = None
    max_flops: float | None = None


@dataclass(frozen=True)
class Surroundings:
    """Where trials run. Device and threads are part of what makes a result."""

    workers: int = 0
    """Processes beside this one; 0: in this one."""
    device: str = "cpu"
    threads: int = 1

    def executor(self) -> Executor:
        return Processes(self.workers) if self.workers else Inline()


@dataclass
class Study:
    """A search over a pipeline's space, in a folder.

    ``run()`` begins it, or goes on with it where the folder holds its journal. ``seed`` is that of
    the trainings; the searcher has its own.
    """

    space: Any
    searcher: Searcher = field(default_factory=RandomSearch)
    budget: Budget = field(default_factory=lambda: Budget(trials=20))
    folder: str | os.PathLike[str] = "runs/study"
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    final: Final = field(default_factory=Final)
    around: Surroundings = field(default_factory=Surroundings)
    views: Sequence[View] = ()
    finish: Sequence[Finish] = ()
    user_file: str | None = None
    modules: tuple[str, ...] = ()
    clock: Callable[[], float] = time.time

    def run(self) -> Summary:
        """Search until the budget ends, and give the evidence. Raises StudyError."""
        folder = Path(self.folder)
        try:
            meta = self._meta()
            with _folder(folder), _locked(folder), Journal(folder / JOURNAL) as journal:
                return _Run(self, folder, journal, meta).run()
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted. Finished trials are kept; go on with: vitruvius resume {folder}"
                if (folder / JOURNAL).exists()
                else "Interrupted before the study began. Nothing was written."
            ) from None
        except OSError as error:
            if (full := no_room(error)) is None:
                raise
            raise StudyError(_no_room(folder, full)) from error

    def _meta(self) -> dict[str, Any]:
        """What the study is: the body of its first event. Data are looked at before anything else,
        so that wrong input is refused before a folder is made."""
        from vitruvius.pipeline.load import Load, prepared
        from vitruvius.pipeline.pipeline import Pipeline, stages_of

        compile(self.space)
        first = replay(self.space, sample(self.space, Random(0)))
        if not isinstance(first, Pipeline):
            raise StudyError(
                f"A study runs a Pipeline; this space gives {type(first).__name__}. "
                "Wrap a layer: Pipeline(Load(...), Train.space(model=...), Evaluate())."
            )
        stages = stages_of(first)
        if not stages or not isinstance(stages[0], Load):
            raise StudyError("A study's pipeline begins with Load, so that there is a test part.")
        loaded = stages[0].open()
        state = prepared(stages[0], loaded)
        task = state.task
        metric = task.metric if task else None
        for stage in stages:
            metric = getattr(stage, "metric", None) or metric
        if task is None or metric is None:
            raise StudyError("This pipeline names no metric: give Evaluate or Load one.")
        floor = task.floors[0] if task.floors else None
        return {
            "space": to_json(self.space),
            "searcher": to_json(self.searcher),
            "budget": _budget(self.budget),
            "seed": self.seed,
            "limits": vars(self.limits),
            "final": vars(self.final),
            "device": self.around.device,
            "threads": self.around.threads,
            "source": stages[0].source,
            "target": stages[0].target,
            "metric": metric.name,
            "better": metric.better,
            "task": {"name": task.name, "labels": list(task.labels)},
            "items": {
                name: len(part.opened().documents) if part.sealed else len(part.documents)
                for name, part in state.splits.items()
            },
            "data": {name: part.digest for name, part in state.splits.items()},
            "notes": list(loaded.notes),
            "floor": None if floor is None else {"name": floor.name, "value": floor.value},
            "versions": _versions(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "modules": list(self.modules),
        }


class _Run:
    """A study under way in this process."""

    def __init__(
        self, study: Study, folder: Path, journal: Journal, meta: Mapping[str, Any]
    ) -> None:
        self.study, self.folder, self.journal = study, folder, journal
        self.clock = study.clock
        self.program = compile(study.space)
        self.events: list[Event] = journal.read()
        self._same_study(meta)
        better = meta["better"]
        distinct = isinstance(study.searcher, Distinct)
        searcher = study.searcher if distinct else Distinct(study.searcher)
        self.search: Search = searcher.begin(study.space, better)
        for event in self.events:
            self.search.hear(event)
        self.meta = meta
        self.attempts: dict[int, int] = {}
        self.plans: dict[int, Mapping[str, Any]] = {}
        self.steps: dict[int, set[int]] = {}
        self.ledger = Ledger()
        for event in self.events:
            self._note(event)
        self.show_at = 0.0
        self.interrupted = False
        self.cause: str | None = None
        self.executor: Executor | None = None

    def _same_study(self, meta: Mapping[str, Any]) -> None:
        """Refuse to go on with another study's journal."""
        known = next((e.body for e in self.events if e.kind == "study"), None)
        if known is None:
            return
        begun = f"The study in {self.folder}"
        for part in ("space", "searcher", "seed", "device", "threads"):
            if canonical({"": known[part]}) != canonical({"": meta[part]}):
                raise StudyError(
                    f"{begun} has another {part}. Choose another folder with --out, "
                    f"or go on with that one: vitruvius resume {self.folder}"
                )
        if canonical(known["data"]) != canonical(meta["data"]):
            raise StudyError(
                f"{begun} began with other data than {meta['source']} holds now. "
                "Bring those back, or begin a new study in another folder (--out)."
            )
        given, kept = self.study.user_file, self.folder / SPACE_FILE
        if given is not None and not (
            kept.exists() and kept.read_bytes() == Path(given).read_bytes()
        ):
            raise StudyError(
                f"{begun} began with another text of {given}. Choose another folder with --out, "
                f"or go on with that one: vitruvius resume {self.folder}"
            )

    # ------------------------------------------------------------------ events

    def append(self, kind: str, trial: int, body: Mapping[str, Any]) -> Event:
        event = self.journal.append(kind, trial, body)
        self._hear_new(event)
        return event

    def _hear_new(self, event: Event) -> None:
        if self.events and event.sequence > self.events[-1].sequence + 1:
            missed = self.journal.read(self.events[-1].sequence)
        else:
            missed = [event]
        for one in missed:
            self.events.append(one)
            self.search.hear(one)
            self._note(one)

    def _note(self, event: Event) -> None:
        self.ledger.hear(event)
        if event.kind == "rung":
            self.steps.setdefault(event.trial, set()).add(event.body["step"])

    @property
    def summary(self) -> Summary:
        return self.ledger.summary

    def show(self, always: bool = False) -> None:
        """Let the views look, not more often than their share of the time allows."""
        begun = time.monotonic()
        if self.study.views and (always or begun >= self.show_at):
            found = self.summary
            for view in self.study.views:
                view(found, self.seconds)
            took = time.monotonic() - begun
            self.show_at = begun + max(LISTEN_SECONDS, took / VIEW_SHARE)

    @property
    def seconds(self) -> float:
        """Seconds that this study has run, earlier sessions included."""
        return spent(self.events, self.clock()).seconds

    # ------------------------------------------------------------------- search

    def run(self) -> Summary:
        if not self._done():
            if not self.events:
                self._keep_space_file()
                self.append("study", 0, self.meta)
            self.append("started", 0, {"worker": f"{platform.node()}:{os.getpid()}"})
            self.executor = self.study.around.executor()
            try:
                with _interrupts(self):
                    self._search()
                    self._conclude()
            finally:
                self.executor.close()
            self.append("ended", 0, {"cause": self.cause or "done"})
        elif self.summary.ended is None:  # killed between the evidence and the end
            self.append("ended", 0, {"cause": "done"})
        found = self.summary
        for finish in self.study.finish:
            finish(self.folder, found)
        self.show(always=True)
        return found

    def _keep_space_file(self) -> None:
        """A copy of the user's file in the study's folder: what workers and resume read."""
        if self.study.user_file is not None:
            kept = self.folder / SPACE_FILE
            beside = kept.with_name(f".{SPACE_FILE}.{os.getpid()}")
            try:
                shutil.copyfile(self.study.user_file, beside)
                os.replace(beside, kept)
            finally:
                beside.unlink(missing_ok=True)

    def _done(self) -> bool:
        """Whether this budget has been used, and the evidence been given."""
        final = self.summary.final
        return final is not None and final["budget"] == _budget(self.study.budget)

    def _search(self) -> None:
        assert self.executor is not None
        found = self.summary
        todo = [t for t in found.trials if t.status == "running"]
        for trial in found.trials:  # a worker of an earlier session died, or it was interrupted
            if trial.status == "stopped" and not _ended_by_budget(self.events, trial.number):
                todo.append(trial)
        waiting = [(t.number, t.point, t.attempt) for t in sorted(todo, key=lambda t: t.number)]
        self.todo: list[tuple[int, Mapping[str, Any], int]] = list(waiting)
        while True:
            while self._has_room() and self._may_start():
                self._start()
                self.show()
            if not self.executor.running:
                break
            self.executor.work(self._hear, LISTEN_SECONDS)
            self.show()
        if self.cause is None:
            self.cause = "interrupted" if self.interrupted else "the budget was used"

    def _has_room(self) -> bool:
        assert self.executor is not None
        return len(self.executor.running) < self.executor.size

    def _may_start(self) -> bool:
        """Whether the budget allows one more trial to begin."""
        if self.interrupted or self.cause is not None:
            return False
        found = self.summary
        failed = found.of("failed")
        if len(failed) >= FAILURES and not found.of("finished"):
            raise AllFailed(
                f"The first {len(failed)} trials all failed, the last because of "
                f"{failed[-1].cause}. {self._failure(failed[-1])}Mend that, or narrow the space."
            )
        remaining = self._remaining()
        if self.todo:  # it was counted when it began
            remaining = replace(remaining, trials=remaining.trials + 1)
        why = refusal(remaining)
        if why is None:
            return True
        assert self.executor is not None
        if remaining.trials >= 1 or not self.executor.running:
            self.cause = why
        return False

    def _remaining(self) -> Spent:
        """What is left to the search: the budget, less what was used and the final evidence."""
        budget = self.study.budget
        kept = left(budget, spent(self.events, self.clock()))
        return replace(kept, seconds=max(0.0, kept.seconds - self._reserve()))

    def _reserve(self) -> float:
        final = self.study.final
        workers = max(1, self.study.around.workers)
        return reserved_seconds(self.study.budget, self.events, final.top * final.seeds, workers)

    def _stop_at(self, reserve: float) -> float | None:
        """Unix time at which only so many seconds of the budget are left; None: no such time."""
        seconds = self.study.budget.seconds
        return None if seconds is None else self.clock() + seconds - self.seconds - reserve

    def _start(self) -> None:
        if self.todo:
            number, point, attempt = self.todo.pop(0)
            self._submit(number, replay(self.study.space, point), attempt)
            return
        number = self._next()
        refused = [e for e in self.events if e.kind == "rejected" and e.trial == number]
        self._ask(number, len(refused))  # a killed study may have stopped between two attempts

    def _next(self) -> int:
        """The number of the next trial: one that lost its point, else a new one."""
        last: dict[int, str] = {e.trial: e.kind for e in self.events if e.trial > 0}
        open_numbers = [number for number, kind in last.items() if kind == "rejected"]
        return min(open_numbers, default=1 + max(last, default=0))

    def _ask(self, number: int, attempt: int) -> None:
        """Ask until a point names a design, and run it."""
        while attempt < REFUSALS:
            try:
                point = self.search.ask(number, attempt)
            except Exhausted as error:
                self.cause = str(error)
                return
            body = {"point": point, "attempt": attempt}
            try:
                self._hear_new(self.journal.append("asked", number, body, self._last))
            except Grown:
                self._catch_up()
                number, attempt = self._next(), 0
                continue
            try:
                design = self.program.build(point)
            except Infeasible as error:
                self._reject(number, attempt, point, error.address, error.reason)
                attempt += 1
                continue
            self._submit(number, design, attempt)
            return
        last = [e for e in self.events if e.kind == "rejected"][-1].body
        raise StudyError(
            f"{REFUSALS} points in a row were infeasible; the last because of "
            f"{last['address']}: {last['reason']}. Narrow the space to what can be built."
        )

    @property
    def _last(self) -> int:
        return self.events[-1].sequence if self.events else 0

    def _catch_up(self) -> None:
        for event in self.journal.read(self._last):
            self.events.append(event)
            self.search.hear(event)

    def _reject(
        self, number: int, attempt: int, point: Mapping[str, Any], address: str, reason: str
    ) -> None:
        why = {"address": address, "reason": reason}
        self.append("rejected", number, {"point": point, "attempt": attempt, **why})

    def _submit(self, number: int, design: Node, attempt: int) -> None:
        assert self.executor is not None
        self.attempts[number] = attempt
        stop_at = self._stop_at(self._reserve())
        self.executor.submit(
            self._job(number, "run", design, self.study.seed, stop_at, self.trial_folder(number))
        )

    def trial_folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}"

    def _job(
        self, number: int, kind: Any, design: Node, seed: int, stop_at: float | None, folder: Path
    ) -> Job:
        around, limits = self.study.around, self.study.limits
        return Job(
            number=number,
            kind=kind,
            design=to_json(design),
            seed=seed,
            folder=str(folder),
            stop_at=stop_at,
            flops_per_second=speed(self.events),
            max_parameters=limits.max_parameters,
            max_flops=limits.max_flops,
            device=around.device,
            threads=around.threads,
            user_file=str(kept) if (kept := self.folder / SPACE_FILE).exists() else None,
            modules=allowed(self.study.modules),
        )

    def _hear(self, kind: str, number: int, body: Mapping[str, Any]) -> None:
        """A message from a worker about a trial."""
        if kind == "halted":
            raise StudyError(_no_room(self.folder, body["cause"]))
        if kind == "planned":
            self.plans[number] = body
        elif kind == "rung":
            if body["step"] not in self.steps.get(number, ()):
                self.append("rung", number, body)
        elif kind == "rejected":
            point = self.search.points[number]
            attempt = self.attempts[number]
            self._reject(number, attempt, point, body["address"], body["reason"])
            if not self.interrupted:
                self._ask(number, attempt + 1)
        elif kind in ("told", "stopped"):
            plan = self.plans.pop(number, {})
            told = dict(body)
            if told.get("parameters") is None:
                told["parameters"] = plan.get("parameters")
            self.append(kind, number, told)
            self._forget_weights()
        self.show()

    def _forget_weights(self) -> None:
        """Keep the weights of the best few only; the journal keeps everything else."""
        found = self.summary
        keep = {trial.number for trial in found.leaders[: max(3, self.study.final.top)]}
        for trial in found.of("finished"):
            if trial.number not in keep:
                (self.trial_folder(trial.number) / "model.safetensors").unlink(missing_ok=True)

    # -------------------------------------------------------------------- final

    def _conclude(self) -> None:
        """Train the best anew with fresh seeds, choose, and open the test part once."""
        found = self.summary
        if found.best is None:
            failed = bool(found.of("failed"))
            raise (AllFailed if failed else StudyError)(self._nothing(found))
        if self.interrupted:
            return
        rescored = self._rescore(found)
        winner, folder, validation = self._choose(found, rescored)
        design = replay(self.study.space, winner.point)
        tested = self._test(design, folder)
        self.append(
            "final",
            winner.number,
            {
                "trial": winner.number,
                "point": dict(winner.point),
                "design": to_json(design),
                "validation": validation,
                "selected": winner.score,
                "rescored": rescored,
                "test": tested,
                "folder": str(folder.relative_to(self.folder)),
                "budget": _budget(self.study.budget),
                "opened": 1 + sum(e.kind == "final" for e in self.events),
            },
        )

    def _nothing(self, found: Summary) -> str:
        stopped, failed = found.of("stopped"), found.of("failed")
        refused = found.of("infeasible")
        if refused and not stopped and not failed:
            return (
                f"No design can be built: all {len(refused)} points asked are infeasible, "
                f"the last because of {refused[-1].cause}."
            )
        seconds = self.study.budget.seconds
        if failed and not stopped:
            return f"No trial finished: {failed[-1].cause}. {self._failure(failed[-1])}".strip()
        if stopped and seconds is not None:
            return (
                f"The budget of {seconds:g} seconds is too small for one trial "
                f"({stopped[-1].cause}). Give more with --seconds, or a smaller space."
            )
        return f"No trial finished: {self.cause}."

    def _failure(self, trial: Trial) -> str:
        """Where it stands in full why a trial failed."""
        path = self.trial_folder(trial.number) / FAILURE
        return f"See {path}. " if path.exists() else ""

    def _rescore(self, found: Summary) -> list[dict[str, Any]]:
        """Fresh trainings of the best few: number of the trial, seed, score, folder."""
        assert self.executor is not None
        final, seconds = self.study.final, self.study.budget.seconds
        done: dict[tuple[int, int], Mapping[str, Any]] = {
            (e.trial, e.body["seed"]): e.body for e in self.events if e.kind == "rescored"
        }
        wanted: list[tuple[Trial, int]] = []
        for i in range(final.seeds):  # seed by seed, so that what fits treats the designs alike
            wanted.extend((t, self.study.seed + 1 + i) for t in found.leaders[: final.top])
        todo = [(t, seed) for t, seed in wanted if (t.number, seed) not in done]
        running: dict[int, tuple[Trial, int, Path]] = {}

        def hear(kind: str, number: int, body: Mapping[str, Any]) -> None:
            if kind == "halted":
                raise StudyError(_no_room(self.folder, body["cause"]))
            if kind not in ("told", "stopped", "rejected"):
                return
            trial, seed, folder = running.pop(number)
            entry = {
                "seed": seed,
                "score": body.get("score"),
                "cause": body.get("cause"),
                "seconds": body.get("seconds"),
                "folder": str(folder.relative_to(self.folder)),
            }
            if kind != "stopped":
                self.append("rescored", trial.number, entry)
                done[trial.number, seed] = entry

        number = 0
        while (todo and not self.interrupted) or running:
            while todo and not self.interrupted and self._has_room():
                trial, seed = todo.pop(0)
                needed = MARGIN * (trial.seconds or 0.0) + LAST_SECONDS
                if seconds is not None and self.seconds + needed > seconds:
                    continue
                number -= 1
                folder = self.folder / "final" / f"trial-{trial.number:04d}-seed-{seed}"
                stop_at = self._stop_at(LAST_SECONDS)
                design = replay(self.study.space, trial.point)
                running[number] = (trial, seed, folder)
                self.executor.submit(self._job(number, "run", design, seed, stop_at, folder))
            if running:
                self.executor.work(hear, LISTEN_SECONDS)
            self.show()
        return [
            {"trial": trial.number, **done[trial.number, seed]}
            for trial, seed in wanted
            if (trial.number, seed) in done
        ]

    def _choose(
        self, found: Summary, rescored: Sequence[Mapping[str, Any]]
    ) -> tuple[Trial, Path, float]:
        """The design with the best mean over fresh seeds, and the folder of its best model."""
        sign = 1.0 if found.better == "higher" else -1.0
        leaders = found.leaders[: max(1, self.study.final.top)]
        means: dict[int, list[float]] = {}
        for entry in rescored:
            if entry["score"] is not None:
                means.setdefault(entry["trial"], []).append(entry["score"])
        full = max((len(scores) for scores in means.values()), default=0)
        complete = [t for t in leaders if full and len(means.get(t.number, ())) == full]
        if not complete:
            best = leaders[0]
            assert best.score is not None
            return best, self.trial_folder(best.number), best.score
        winner = max(complete, key=lambda t: sign * sum(means[t.number]) / full)
        runs = [e for e in rescored if e["trial"] == winner.number and e["score"] is not None]
        best_run = max(runs, key=lambda e: sign * e["score"])
        return winner, self.folder / best_run["folder"], sum(means[winner.number]) / full

    def _test(self, design: Node, folder: Path) -> Mapping[str, Any]:
        """The test part, opened once. Raises StudyError where it cannot be measured."""
        assert self.executor is not None
        answer: list[Mapping[str, Any]] = []
        failed: list[str] = []

        def hear(kind: str, number: int, body: Mapping[str, Any]) -> None:
            if kind == "tested":
                answer.append(body)
            elif kind in ("told", "stopped", "rejected", "halted"):
                failed.append(str(body.get("cause") or body.get("reason")))

        self.executor.submit(self._job(-1_000_000, "test", design, self.study.seed, None, folder))
        while not answer and not failed:
            self.executor.work(hear, LISTEN_SECONDS)
        if failed:
            raise StudyError(f"The test part could not be measured: {failed[0]}.")
        return answer[0]


def allowed(modules: Sequence[str]) -> tuple[str, ...]:
    """Packages that a design's classes may come from."""
    return ("vitruvius", USER_MODULE, *modules)


def journal_of(folder: Path) -> Path:
    """The journal of a study's folder. Raises StudyError where there is none."""
    if not (folder / JOURNAL).exists():
        raise StudyError(
            f"{folder} holds no study (there is no {JOURNAL}). "
            f"Begin one with: vitruvius search SPACE --out {folder}"
        )
    return folder / JOURNAL


def reopen(folder: Path) -> Study:
    """The study whose journal lies in a folder, as it was begun."""
    with Journal(journal_of(folder), read_only=True) as journal:
        events = journal.read()
    meta = next((e.body for e in events if e.kind == "study"), None)
    if meta is None:
        raise StudyError(f"{folder} holds a journal without a study. Remove it and begin again.")
    user_file = folder / SPACE_FILE
    given = str(user_file) if user_file.exists() else None
    load_user_file(given)
    modules = tuple(meta.get("modules", ()))
    return Study(
        space=from_json(meta["space"], allowed(modules)),
        searcher=from_json(meta["searcher"], allowed(modules)),
        budget=Budget(**meta["budget"]),
        folder=folder,
        seed=meta["seed"],
        limits=Limits(**meta["limits"]),
        final=Final(**meta["final"]),
        around=Surroundings(device=meta["device"], threads=meta["threads"]),
        user_file=given,
        modules=modules,
    )


def space_digest(study: Study) -> str:
    """A short name of a study's space."""
    return digest(study.space)[:12]


def _budget(budget: Budget) -> dict[str, Any]:
    return {"seconds": budget.seconds, "trials": budget.trials, "flops": budget.flops}


def _ended_by_budget(events: Sequence[Event], number: int) -> bool:
    return any(e.kind == "stopped" and e.trial == number for e in events)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("vitruvius", "torch", "numpy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _no_room(folder: Path, said: str) -> str:
    return (
        f"{folder} cannot be written ({said}). What was written stays: make room, and go on with: "
        f"vitruvius resume {folder}"
    )


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """A folder that can be written. Where a study could not begin, it is left as it was."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    begun = (folder / JOURNAL).exists()
    before = set(folder.iterdir()) if folder.is_dir() else set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StudyError(
            f"{folder} cannot be written ({error.strerror}). Choose another folder with --out."
        ) from None
    try:
        yield
    except Exception as error:
        if not begun and not isinstance(error, AllFailed) and not _has_finished(folder):
            for path in set(folder.iterdir()) - before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path in made:
                with contextlib.suppress(OSError):
                    path.rmdir()
        raise


def _has_finished(folder: Path) -> bool:
    """Whether a journal holds a finished trial, which nothing may remove."""
    if not (folder / JOURNAL).exists():
        return False
    try:
        with Journal(folder / JOURNAL, read_only=True) as journal:
            return Ledger(journal.read()).summary.best is not None
    except JournalError:
        return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time leads the study of a folder."""
    with open(folder / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StudyError(
                f"Another process ({lock.read().strip() or 'unknown'}) runs the study in {folder}. "
                "Wait for it, or end it."
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


@contextlib.contextmanager
def _interrupts(run: _Run) -> Iterator[None]:
    """An interrupt lets no new trial begin; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        if run.interrupted:
            raise KeyboardInterrupt
        run.interrupted = True
        if run.executor is not None:
            raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
