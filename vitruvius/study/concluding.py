"""The evidence at the end: the best trained anew, one chosen, the test part opened once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitruvius.space import Node, replay, to_json
from vitruvius.study.budget import MARGIN
from vitruvius.study.front import front_of, rule
from vitruvius.study.session import LISTEN_SECONDS, Session
from vitruvius.study.settings import AllFailed, StudyError, written_budget
from vitruvius.study.souping import SOUP_FOLDER, make_soup
from vitruvius.study.trials import Summary, Trial

TEST = -1_000_000  # the number of the job that opens the test part
REFIT = TEST + 1  # of the one that trains the final model on all that has labels
LAST_SECONDS = 0.5  # at the end of the budget, beside what the test part takes


class Concluding:
    """What follows the search of a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self) -> None:
        """Train the best anew with fresh seeds, choose, and open the test part once."""
        session = self.session
        found = session.summary
        if found.best is None:
            failed = bool(found.of("failed"))
            raise (AllFailed if failed else StudyError)(self._nothing(found))
        if session.interrupted:
            return
        rescored = self._rescore(found)
        winner, folder, validation = self._choose(found, rescored)
        soup = make_soup(session, rescored, LAST_SECONDS + session.testing_seconds())
        kept = soup if soup is not None and soup["kept"] else None
        if kept is not None:
            best = kept["members"][0]["trial"]
            winner = next(trial for trial in found.trials if trial.number == best)
            folder, validation = session.folder / SOUP_FOLDER, kept["score"]
        design = replay(session.settings.space, winner.point)
        refit = (
            self._refit(winner, design) if kept is None else None
        )  # a soup is of no one training
        if refit is not None:
            folder = refit
        tested = self._test(design, folder)
        session.append(
            "final",
            winner.number,
            {
                "trial": winner.number,
                "point": dict(winner.point),
                "design": to_json(design),
                "validation": validation,
                "selected": winner.score,
                **({"share": winner.share} if winner.share < 1 else {}),
                "rescored": rescored,
                **({} if soup is None else {"soup": soup}),
                **({"refit": True} if refit is not None else {}),
                **self._rule(found),
                "test": tested,
                "folder": str(folder.relative_to(session.folder)),
                "budget": written_budget(session.settings.budget),
                "opened": 1 + sum(e.kind == "final" for e in session.events),
            },
        )

    def _rule(self, found: Summary) -> dict[str, Any]:
        """The front and the rule of the choice, where there is more to it than the best score."""
        settings, front = self.session.settings, front_of(found)
        if not settings.also and not settings.final.at_most:
            return {}
        told: dict[str, Any] = {"rule": rule(found, settings.final.at_most)}
        return told if front is None else {**told, "front": front.to_json()}

    def _nothing(self, found: Summary) -> str:
        session = self.session
        stopped, failed = found.of("stopped"), found.of("failed")
        refused = found.of("infeasible")
        if refused and not stopped and not failed:
            return (
                f"No design can be built: all {len(refused)} points asked are infeasible, "
                f"the last because of {refused[-1].cause}."
            )
        seconds = session.settings.budget.seconds
        if failed and not stopped:
            told = str(failed[-1].cause).rstrip(".")
            return f"No trial finished: {told}. {session.failure(failed[-1])}".strip()
        if seconds is not None and not failed:
            why = stopped[-1].cause if stopped else session.cause
            return (
                f"The budget of {seconds:g} seconds is too small for one trial ({why}). "
                "Give more with --seconds, or a smaller space."
            )
        return f"No trial finished: {session.cause}."

    def _rescore(self, found: Summary) -> list[dict[str, Any]]:
        """Fresh trainings of the best few, to the end of their horizon: number of the trial, seed,
        score, folder."""
        session = self.session
        final, seconds = session.settings.final, session.settings.budget.seconds
        done: dict[tuple[int, int], Mapping[str, Any]] = {
            (e.trial, e.body["seed"]): e.body for e in session.events if e.kind == "rescored"
        }
        wanted: list[tuple[Trial, int]] = []
        for i in range(final.seeds):  # seed by seed, so that what fits treats the designs alike
            wanted.extend(
                (t, session.settings.seed + 1 + i) for t in session.contenders[: final.top]
            )
        todo = [(t, seed) for t, seed in wanted if (t.number, seed) not in done]
        running: dict[int, tuple[Trial, int, Path]] = {}

        def hear(kind: str, number: int, body: Mapping[str, Any]) -> None:
            if kind == "halted":
                raise session.halted(body)
            if kind not in ("told", "stopped", "rejected"):
                return
            trial, seed, folder = running.pop(number)
            entry = {
                "seed": seed,
                "score": body.get("score"),
                "cause": body.get("cause"),
                "seconds": body.get("seconds"),
                "flops": body.get("flops"),
                "computed": body.get("computed"),
                **({"lineage": body["lineage"]} if body.get("lineage") else {}),
                "folder": str(folder.relative_to(session.folder)),
            }
            if kind != "stopped":
                session.append("rescored", trial.number, entry)
                done[trial.number, seed] = entry

        number = 0
        last = LAST_SECONDS + session.testing_seconds() + session.souping_seconds()
        share = session.refit_share()
        while (todo and not session.interrupted) or running:
            while todo and not session.interrupted and session.has_room():
                trial, seed = todo.pop(0)
                needed = MARGIN * (1 + share) * trial.whole_seconds + last
                flops = sum(t.whole_flops for t, _, _ in running.values()) + trial.whole_flops
                late = seconds is not None and session.seconds + needed > seconds
                if late or flops > session.left().flops:
                    todo.clear()  # worse designs are not to be chosen for being quicker to train
                    break
                number -= 1
                folder = session.folder / "final" / f"trial-{trial.number:04d}-seed-{seed}"
                stop_at = session.stop_at(last)
                design = replay(session.settings.space, trial.point)
                running[number] = (trial, seed, folder)
                session.executor.submit(session.job(number, "run", design, seed, folder, stop_at))
            if running:
                session.executor.work(hear, LISTEN_SECONDS)
            session.show()
        return [
            {"trial": trial.number, **done[trial.number, seed]}
            for trial, seed in wanted
            if (trial.number, seed) in done
        ]

    def _choose(
        self, found: Summary, rescored: Sequence[Mapping[str, Any]]
    ) -> tuple[Trial, Path, float]:
        """The design with the best mean over fresh seeds, and the folder of its best model."""
        session = self.session
        sign = 1.0 if found.better == "higher" else -1.0
        leaders = session.contenders[: max(1, session.settings.final.top)]
        means: dict[int, list[float]] = {}
        for entry in rescored:
            if entry["score"] is not None:
                means.setdefault(entry["trial"], []).append(entry["score"])
        full = max((len(scores) for scores in means.values()), default=0)
        complete = [t for t in leaders if full and len(means.get(t.number, ())) == full]
        tried = {entry["trial"] for entry in rescored}
        if not complete or leaders[0].number not in tried:
            best = leaders[0]
            assert best.score is not None
            return best, session.trial_folder(best.number), best.score
        winner = max(complete, key=lambda t: sign * sum(means[t.number]) / full)
        runs = [e for e in rescored if e["trial"] == winner.number and e["score"] is not None]
        best_run = max(runs, key=lambda e: sign * e["score"])
        return winner, session.folder / best_run["folder"], sum(means[winner.number]) / full

    def _refit(self, winner: Trial, design: Node) -> Path | None:
        """The folder of the design trained on all that has labels; None where there is no such
        training, no time for it, or it came to nothing."""
        from vitruvius.pipeline.refitting import refitted

        session = self.session
        share, seconds = session.refit_share(), session.settings.budget.seconds
        whole = refitted(design) if share else None
        if whole is None or session.interrupted:
            return None
        last = LAST_SECONDS + session.testing_seconds()
        needed = MARGIN * share * winner.whole_seconds + last
        if seconds is not None and session.seconds + needed > seconds:
            return None
        if share * winner.whole_flops > session.left().flops:
            return None
        folder = session.folder / "final" / f"trial-{winner.number:04d}-refit"
        ended: list[tuple[str, Mapping[str, Any]]] = []

        def hear(kind: str, number: int, body: Mapping[str, Any]) -> None:
            if kind == "halted":
                raise session.halted(body)
            if kind in ("told", "stopped", "rejected"):
                ended.append((kind, body))

        stop_at = session.stop_at(last)
        seed = session.settings.seed
        session.executor.submit(session.job(REFIT, "run", whole, seed, folder, stop_at))
        while not ended:
            session.executor.work(hear, LISTEN_SECONDS)
            session.show()
        kind, body = ended[0]
        told = {name: body.get(name) for name in ("cause", "seconds", "flops", "computed")}
        session.append("refitted", winner.number, {"status": body.get("status", kind), **told})
        return folder if body.get("status") == "finished" else None

    def _test(self, design: Node, folder: Path) -> Mapping[str, Any]:
        """The test part, opened once. Raises StudyError where it cannot be measured."""
        session = self.session
        answer: list[Mapping[str, Any]] = []
        failed: list[str] = []

        def hear(kind: str, number: int, body: Mapping[str, Any]) -> None:
            if kind == "tested":
                answer.append(body)
            elif kind in ("told", "stopped", "rejected", "halted"):
                failed.append(str(body.get("cause") or body.get("reason")))

        session.executor.submit(session.job(TEST, "test", design, session.settings.seed, folder))
        while not answer and not failed:
            session.executor.work(hear, LISTEN_SECONDS)
        if failed:
            raise StudyError(f"The test part could not be measured: {failed[0]}.")
        return answer[0]
