"""What a person sees of a study: that it begins, how it goes, how it ended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import typer


def say_start(quiet: bool) -> None:
    """A word to who waits for PyTorch to be loaded."""
    if not quiet and sys.stderr.isatty():
        typer.echo("Reading the data and loading PyTorch ...", err=True)


@contextlib.contextmanager
def viewing(quiet: bool) -> Iterator[list[Any]]:
    """Who looks at a study under way: first it is told what was noticed in the data."""
    from rich.console import Console

    from vitruvius.study.terminal import watching

    console = Console(stderr=True, highlight=False)
    told: list[str] = []

    def notes(study: Any, seconds: float) -> None:
        for note in study.meta.get("notes", ()):
            if not quiet and note not in told:
                told.append(note)
                console.print(f"note: {note}", markup=False, soft_wrap=not console.is_terminal)

    with watching(quiet) as views:
        yield [notes, *views]


def tell(result: Any, top: int = 10) -> None:
    """The leaderboard, and where everything lies."""
    from rich.console import Console

    from vitruvius.study.terminal import outcome

    Console(soft_wrap=False, highlight=False).print(outcome(result.summary, result.folder, top))
