"""A study: ask, decide, run the stages, tell; until the budget ends; then the final evidence.

All that happens is an event in the journal. What a study knows is read from there, so that a killed
one goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from vitruvius.space import compile, from_json, replay, sample, to_json
from vitruvius.study.asking import Asking
from vitruvius.study.budget import Budget
from vitruvius.study.concluding import Concluding
from vitruvius.study.earlier import taken_over
from vitruvius.study.folder import full, journal_of, keep_space_file, led
from vitruvius.study.journal import Journal
from vitruvius.study.session import Session, same_study
from vitruvius.study.settings import (
    JOURNAL,
    SPACE_FILE,
    Final,
    Interrupted,
    Limits,
    Settings,
    StudyError,
    Surroundings,
    allowed,
    asking,
    written_budget,
)
from vitruvius.study.trials import Summary
from vitruvius.study.worker import load_user_file, no_room


@dataclass
class Study(Settings):
    """A search over a pipeline's space, in a folder.

    ``run()`` begins it, or goes on with it where the folder holds its journal.
    """

    def run(self) -> Summary:
        """Search until the budget ends, and give the evidence. Raises StudyError."""
        folder = Path(self.folder)
        try:
            meta = self._meta()
            with led(folder), Journal(folder / JOURNAL) as journal:
                return lead(self, folder, journal, meta)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted. Finished trials are kept; go on with: vitruvius resume {folder}"
                if (folder / JOURNAL).exists()
                else "Interrupted before the study began. Nothing was written."
            ) from None
        except OSError as error:
            if (said := no_room(error)) is None:
                raise
            raise StudyError(full(folder, said)) from error

    def _meta(self) -> dict[str, Any]:
        """What the study is: the body of its first event. Data are looked at before anything else,
        so that wrong input is refused before a folder is made."""
        from vitruvius.contracts import Probe
        from vitruvius.pipeline.loader import Loader
        from vitruvius.pipeline.pipeline import Pipeline, stages_of

        compile(self.space)
        first = replay(self.space, sample(self.space, Random(0)))
        if not isinstance(first, Pipeline):
            raise StudyError(
                f"A study runs a Pipeline; this space gives {type(first).__name__}. "
                "Wrap a layer: Pipeline(Load(...), Train.space(model=...), Evaluate())."
            )
        stages = stages_of(first)
        if not stages or not isinstance(stages[0], Loader):
            raise StudyError(
                "A study's pipeline begins with Load or LoadTexts, so that there is a test part."
            )
        opened = stages[0].look()
        state = opened.state
        task = state.task
        metric = task.metric if task else None
        for stage in stages:
            metric = getattr(stage, "metric", None) or metric
        if task is None or metric is None:
            raise StudyError("This pipeline names no metric: give Evaluate or Load one.")
        floors = () if isinstance(metric, Probe) else stages[0].floors(state)
        best = max if metric.better == "higher" else min
        floor = best(floors, key=lambda f: f.value) if floors else None
        return {
            "space": to_json(self.space),
            "searcher": to_json(asking(self)),
            "budget": written_budget(self.budget),
            "seed": self.seed,
            "limits": vars(self.limits),
            "final": self.final.to_json(),
            "device": self.around.device,
            "threads": self.around.threads,
            "precision": self.around.precision,
            "source": opened.source,
            "target": opened.target,
            "metric": metric.name,
            "better": metric.better,
            "task": {"name": task.name, "labels": list(task.labels)},
            "items": {
                name: len(part.opened().documents) if part.sealed else len(part.documents)
                for name, part in state.splits.items()
            },
            "data": {name: part.digest for name, part in state.splits.items()},
            "notes": list(opened.notes),
            "floor": None if floor is None else {"name": floor.name, "value": floor.value},
            "floors": [{"name": f.name, "value": f.value, "stderr": f.stderr} for f in floors],
            "versions": versions(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "modules": list(self.modules),
            "store": None if self.store is None else os.fspath(Path(self.store).absolute()),
            **({"also": list(self.also)} if self.also else {}),
            **({"earlier": [os.fspath(one) for one in self.earlier]} if self.earlier else {}),
        }


def lead(settings: Settings, folder: Path, journal: Journal, meta: dict[str, Any]) -> Summary:
    """Begin a study or go on with it, to its end."""
    with contextlib.closing(settings.around.executor()) as executor:
        session = Session(settings, folder, journal, meta, executor)
        same_study(session)
        if not _done(session):
            if not session.events:
                if settings.user_file is not None:
                    keep_space_file(settings.user_file, folder)
                session.append("study", 0, meta)
                if settings.probe is not None:
                    session.append("probe", 0, vars(settings.probe))
            _take_over(session)
            session.append("started", 0, {"worker": f"{platform.node()}:{os.getpid()}"})
            with _interrupts(session):
                Asking(session).run()
                Concluding(session).run()
            session.append("ended", 0, {"cause": session.cause or "done"})
        elif session.summary.ended is None:  # killed between the evidence and the end
            session.append("ended", 0, {"cause": "done"})
    found = session.summary
    for finish in settings.finish:
        finish(folder, found)
    session.show(always=True)
    return found


def _take_over(session: Session) -> None:
    """Write down what earlier studies tell, before the first ask."""
    if any(event.kind == "asked" for event in session.events):
        return
    known = {event.body["from"] for event in session.events if event.kind == "earlier"}
    for folder in session.settings.earlier:
        if os.fspath(folder) not in known:
            session.append("earlier", 0, taken_over(session.program, folder))


def _done(session: Session) -> bool:
    """Whether this budget has been used, and the evidence been given."""
    final = session.summary.final
    return final is not None and final["budget"] == written_budget(session.settings.budget)


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
        final=Final.from_json(meta["final"], allowed(modules)),
        around=Surroundings(
            device=meta["device"], threads=meta["threads"], precision=meta.get("precision")
        ),
        store=meta.get("store"),
        also=tuple(meta.get("also", ())),
        earlier=tuple(meta.get("earlier", ())),
        user_file=given,
        modules=modules,
    )


def versions() -> dict[str, str]:
    """Of Python and of what a result depends on."""
    from importlib.metadata import version

    packages = ("vitruvius", "torch", "numpy", "scikit-learn", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


@contextlib.contextmanager
def _interrupts(session: Session) -> Iterator[None]:
    """An interrupt lets no new trial begin, and ends what runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        session.interrupted = True
        raise KeyboardInterrupt

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
