"""``vitruvius build``: a model of texts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from vitruvius import completion
from vitruvius.commands.options import Device, Out, Quiet, Seconds, Seed, SharedStore, Workers
from vitruvius.commands.screen import say_start, tell, viewing


def build(
    texts: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Corpus without labels: texts, Markdown, code, ..."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Labelled texts: a table, tagged words, pairs, queries with answers, "
            'a folder of train, validation, test; or "python".',
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Pretrained model to begin with: folder or hub name."),
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the texts.")] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the labels.")] = None,
    other: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of the second text of pairs.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="That names a text of the corpus.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="How to split: document, time, or a column's name."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="One text of the corpus: file, paragraph, line."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="classification or regression; told from the labels if left out.",
            autocompletion=completion.kinds,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What counts: macro-f1, ...", autocompletion=completion.metrics
        ),
    ] = None,
    seconds: Seconds = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Designs to try, at most.", min=1)
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(metavar="N", help="Of a trial; left out, they follow from the seconds."),
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    workers: Workers = 1,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="float32, bfloat16, or auto.")
    ] = "auto",
    threads: Annotated[int, typer.Option(metavar="N", help="Of each process.", min=1)] = 1,
    soup: Annotated[
        bool, typer.Option("--soup", help="Try the mean of trainings that began alike.")
    ] = False,
    store: SharedStore = None,
    quiet: Quiet = False,
) -> None:
    """Build a model of a domain's texts: tokenizer, from scratch or continued, objective,
    optimizer and adaptation are chosen by search.

    \b
    Examples:
      vitruvius build --texts notes/ --labels train.csv --seconds 600
      vitruvius build --labels train.csv --base my-minilm/ --seconds 300 --out runs/notes
      vitruvius build --labels python --seconds 900
    """
    say_start(quiet)
    from vitruvius import building

    columns: dict[str, Any] = {"text": text, "target": target, "other": other, "key": key}
    with viewing(quiet) as views:
        result = building.build(
            texts,
            labels,
            base=base,
            seconds=seconds,
            trials=trials,
            flops=flops,
            metric=metric,
            seed=seed,
            out=out,
            workers=workers,
            device=device,
            precision=precision,
            threads=threads,
            soup=soup,
            store=store,
            views=views,
            kind=kind,
            by=by,
            unit=unit,
            **columns,
        )
    tell(result)
