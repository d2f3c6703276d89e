"""The soup of a study's own trainings: those that began alike, merged, and kept if that is better.

Nothing is trained. The validation part decides, so that the score of a soup that was kept flatters:
wherever it is told, that is said. Tested is what was kept, once, as without a soup.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from vitruvius.space import canonical, replay, to_json
from vitruvius.study.session import LISTEN_SECONDS, Session

WEIGHTS = "model.safetensors"  # of a trial, as long as they are kept
SOUP = -2_000_000  # the number of the job that makes it
SOUP_FOLDER = "final/soup"
INGREDIENTS = 12  # trials whose weights are kept for it, at most


def make_soup(
    session: Session, rescored: Sequence[Mapping[str, Any]], last: float
) -> Mapping[str, Any] | None:
    """What became of the soup, as the journal's event "soup" holds it; None where none is asked
    for. ``last`` are the seconds that must be left after it.

    ``members`` are those that were tried, best first, with the share of each in the result;
    ``kept`` says whether the soup is better than every single training, ``cause`` why not.
    """
    merger = session.settings.final.merger
    if merger is None:
        return None
    known, written = members(session, rescored), to_json(merger)
    family = kin(known)
    asked = {"merger": written, "folders": [one["folder"] for one in family]}
    for event in session.events:
        if event.kind == "soup" and canonical({"": event.body["asked"]}) == canonical({"": asked}):
            return event.body
    body: dict[str, Any] = {"asked": asked, "merger": repr(merger), "kept": False, "score": None}
    best = known[0] if known else None
    body["single"] = None if best is None else best["score"]
    body["members"] = [{n: one[n] for n in ("trial", "seed", "score", "folder")} for one in family]
    if session.interrupted:
        return {**body, "cause": "the study was interrupted"}
    if len(family) < 2:
        cause = "no two trainings that were finished began with the same weights"
    else:
        kind, made = _made(session, family, last)
        cause = made.get("cause")
        if kind == "souped":
            shares = made["shares"]
            body |= {n: made.get(n) for n in ("score", "stderr", "weights", "seconds")}
            for one, share in zip(body["members"], shares, strict=True):
                one["share"] = share
            alone = sum(share > 0 for share in shares) < 2
            better = session.meta["better"]
            gain = (made["score"] - body["single"]) * (1 if better == "higher" else -1)
            body["kept"] = gain > 0 and not alone
            if alone:
                cause = "adding any of the others to the best lowers its score"
            elif not body["kept"]:
                cause = "the best single training is as good or better"
    body["cause"] = cause
    if not body["kept"]:
        shutil.rmtree(session.folder / SOUP_FOLDER, ignore_errors=True)
    trial = body["members"][0]["trial"] if family else 0
    session.append("soup", trial, body)
    return session.events[-1].body


def members(session: Session, rescored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whole trainings with a score whose models are there, best first: those of the search, and
    those with fresh seeds."""
    points = {trial.number: trial.point for trial in session.summary.trials}
    found: list[dict[str, Any]] = [
        {
            "trial": trial.number,
            "seed": session.settings.seed,
            "score": trial.score,
            "folder": str(session.trial_folder(trial.number).relative_to(session.folder)),
            "lineage": session.lineages.get(trial.number),
        }
        for trial in session.summary.of("finished")
        if trial.score is not None and trial.share == 1
    ]
    for entry in rescored:
        if entry.get("score") is not None:
            kept = ("trial", "seed", "score", "folder")
            found.append({**{n: entry[n] for n in kept}, "lineage": entry.get("lineage")})
    may = {trial.number for trial in session.contenders}
    found = [one for one in found if one["trial"] in may]
    there = [one for one in found if (session.folder / one["folder"] / WEIGHTS).exists()]
    sign = -1.0 if session.meta["better"] == "higher" else 1.0
    for one in there:
        one["point"] = points[one["trial"]]
    return sorted(there, key=lambda one: (sign * one["score"], one["trial"], one["seed"]))


def kin(known: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The trainings that began with the same weights and have one design: of all groups of two or
    more the one with the best member; the first is the best."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for one in known:
        if one["lineage"] and one["lineage"][0]:
            groups.setdefault(tuple(one["lineage"]), []).append(one)
    return next((group for group in groups.values() if len(group) > 1), [])


def _made(
    session: Session, family: Sequence[Mapping[str, Any]], last: float
) -> tuple[str, Mapping[str, Any]]:
    """How the job ended: "souped" with shares and score, or otherwise with a cause."""
    ended: list[tuple[str, Mapping[str, Any]]] = []
    space = session.settings.space
    given = [
        {
            "folder": str(session.folder / one["folder"]),
            "design": to_json(replay(space, one["point"])),
            "score": one["score"],
            "lineage": list(one["lineage"]),
        }
        for one in family
    ]

    def hear(kind: str, number: int, body: Mapping[str, Any]) -> None:
        if kind == "halted":
            raise session.halted(body)
        if kind in ("souped", "told", "stopped", "rejected"):
            ended.append((kind, body))

    design = replay(space, family[0]["point"])
    folder = session.folder / SOUP_FOLDER
    session.executor.submit(
        session.job(
            SOUP,
            "soup",
            design,
            session.settings.seed,
            folder,
            session.stop_at(last),
            members=given,
        )
    )
    while not ended:
        session.executor.work(hear, LISTEN_SECONDS)
        session.show()
    return ended[0]


def soup_words(final: Mapping[str, Any] | None) -> str:
    """What became of a soup, in one sentence; empty where none was asked for."""
    soup = (final or {}).get("soup")
    if not soup:
        return ""
    tried = len(soup["members"])
    if not soup["kept"]:
        scored = "" if soup["score"] is None else f" of {tried} trainings, {soup['score']:.4g}"
        single = "" if soup["single"] is None else f", against {soup['single']:.4g} of the best"
        told = f"{scored}{single}" if scored else ""
        return f"No soup was kept ({soup['merger']}{told}): {soup['cause']}."
    mixed = sorted({one["trial"] for one in soup["members"] if one["share"] > 0})
    count = sum(one["share"] > 0 for one in soup["members"])
    return (
        f"The weights are a soup of {count} trainings (of trials {', '.join(map(str, mixed))}) of "
        f"{tried} that began alike, by {soup['merger']}. Its validation score, {soup['score']:.4g} "
        f"against {soup['single']:.4g} of the best single training, is the one that it was chosen "
        "by: it flatters."
    )
