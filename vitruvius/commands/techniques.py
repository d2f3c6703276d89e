"""``vitruvius techniques``: what there is to choose from."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from vitruvius import completion


def techniques(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="One of them; all if left out.",
            autocompletion=completion.techniques,
        ),
    ] = None,
) -> None:
    """What there is to choose from, with sources and hyperparameters.

    \b
    Examples:
      vitruvius techniques
      vitruvius techniques adamw
    """
    from vitruvius.catalogue import catalogue, describe, find, listed, written
    from vitruvius.space import Node

    width = min(96, shutil.get_terminal_size().columns)
    if name is None:
        typer.echo(listed(catalogue(Node), width))
    else:
        typer.echo(written(describe(find(name)), width))
