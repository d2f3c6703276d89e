"""``vitruvius export``: the best model as a program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvius.commands.options import Folder


def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="A new folder for the model.")],
) -> None:
    """Write the best model as a program that needs torch alone.

    \b
    Example:
      vitruvius export runs/photos model
      python model/model.py new_photos/
    """
    from vitruvius import running

    if out.exists():
        raise running.StudyError(f"{out} exists. Name a new folder for the model.")
    made = running.export(folder, out)
    program = made / "model.py"
    how = f"python {program} DATA" if program.exists() else f"vitruvius predict {made} DATA"
    typer.echo(f"{made}: run it with: {how}")
