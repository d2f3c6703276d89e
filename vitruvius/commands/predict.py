"""``vitruvius predict``: new data, as lines of CSV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def predict(
    model: Annotated[Path, typer.Argument(help="An exported model, or the folder of a study.")],
    data: Annotated[str, typer.Argument(help="New data, as those that it was trained on.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .csv to write; else it is printed.")
    ] = None,
) -> None:
    """Predict new data, as lines of CSV.

    \b
    Examples:
      vitruvius predict runs/wine new.csv
      vitruvius predict model/ new_photos/ --out predictions.csv
    """
    from vitruvius import running

    lines = running.predict(model, data)
    text = "\n".join(lines) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        beside = out.with_name(f".{out.name}.{os.getpid()}")
        try:
            beside.write_text(text, encoding="utf-8")
            os.replace(beside, out)
        finally:
            beside.unlink(missing_ok=True)
        typer.echo(f"{len(lines) - 1} predictions in {out}")
