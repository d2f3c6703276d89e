"""What a study takes over from the journals of earlier ones, also of an edited space.

It is written into the new study's journal, one event for each earlier study, so that resuming it
needs no folder but its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from vitruvius.search.history import COSTS
from vitruvius.space import Decision, Infeasible, Point, Program
from vitruvius.study.folder import journal_of
from vitruvius.study.journal import Journal
from vitruvius.study.settings import StudyError
from vitruvius.study.trials import Summary, Trial, summary

AGREEING = 0.5  # of a design's decisions, at least, that an earlier point must share
MOST = 500  # trials of one study; of more, these are spread from the best to the worst
WALKS = 16  # ways to draw what is missing, before a point is taken to make no design
LISTED = 50  # addresses that are gone, or new


def taken_over(program: Program, folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The body of the event "earlier": what the study in a folder says of this space.

    Of each trial stand the decisions that agree: their address is one of this space, their label
    in its domain. Raises StudyError where there is no study, or nothing that agrees.
    """
    with Journal(journal_of(Path(folder)), read_only=True) as journal:
        found = summary(journal.read())
    tried = comparable(found)
    kept, met = [], set[str]()
    for trial in tried:
        known = agreeing(program, trial.point)
        if known is not None:
            met.update(known[0])
            kept.append(_written(trial, *known))
    if not kept:
        why = "has no finished trial" if not tried else "shares too few decisions with this space"
        raise StudyError(f"The study in {folder} {why}. Leave --from {folder} out.")
    here = [decision.address for decision in program.unfold()]
    there = dict.fromkeys(address for trial in tried for address in trial.point)
    return {
        "from": os.fspath(folder),
        "metric": found.metric,
        "better": found.better,
        "trials": kept,
        "of": len(tried),
        "gone": [address for address in there if address not in met][:LISTED],
        "new": [address for address in here if address not in there][:LISTED],
    }


def comparable(found: Summary) -> Sequence[Trial]:
    """Trials that may be held against each other, best first, those that failed last."""
    sign = -1.0 if found.better == "higher" else 1.0
    done = [t for t in found.alike if t.score is not None]
    done.sort(key=lambda t: (sign * (t.score or 0.0), t.number))
    tried = [*done, *found.of("failed")] if done else []
    if len(tried) <= MOST:
        return tried
    return [tried[round(i * (len(tried) - 1) / (MOST - 1))] for i in range(MOST)]


def agreeing(program: Program, point: Mapping[str, Any]) -> tuple[Point, float] | None:
    """The decisions of a point that agree with a space, and their share of those that its design
    there takes; None where that is below a half, or where they make no design."""
    for seed in range(WALKS):
        draw, kept = Random(seed), Point()

        def keep(decision: Decision, draw: Random = draw, kept: Point = kept) -> Any:
            address = decision.address
            if address in point and decision.domain.contains(point[address]):
                kept[address] = point[address]
                return point[address]
            return decision.domain.sample(draw)

        try:
            whole = program.walk(keep)
        except Infeasible:
            continue
        share = len(kept) / len(whole) if whole else 1.0
        return (kept, share) if share >= AGREEING else None
    return None


def earlier_word(study: Summary) -> list[str]:
    """One line for each earlier study that something was taken over from."""
    lines = []
    for body in study.earlier:
        said = f"Took over {len(body['trials'])} of {body['of']} trials from {body['from']}"
        changes = [
            f"{len(body[word])} decisions are {word}" for word in ("gone", "new") if body.get(word)
        ]
        lines.append(f"{said}{': ' if changes else ''}{', '.join(changes)}.")
    return lines


def _written(trial: Trial, known: Point, share: float) -> dict[str, Any]:
    costs = {name: trial.cost(name) for name in COSTS}
    return {
        "trial": trial.number,
        "point": known,
        "agrees": round(share, 3),
        "score": trial.score if trial.status == "finished" else None,
        "status": trial.status,
        **{name: cost for name, cost in costs.items() if cost is not None},
    }
