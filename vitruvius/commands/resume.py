"""``vitruvius resume``: on with a study."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvius.commands.options import Folder, Quiet, Workers
from vitruvius.commands.screen import say_start, tell, viewing


def resume(
    folder: Folder,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Designs to try in all.", min=1)
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time in all.", min=0.0)
    ] = None,
    workers: Workers = 1,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Keep the intact part of a damaged journal, with a backup."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a study that was killed or interrupted, or give an ended one more.

    \b
    Examples:
      vitruvius resume runs/photos
      vitruvius resume runs/photos --trials 100
    """
    from vitruvius import running

    if repair:
        typer.echo(running.repair(folder), err=True)
    say_start(quiet)
    with viewing(quiet) as views:
        result = running.resume(
            folder, trials=trials, seconds=seconds, workers=workers, views=views
        )
    tell(result)
