"""The report of a study: one HTML file that opens without a network, scripts or fonts.

Everything in it is read from the study's journal. Pictures are inline SVG; colours follow the
reader's light or dark setting and can be told apart by colour-blind readers (Okabe & Ito 2008).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from vitruvius.space import from_json
from vitruvius.study import charts
from vitruvius.study import foresight as early
from vitruvius.study.axes import Axis, axes, open_space
from vitruvius.study.blueprint import blueprint, head_of, network_of
from vitruvius.study.branches import branches
from vitruvius.study.earlier import earlier_word
from vitruvius.study.evidence import champion, evidence, rescored, short, verdict
from vitruvius.study.front import Front, cost_word, front_of
from vitruvius.study.importance import LEAST, Importances, importances
from vitruvius.study.scatter import scatter
from vitruvius.study.souping import soup_words
from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import count_word, plural, score_word, seconds_word, share_word

LEADERS = 20
EFFECTS = 6
CAUSES = 12


@dataclass(frozen=True)
class Line:
    """A row of the leaderboard."""

    rank: int
    trial: Trial
    differs: tuple[str, ...]
    """Decisions that are other than the best trial's."""


@dataclass(frozen=True)
class Group:
    """Trials with one cause."""

    cause: str
    trials: tuple[Trial, ...]

    @property
    def numbers(self) -> str:
        shown = ", ".join(str(t.number) for t in self.trials[:12])
        return shown + (f" and {len(self.trials) - 12} more" if len(self.trials) > 12 else "")


def render(study: Summary, space: Any | None = None, *, folder: str = "") -> str:
    """The report as HTML. ``space`` is the study's, where its classes are at hand; without it the
    space in the journal is read, and where that cannot be imported, labels tell the decisions."""
    space = open_space(study.meta) if space is None else space
    found = axes((t.point for t in study.trials), space)
    importance = importances(study.alike, found)
    best = champion(study)
    ahead = early.foresight(study)
    return _template().render(
        study=study,
        meta=study.meta,
        folder=folder,
        title=_title(study),
        best=best,
        verdict=verdict(study, best),
        counts=_counts(study),
        spent=_spent(study),
        budget=_budget(study),
        over_seconds=charts.score_over_time(study, "seconds"),
        over_trials=charts.score_over_time(study, "trial"),
        curves=charts.learning_curves(study),
        foresight=ahead,
        foresight_chart=None if ahead is None else early.chart(ahead),
        leaders=leaderboard(study, found, LEADERS),
        winning=_decided(best, found),
        front=(front := front_of(study)),
        scatters=_scatters(study, front),
        earlier=earlier_word(study),
        rule=(study.final or {}).get("rule"),
        importance=importance,
        importance_chart=charts.importance_bars(importance),
        importance_word=_importance_word(importance),
        unclear=[one for one in importance.decisions if not one.clear],
        effects=[(axis, charts.effect(study, axis)) for axis in _telling(study, found, importance)],
        drawing=_drawing(study),
        weighed=bool(_layers(study)),
        tree=branches(study, found),
        failures=_groups(study.of("failed")),
        stopped=_groups(study.of("stopped")),
        infeasible=_groups(study.of("infeasible")),
        refused=len(study.of("infeasible")),
        running=study.of("running"),
        evidence=evidence(study),
        rescored=rescored(study),
        inherited=inherited_word(study),
        soup=soup_words(study.final),
        digests=_digests(study),
        versions=_pairs(study.meta.get("versions")),
        searcher=_searcher(study.meta.get("searcher")),
        told=_brief(study.meta.get("searcher")),
    )


