"""``vitruvius report``: the HTML file of a study."""

from __future__ import annotations

import typer

from vitruvius.commands.options import Folder


def report(folder: Folder) -> None:
    """Write the report of a study as one HTML file.

    Example: vitruvius report runs/photos
    """
    from vitruvius import running

    typer.echo(running.write_report(folder))
