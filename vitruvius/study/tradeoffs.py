"""The front of a study with several objectives, in the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vitruvius.study.front import Front, cost_word, front_of
from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import plural, score_word

SHOWN = 12  # designs of a front; of more, these are spread over it


def front_word(study: Summary) -> str | None:
    """One line on the front; None where there is none."""
    front = front_of(study)
    if front is None:
        return None
    return f"{plural(len(front.trials), 'design')}, hypervolume {front.hypervolume:.3f}"


def tradeoffs(study: Summary, most: int = SHOWN) -> list[RenderableType]:
    """The front as a table with a line above it; empty where there is none."""
    front = front_of(study)
    if front is None:
        return []
    said = (
        f"Front: {plural(len(front.trials), 'design')} that no other beats in "
        f"{study.metric} against {front.words} (hypervolume {front.hypervolume:.3f})"
    )
    return [Text(said, style="bold"), _table(study, front, most)]


def _table(study: Summary, front: Front, most: int) -> Table:
    number = (study.final or {}).get("trial")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for word in ("trial", study.metric, *front.also, ""):
        table.add_column(escape(word), justify="right" if word else "left", no_wrap=True)
    for trial in spread(front, most, number):
        table.add_row(
            str(trial.number),
            score_word(trial.score),
            *(cost_word(name, trial.cost(name)) for name in front.also),
            "chosen" if trial.number == number else "",
        )
    return table


def spread(front: Front, most: int, number: int | None) -> list[Trial]:
    """So many trials of a front, from its one end to the other, and the chosen one."""
    trials = list(front.trials)
    if len(trials) <= most:
        return trials
    kept = {round(i * (len(trials) - 1) / (most - 1)) for i in range(most)}
    return [t for i, t in enumerate(trials) if i in kept or t.number == number]
