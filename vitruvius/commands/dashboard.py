"""``vitruvius dashboard``: a study in optuna-dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from vitruvius.commands.options import Folder


def dashboard(
    folder: Folder,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Of this machine.", min=1, max=65535)
    ] = 8080,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Only this machine, unless told otherwise.")
    ] = "127.0.0.1",
) -> None:
    """Show a study in optuna-dashboard, rebuilt from the journal.

    Example: vitruvius dashboard runs/photos --port 8080
    """
    from vitruvius.study.dashboard import serve

    serve(folder, host=host, port=port)
