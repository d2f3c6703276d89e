"""``vitruvius query``: texts that answer a question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def query(
    model: Annotated[Path, typer.Argument(help="An exported model, or the folder of a study.")],
    text: Annotated[str, typer.Argument(help="What is looked for.")],
    k: Annotated[int, typer.Option("--k", metavar="N", help="How many.", min=1)] = 5,
) -> None:
    """Find what answers a question best among what the model was built to find.

    Example: vitruvius query runs/code "parse a date from a string" --k 3
    """
    from vitruvius import text_models

    for score, source, found in text_models.query(model, [text], k)[0]:
        typer.echo(f"{score:.3f}  {source}")
        typer.echo("\n".join(f"    {line}" for line in found.strip().splitlines()[:6]))
