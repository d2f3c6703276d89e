"""Asking for designs and running them, until the budget ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vitruvius.search import Exhausted
from vitruvius.search.history import Event
from vitruvius.space import Infeasible, Node
from vitruvius.study.budget import refusal
from vitruvius.study.costing import costing, pin
from vitruvius.study.journal import Grown
from vitruvius.study.session import LISTEN_SECONDS, Session
from vitruvius.study.settings import AllFailed, StudyError
from vitruvius.study.souping import INGREDIENTS
from vitruvius.study.trials import Trial

REFUSALS = 1000  # infeasible points in a row, after which something is wrong with the space
TOO_LARGE = 10  # designs in a row that do not fit into what is left of the budget
FAILURES = 20  # failed trials without a finished one, after which something is wrong with all


class Asking:
    """The search of a session: one ask after another, each run as the executor has room."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.attempts: dict[int, int] = {}
        self.shares: dict[int, float] = {}  # of the horizon, at which each runs
        self.too_large = 0
        self.waiting = False  # nothing to ask until one of those that run has ended
        self.unlike: str | None = None  # why a score could not be ranked: the search is in vain
        events = session.events
        waiting = [
            trial
            for trial in session.summary.trials  # its worker died, or the study was interrupted
            if trial.status == "running"
            or (trial.status == "stopped" and not _ended_by_budget(events, trial.number))
        ]
        self.todo: list[Trial] = sorted(waiting, key=lambda t: t.number)

    def run(self) -> None:
        """Returns when nothing runs any more and nothing may begin; the session knows why."""
        session = self.session
        while True:
            while session.has_room() and self._may_start():
                self._start()
                session.show()
            if not session.executor.running:
                break
            session.executor.work(self._hear, LISTEN_SECONDS)
            session.show()
        if session.cause is None:
            session.cause = "interrupted" if session.interrupted else "the budget was used"

    def _may_start(self) -> bool:
        """Whether the budget allows one more trial to begin."""
        session = self.session
        if self.unlike is not None:
            raise StudyError(self.unlike)
        if session.interrupted or session.cause is not None:
            return False
        if self.waiting and session.executor.running:
            return False
        found = session.summary
        failed = found.of("failed")
        if len(failed) >= FAILURES and not found.of("finished"):
            raise AllFailed(
                f"The first {len(failed)} trials all failed, the last because of "
                f"{failed[-1].cause}. {session.failure(failed[-1])}Mend that, or narrow the space."
            )
        remaining = session.remaining()
        if self.todo:  # it was counted when it began
            remaining = replace(remaining, trials=remaining.trials + 1)
        why = refusal(remaining)
        if why is None:
            return True
        if remaining.trials >= 1 or not session.executor.running:
            session.cause = why
        return False

    def _start(self) -> None:
        session = self.session
        if self.todo:
            one = self.todo.pop(0)
            design = session.parents.design(one.point, session.parents.of(one.number))
            self._submit(one.number, design, one.attempt, one.share)
            return
        number = self._next()
        refused = [e for e in session.events if e.kind == "rejected" and e.trial == number]
        self._ask(number, len(refused))  # a killed study may have stopped between two attempts

    def _next(self) -> int:
        """The number of the next trial: one that lost its point, else a new one."""
        last: dict[int, str] = {e.trial: e.kind for e in self.session.events if e.trial > 0}
        open_numbers = [number for number, kind in last.items() if kind == "rejected"]
        return min(open_numbers, default=1 + max(last, default=0))

    def _ask(self, number: int, attempt: int) -> None:
        """Ask until a point names a design, and run it."""
        session = self.session
        self.waiting = False
        while attempt < REFUSALS:
            costs = costing(session)
            try:
                point = session.search.ask(number, attempt, costs)
            except Exhausted as error:
                self.waiting = bool(session.executor.running)  # what they tell may change that
                session.cause = None if self.waiting else str(error)
                return
            share = session.search.share(point)
            body: dict[str, Any] = {"point": point, "attempt": attempt}
            if share < 1:
                body["share"] = share
            if costs is not None and costs.used:
                body["costs"] = costs.used
            parent = session.parents.choose(point)
            if parent is not None:
                body["parent"] = parent
            try:
                session.append("asked", number, body, session.last)
            except Grown:
                session.catch_up()
                number, attempt = self._next(), 0
                continue
            try:
                design = session.parents.design(point, parent)
            except Infeasible as error:
                self._reject(number, attempt, point, error.address, error.reason)
                attempt += 1
                continue
            self._submit(number, design, attempt, share)
            return
        last = [e for e in session.events if e.kind == "rejected"][-1].body
        raise StudyError(
            f"{REFUSALS} points in a row were infeasible; the last because of "
            f"{last['address']}: {last['reason']}. Narrow the space to what can be built."
        )

    def _reject(
        self, number: int, attempt: int, point: Mapping[str, Any], address: str, reason: str
    ) -> None:
        why = {"address": address, "reason": reason}
        self.session.append("rejected", number, {"point": point, "attempt": attempt, **why})

    def _submit(self, number: int, design: Node, attempt: int, share: float) -> None:
        from vitruvius.pipeline.cutting import cut

        session = self.session
        shorter = cut(design, share, session.search.stage)
        self.attempts[number] = attempt
        self.shares[number] = 1.0 if shorter is None else share
        job = session.job(
            number,
            "run",
            design if shorter is None else shorter,
            session.settings.seed,
            session.trial_folder(number),
            stop_at=session.stop_at(session.reserve()),
            flops_left=None if session.settings.budget.flops is None else session.remaining().flops,
        )
        session.executor.submit(job)

    def _hear(self, kind: str, number: int, body: Mapping[str, Any]) -> None:
        """A message from a worker about a trial."""
        session = self.session
        if kind == "halted":
            raise session.halted(body)
        if kind == "planned":
            session.planned[number] = body
        elif kind == "rung":
            if body["step"] not in session.steps.get(number, ()):
                session.append("rung", number, body)
        elif kind == "rejected":
            point = session.search.points[number]
            attempt = self.attempts[number]
            self._reject(number, attempt, point, body["address"], body["reason"])
            if not session.interrupted:
                self._ask(number, attempt + 1)
        elif kind in ("told", "stopped"):
            plan = session.planned.pop(number, {})
            told = dict(body)
            if (unlike := session.unlike(number, told)) is not None:
                told |= {"status": "failed", "score": None, "cause": unlike}
                self.unlike = unlike
            if told.get("parameters") is None:
                told["parameters"] = plan.get("parameters")
            if kind == "told" and self.shares.get(number, 1.0) < 1:
                told["share"] = self.shares[number]
            self.waiting = False
            session.append(kind, number, told)
            self.too_large = 0 if body.get("begun", True) else self.too_large + 1
            if self.too_large >= TOO_LARGE and session.cause is None:
                session.cause = f"the last {TOO_LARGE} designs needed more than was left"
            self._forget_weights()
        session.show()

    def _forget_weights(self) -> None:
        """Keep the weights of the best few only, of more where a soup will be made of them; the
        journal keeps everything else."""
        session = self.session
        found, final = session.summary, session.settings.final
        most = max(3, final.top, 0 if final.merger is None else INGREDIENTS)
        keep = {trial.number for trial in session.contenders[:most]}
        for trial in found.of("finished"):
            if trial.number not in keep:
                (session.trial_folder(trial.number) / "model.safetensors").unlink(missing_ok=True)
        pin(session, keep)


def _ended_by_budget(events: Sequence[Event], number: int) -> bool:
    return any(e.kind == "stopped" and e.trial == number for e in events)
