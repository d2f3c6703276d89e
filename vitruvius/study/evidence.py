"""The final numbers of a study, what they mean, and where each comes from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import plural, score_word, share_word


@dataclass(frozen=True)
class Evidence:
    """A number of the final evidence and where it comes from."""

    what: str
    value: str
    trial: str
    seed: str
    data: str
    state: str


def champion(study: Summary) -> Trial | None:
    """The trial of the final evidence, else the best so far."""
    if study.final is not None:
        for trial in study.trials:
            if trial.number == study.final.get("trial"):
                return trial
    return study.best


def verdict(study: Summary, best: Trial | None) -> str:
    """What the best score means against the floor: one sentence, empty where there is no floor."""
    floor = study.meta.get("floor")
    value = floor.get("value") if isinstance(floor, Mapping) else floor
    score = _headline(study, best)
    if score is None or not isinstance(value, (int, float)):
        return ""
    name = f" ({floor['name']})" if isinstance(floor, Mapping) and floor.get("name") else ""
    said = f"The floor{name} is {score_word(value)}"
    higher = study.better == "higher"
    if score == value or (score > value) != higher:
        if len(study.meta.get("floors") or ()) > 1:  # the best of them has learned something itself
            return f"{said}, and this does not beat it: take that, or give more time or data."
        return f"{said}, and this does not beat it: nothing was learned."
    ideal = 1.0 if higher else 0.0
    share = (score - value) / (ideal - value) if value != ideal else -1.0
    if 0 <= share <= 1:
        return f"{said}: {share:.1%} of the way from there to a perfect {ideal:g} is gained."
    return f"{said}; it is beaten by {score_word(abs(score - value))}."


def evidence(study: Summary) -> tuple[Evidence, ...]:
    """The numbers to trust, each with trial, seed, data digest and stored state."""
    final = study.final
    if final is None:
        return ()
    data = study.meta.get("data")
    digests = data if isinstance(data, Mapping) else {}
    trial, seed = str(final.get("trial", "-")), str(study.meta.get("seed", "-"))
    rows: list[Evidence] = []
    number = final.get("trial")
    chosen = next((t for t in study.trials if t.number == number), None)
    searched = final.get("selected", chosen.score if chosen else None)
    if searched is not None:
        state = f"trials/{number:04d}" if isinstance(number, int) else "-"
        rows.append(
            Evidence(
                "validation, in the search" + share_word(chosen.share if chosen else 1.0),
                score_word(searched),
                trial,
                seed,
                short(digests.get("validation")),
                state,
            )
        )
    for entry in final.get("rescored") or ():
        row = entry if isinstance(entry, Mapping) else {"score": entry}
        if row.get("trial", number) != number:
            continue
        rows.append(
            Evidence(
                "validation, trained anew",
                score_word(row.get("score")) if row.get("score") is not None else "failed",
                trial,
                str(row.get("seed", "-")),
                short(digests.get("validation")),
                str(row.get("folder", "-")),
            )
        )
    soup = final.get("soup") or {}
    if soup.get("kept"):
        rows = [replace(row, what=f"{row.what} (its best training alone)") for row in rows]
        rows.append(
            Evidence(
                "validation, of the soup that was chosen by it: flatters",
                score_word(soup["score"]),
                ", ".join(
                    str(number)
                    for number in sorted({m["trial"] for m in soup["members"] if m["share"] > 0})
                ),
                seed,
                short(digests.get("validation")),
                str(final.get("folder", "-")),
            )
        )
    tested = final.get("test")
    test: Mapping[str, Any] = tested if isinstance(tested, Mapping) else {"score": tested}
    if test.get("score") is not None:
        error = test.get("stderr")
        items = f", {plural(int(test['items']), 'item')}" if test.get("items") else ""
        on = ", trained on all that has labels" if final.get("refit") else ""
        rows.append(
            Evidence(
                f"test{items}{on}, opened once",
                score_word(test["score"]) + (f" ± {score_word(error)}" if error else ""),
                trial,
                _seed_of(final),
                short(test.get("data") or digests.get("test")),
                str(final.get("folder", "-")),
            )
        )
    return tuple(rows)


def rescored(study: Summary) -> list[dict[str, Any]]:
    """Per design that was trained anew: its scores in the search and anew, mean and spread."""
    rows: dict[Any, list[float]] = {}
    for entry in (study.final or {}).get("rescored") or ():
        row = entry if isinstance(entry, Mapping) else {"score": entry}
        if row.get("score") is not None:
            rows.setdefault(row.get("trial", (study.final or {}).get("trial")), []).append(
                float(row["score"])
            )
    searched = {t.number: t.score for t in study.trials}
    return [
        {
            "trial": number,
            "searched": searched.get(number),
            "scores": scores,
            "mean": statistics.fmean(scores),
            "spread": statistics.stdev(scores) if len(scores) > 1 else None,
        }
        for number, scores in rows.items()
    ]


def _headline(study: Summary, best: Trial | None) -> float | None:
    """The number at the top: the test score where there is one, else the best validation score."""
    tested = (study.final or {}).get("test")
    score = tested.get("score") if isinstance(tested, Mapping) else tested
    if isinstance(score, (int, float)):
        return float(score)
    return best.score if best is not None else None


def _seed_of(final: Mapping[str, Any]) -> str:
    for entry in final.get("rescored") or ():
        if isinstance(entry, Mapping) and entry.get("folder") == final.get("folder"):
            return str(entry.get("seed", "-"))
    return "-"


def short(digest: Any) -> str:
    return str(digest)[:12] if digest else "-"