def write_report(path: str | os.PathLike[str], study: Summary, space: Any | None = None) -> Path:
    """Write the report; the file is whole or not there."""
    path = Path(path)
    html = render(study, space, folder=path.resolve().parent.name)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(html, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def inherited_word(study: Summary) -> str:
    """How many trials began with the weights of earlier ones; empty where none did."""
    told = [trial.parent for trial in study.trials if trial.parent]
    if not told:
        return ""
    shares = sorted(parent["overlap"] for parent in told)
    low, high = f"{100 * shares[0]:.0f}", f"{100 * shares[-1]:.0f}"
    share = f"{low} %" if low == high else f"{low} to {high} %"
    return (
        f"{plural(len(told), 'trial')} began with the weights of an earlier one, for {share} of "
        "their parameters; its number stands beside theirs. Their scores are of the whole line: "
        "what the trials before them learned counts."
    )


def leaderboard(study: Summary, found: Sequence[Axis], most: int) -> tuple[Line, ...]:
    """The best finished trials and what tells each from the first."""
    lines: list[Line] = []
    leaders = study.leaders[:most]
    for rank, trial in enumerate(leaders, 1):
        differs = []
        for axis in found:
            here, first = axis.address in trial.point, axis.address in leaders[0].point
            if here and (not first or not _same(trial, leaders[0], axis)):
                differs.append(axis.phrase(trial.point[axis.address]))
        lines.append(Line(rank, trial, tuple(differs)))
    return tuple(lines)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("vitruvius.study", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        score=score_word,
        share=share_word,
        count=count_word,
        seconds=seconds_word,
        short=short,
        interval=early.interval_word,
    )
    environment.globals.update(
        plural=plural,
        least=LEAST,
        cost=cost_word,
        style=Markup(environment.get_template("report.css").render()),
    )
    return environment.get_template("report.html")


def _title(study: Summary) -> str:
    task = study.meta.get("task")
    name = task.get("name") if isinstance(task, Mapping) else task
    return str(name or study.meta.get("source") or "A study")


def _counts(study: Summary) -> list[tuple[int, str]]:
    words = ("finished", "stopped", "failed", "running")
    return [(len(study.of(word)), word) for word in words if study.of(word)]


def _spent(study: Summary) -> dict[str, str]:
    tried = study.of("finished", "failed", "stopped", "running")
    start = charts.began(study)
    ends = [t.ended for t in tried if t.ended is not None]
    found = {"trials": f"{len(tried):,}".replace(",", " ")}
    if start is not None and ends:
        found["seconds"] = seconds_word(max(ends) - start)
    flops = sum(t.flops or 0.0 for t in tried)
    if flops:
        found["flops"] = count_word(flops, "FLOP")
    return found


def _budget(study: Summary) -> dict[str, str]:
    budget = study.meta.get("budget")
    given = budget if isinstance(budget, Mapping) else {}
    words = {
        "trials": lambda v: f"{v:,}".replace(",", " "),
        "seconds": seconds_word,
        "flops": lambda v: count_word(v, "FLOP"),
    }
    return {k: word(given[k]) for k, word in words.items() if given.get(k) is not None}


def _decided(trial: Trial | None, found: Sequence[Axis]) -> list[tuple[Axis, Any]]:
    if trial is None:
        return []
    return [(axis, trial.point[axis.address]) for axis in found if axis.address in trial.point]


def _telling(study: Summary, found: Sequence[Axis], importance: Importances) -> list[Axis]:
    """The decisions whose effect is drawn: the important ones, else the first that varied."""
    if importance.tells:
        ranked = [one.axis for one in importance.decisions if one.value > 0]
        return ranked[:EFFECTS]
    finished = [t for t in study.alike if t.score is not None]
    if len(finished) < 3:
        return []
    varied = [
        axis
        for axis in found
        if len({repr(t.point[axis.address]) for t in finished if axis.address in t.point}) > 1
    ]
    return varied[:EFFECTS]


def _importance_word(found: Importances) -> str:
    if found.explained is None and found.trials < LEAST:
        return (
            f"Too few trials to tell: {plural(found.trials, 'finished trial')}, "
            f"and it takes at least {LEAST}."
        )
    if found.explained is None:
        return "All scores, or all decisions, are the same: there is nothing to tell apart."
    if not found.tells:
        return (
            f"Too few trials to tell: from {plural(found.trials, 'finished trial')} the scores of "
            "others cannot be predicted, so that no decision can be said to matter."
        )
    return (
        f"From {plural(found.trials, 'finished trial')}, {found.explained:.0%} of the variance of "
        "unseen scores (as ranks) can be predicted from the decisions."
    )


def _scatters(study: Summary, front: Front | None) -> list[Markup]:
    """A picture for each cost that is an objective."""
    number = (study.final or {}).get("trial")
    return [] if front is None else [scatter(study, front, name, number) for name in front.also]


def _drawing(study: Summary) -> Markup | None:
    final = study.final or {}
    network = network_of(final.get("design"))
    if network is None:
        return None
    return blueprint(network, _layers(study), head_of(final.get("design")))


def _layers(study: Summary) -> Sequence[Mapping[str, Any]]:
    """Shapes and parameters of the best network's modules, where the final event has them."""
    final = study.final or {}
    test = final.get("test")
    return final.get("layers") or (test.get("layers") if isinstance(test, Mapping) else None) or ()


def _groups(trials: Sequence[Trial]) -> list[Group]:
    """Trials by cause, numbers left out of the comparison; most frequent first."""
    found: dict[str, list[Trial]] = {}
    first: dict[str, str] = {}
    for trial in trials:
        cause = trial.cause or "no cause was given"
        key = "".join("0" if c.isdigit() or c in ".-+e" else c for c in cause.lower())
        while "00" in key:
            key = key.replace("00", "0")
        first.setdefault(key, cause)
        found.setdefault(key, []).append(trial)
    groups = [Group(first[key], tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda g: -len(g.trials))[:CAUSES]


def _digests(study: Summary) -> list[tuple[str, str]]:
    data = study.meta.get("data")
    if isinstance(data, Mapping):
        return [(str(k), str(v)) for k, v in data.items()]
    return [("data", str(data))] if data else []


def _pairs(value: Any) -> list[tuple[str, str]]:
    return [(str(k), str(v)) for k, v in value.items()] if isinstance(value, Mapping) else []


def _searcher(value: Any) -> str:
    """``RandomSearch(seed=3)`` of the searcher's JSON; wrapped ones inside."""
    if not isinstance(value, Mapping) or "node" not in value:
        return str(value or "-")
    name = str(value["node"]).rpartition(":")[2]
    inner = [
        f"{k}={_searcher(v) if isinstance(v, Mapping) else v}"
        for k, v in value.items()
        if k != "node"
    ]
    return f"{name}({', '.join(inner)})"


def _brief(value: Any) -> str:
    """The same without what is as usual, where the searcher is ours."""
    try:
        return repr(from_json(value)) if isinstance(value, Mapping) else _searcher(value)
    except ValueError:
        return _searcher(value)


def _same(trial: Trial, other: Trial, axis: Axis) -> bool:
    a, b = trial.point[axis.address], other.point[axis.address]
    return type(a) is type(b) and a == b
