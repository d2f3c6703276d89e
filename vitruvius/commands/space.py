"""``vitruvius space``: a space without data."""

from __future__ import annotations

import json
from random import Random
from typing import Annotated, Any

import typer

from vitruvius.commands.options import SpaceName


def space(
    space: SpaceName,
    draw: Annotated[bool, typer.Option("--draw", help="The tree of choices.")] = False,
    count: Annotated[bool, typer.Option("--count", help="How many designs it holds.")] = False,
    sample: Annotated[int, typer.Option(metavar="N", help="So many random designs.", min=0)] = 0,
    seed: Annotated[int, typer.Option(metavar="K", help="Of the samples.")] = 0,
) -> None:
    """Look at a space without data: its tree, its size, some of its designs.

    \b
    Examples:
      vitruvius space digits --draw --count
      vitruvius space my_space.py:space --sample 3
    """
    from vitruvius import named
    from vitruvius import space as language

    tree, _ = named.find_space(space)
    if draw or not (count or sample):
        typer.echo(language.draw(tree))
    if count:
        typer.echo(_counted(language.count(tree)))
    rng = Random(seed)
    for _ in range(sample):
        typer.echo(json.dumps(language.sample(tree, rng), ensure_ascii=False))


def _counted(count: Any) -> str:
    """The size of a space in words."""
    designs = "1 design" if count.points == 1 else f"{count.points:,} designs"
    real = f", each with {count.reals} real numbers to choose at most" if count.reals else ""
    return f"{designs}{real}" if count.exact else f"at most {designs}{real}"
