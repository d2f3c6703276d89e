"""``vitruvius search``: a space, data and a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vitruvius import completion
from vitruvius.commands.options import (
    Device,
    Out,
    Quiet,
    Seconds,
    Seed,
    SharedStore,
    SpaceName,
    Workers,
)
from vitruvius.commands.screen import say_start, tell, viewing


def search(
    space: SpaceName,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Table (.csv, .tsv, .parquet), folder of images by class, .npz, digits.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="What to predict: a column of a table, an array of an .npz."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="classification or regression; told from the target if left out.",
            autocompletion=completion.kinds,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What counts: accuracy, macro-f1, r2, ... (vitruvius techniques).",
            autocompletion=completion.metrics,
        ),
    ] = None,
    searcher: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="tree-bo, random-search, mcts, smbo, regularized-evolution, optuna-tpe, ...",
            autocompletion=completion.searchers,
        ),
    ] = "tree-bo",
    prior: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS=VALUE",
            help="Where you expect the best, as learning_rate=1e-3; may be given again.",
        ),
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="DIR", help="Study whose trials to begin with; may be given again."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(metavar="N", help="Designs to try; 20 if no budget is given.", min=1),
    ] = None,
    seconds: Seconds = None,
    seed: Seed = 0,
    out: Out = None,
    workers: Workers = 1,
    device: Device = "auto",
    threads: Annotated[
        int, typer.Option(metavar="N", help="Of each process. They change the last bits.", min=1)
    ] = 1,
    max_parameters: Annotated[
        int | None,
        typer.Option(metavar="N", help="Refuse larger networks before they are built.", min=1),
    ] = None,
    max_flops: Annotated[
        float | None,
        typer.Option(metavar="N", help="Refuse longer trainings before they begin.", min=1.0),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COST",
            help="Also to be small: parameters, flops, seconds, latency; may be given again.",
            autocompletion=completion.costs,
        ),
    ] = None,
    at_most: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COST=N", help="Limit of the design that is chosen, as parameters=1e6."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of which no value is cut by a split."),
    ] = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column not to read; may be given again."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="N", help="Pixels of a side, of images.", min=1)
    ] = None,
    channels: Annotated[
        int | None, typer.Option(metavar="N", help="Of images: 1 grey, 3 colour.", min=1, max=3)
    ] = None,
    store: SharedStore = None,
    quiet: Quiet = False,
) -> None:
    """Search a space for the best design, within a budget of trials or seconds.

    \b
    Examples:
      vitruvius search digits --trials 20
      vitruvius search mlp --data wine.csv --target quality --seconds 300
      vitruvius search my_space.py:space --data photos/ --searcher mcts
      vitruvius search digits --prior learning_rate=1e-3~3 --prior optimizer=AdamW
      vitruvius search digits --also parameters --at-most parameters=5000
      vitruvius search my_space.py:space --data photos/ --from runs/photos
    """
    run_search(
        quiet,
        space,
        data,
        target,
        kind=kind,
        metric=metric,
        searcher=searcher,
        prior=prior or (),
        earlier=earlier or (),
        trials=trials,
        seconds=seconds,
        seed=seed,
        out=out,
        workers=workers,
        device=device,
        threads=threads,
        max_parameters=max_parameters,
        max_flops=max_flops,
        also=also or (),
        at_most=at_most or (),
        group=group,
        leave_out=leave_out or (),
        size=size,
        channels=channels,
        store=store,
    )


def run_search(
    quiet: bool, space: str, data: str | None, target: str | None, **others: Any
) -> None:
    """Search, with what a person sees of it. ``others`` as of ``running.search``."""
    say_start(quiet)
    from vitruvius import running

    with viewing(quiet) as views:
        result = running.search(space, data, target, views=views, **others)
    tell(result)
