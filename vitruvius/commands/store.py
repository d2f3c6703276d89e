"""``vitruvius store``: the work that designs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def store(
    folder: Annotated[Path, typer.Argument(help="A study's folder, or a shared store's.")],
    action: Annotated[str, typer.Argument(help="list, explain, verify or trim.")] = "list",
    key: Annotated[str | None, typer.Argument(help="To explain: a key, or its beginning.")] = None,
    limit: Annotated[
        float | None, typer.Option("--bytes", metavar="N", help="To trim to.", min=0.0)
    ] = None,
) -> None:
    """Look into the work that designs share: list it, explain a key, verify it, trim it.

    \b
    Examples:
      vitruvius store runs/photos
      vitruvius store runs/photos explain 3f9a
      vitruvius store shared/ trim --bytes 2e9
    """
    from vitruvius import storing

    found = storing.opened(folder)
    if action == "list" and key is None:
        typer.echo(storing.listed(found))
    elif action == "explain" and key is not None:
        typer.echo(storing.explained(found, key))
    elif action == "verify" and key is None:
        words, well = storing.verified(found)
        typer.echo(words)
        raise typer.Exit(0 if well else 1)
    elif action == "trim" and key is None and limit is not None:
        typer.echo(storing.trimmed(found, limit))
    else:
        raise typer.BadParameter("list, verify, explain KEY, or trim --bytes N")
