"""``vitruvius show``: what a study found."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vitruvius.commands.options import Folder
from vitruvius.commands.screen import tell


def show(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    top: Annotated[int, typer.Option(metavar="N", help="Rows of the leaderboard.", min=1)] = 10,
) -> None:
    """What a study found so far.

    Example: vitruvius show runs/photos --json
    """
    from vitruvius import running
    from vitruvius.study.front import front_of
    from vitruvius.study.trials import to_json

    result = running.load(folder)
    if as_json:
        written, front = to_json(result.summary), front_of(result.summary)
        if front is not None:
            written["front"] = front.to_json()
        typer.echo(json.dumps(written, indent=1, ensure_ascii=False))
    else:
        tell(result, top)
