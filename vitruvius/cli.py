"""The command line: thin over ``vitruvius.running``.

Exit status 0: done; 1: it ran and failed, or was interrupted; 2: what was asked cannot be done.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from vitruvius import completion
from vitruvius.mistakes import Interruption, explained

TRACEBACK = "VITRUVIUS_TRACEBACK"  # the variable that shows where an error came from


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interruption(str(error) or "Interrupted.") from error


app = typer.Typer(
    name="vitruvius",
    cls=_Commands,
    help="Takes a space of choices, data and a budget; returns the best model that it buys.",
    epilog="Begin with: vitruvius demo",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SpaceName = Annotated[
    str,
    typer.Argument(help="A recipe's name, or FILE.py:NAME.", autocompletion=completion.spaces),
]
Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]
Trials = Annotated[int | None, typer.Option(metavar="N", help="Designs to try.", min=1)]
Seconds = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Time for everything.", min=0.0)
]
Workers = Annotated[
    int, typer.Option(metavar="N", help="Processes that train side by side.", min=1)
]
Seed = Annotated[int, typer.Option(metavar="K", help="Where randomness starts.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for the study; a new one in runs/ if left out."),
]
Device = Annotated[
    str,
    typer.Option(metavar="NAME", help="cpu, cuda, or auto.", autocompletion=completion.devices),
]
SharedStore = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Of work to share with other studies; else its own."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
) -> None:
    if version:
        from vitruvius import __version__

        typer.echo(f"vitruvius {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(short_help="Search networks for handwritten digits, in a minute or two.")
def demo(
    trials: Trials = 16,
    seed: Seed = 0,
    out: Out = None,
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Search networks for real handwritten digits: about a minute on two cores.

    Example: vitruvius demo --trials 20
    """
    given = {"trials": trials, "seed": seed, "out": out, "workers": workers}
    _search(quiet, "digits", None, None, **given)


@app.command(short_help="Search a space for its best design, within a budget.")
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
    _search(
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


@app.command(short_help="Go on with a study, or give an ended one more.")
def resume(
    folder: Folder,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Designs to try in all.", min=1)
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time in all.", min=0.0)
    ] = None,
    workers: Workers = 1,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Keep the intact part of a damaged journal, with a backup."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a study that was killed or interrupted, or give an ended one more.

    \b
    Examples:
      vitruvius resume runs/photos
      vitruvius resume runs/photos --trials 100
    """
    from vitruvius import running

    if repair:
        typer.echo(running.repair(folder), err=True)
    _say_start(quiet)
    with _views(quiet) as views:
        result = running.resume(
            folder, trials=trials, seconds=seconds, workers=workers, views=views
        )
    _tell(result)


@app.command(short_help="What a study found so far.")
def show(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    top: Annotated[int, typer.Option(metavar="N", help="Rows of the leaderboard.", min=1)] = 10,
) -> None:
    """What a study found so far.

    Example: vitruvius show runs/photos --json
    """
    from vitruvius import running
    from vitruvius.study.front import front_of
    from vitruvius.study.trials import to_json

    result = running.load(folder)
    if as_json:
        written, front = to_json(result.summary), front_of(result.summary)
        if front is not None:
            written["front"] = front.to_json()
        typer.echo(json.dumps(written, indent=1, ensure_ascii=False))
    else:
        _tell(result, top)


@app.command(short_help="Write the report of a study as one HTML file.")
def report(folder: Folder) -> None:
    """Write the report of a study as one HTML file.

    Example: vitruvius report runs/photos
    """
    from vitruvius import running

    typer.echo(running.write_report(folder))


@app.command(short_help="Look at a space without data.")
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


@app.command(short_help="Write the best model as a standalone program.")
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


@app.command(short_help="Predict new data with a model.")
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


@app.command(short_help="What there is to choose from.")
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


@app.command(short_help="Look into the work that designs share.")
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


@app.command(short_help="Build a model of texts for a domain, within a budget.")
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
    _say_start(quiet)
    from vitruvius import building

    columns: dict[str, Any] = {"text": text, "target": target, "other": other, "key": key}
    with _views(quiet) as views:
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
    _tell(result)


@app.command(short_help="Vectors of texts, by a model of texts.")
def embed(
    model: Annotated[Path, typer.Argument(help="An exported model, or the folder of a study.")],
    data: Annotated[str, typer.Argument(help="Texts: a file or a folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .npy to write.")],
) -> None:
    """Vectors of length 1 of texts, as an array of numpy.

    Example: vitruvius embed runs/notes new.csv --out vectors.npy
    """
    import numpy as np

    from vitruvius import text_models

    vectors = text_models.embed(model, data)
    np.save(out, vectors)
    typer.echo(f"{out}: {vectors.shape[0]:,} texts, {vectors.shape[1]} numbers each")


@app.command(short_help="Find the best texts for a question.")
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


@app.command(short_help="Show a study in optuna-dashboard.")
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


def _search(quiet: bool, space: str, data: str | None, target: str | None, **others: Any) -> None:
    _say_start(quiet)
    from vitruvius import running

    with _views(quiet) as views:
        result = running.search(space, data, target, views=views, **others)
    _tell(result)


def _say_start(quiet: bool) -> None:
    """A word to who waits for PyTorch to be loaded."""
    if not quiet and sys.stderr.isatty():
        typer.echo("Reading the data and loading PyTorch ...", err=True)


@contextlib.contextmanager
def _views(quiet: bool) -> Iterator[list[Any]]:
    """Who looks at a study under way: first it is told what was noticed in the data."""
    from rich.console import Console

    from vitruvius.study.terminal import watching

    console = Console(stderr=True, highlight=False)
    told: list[str] = []

    def notes(study: Any, seconds: float) -> None:
        for note in study.meta.get("notes", ()):
            if not quiet and note not in told:
                told.append(note)
                console.print(f"note: {note}", markup=False, soft_wrap=not console.is_terminal)

    with watching(quiet) as views:
        yield [notes, *views]


def _counted(count: Any) -> str:
    """The size of a space in words."""
    designs = "1 design" if count.points == 1 else f"{count.points:,} designs"
    real = f", each with {count.reals} real numbers to choose at most" if count.reals else ""
    return f"{designs}{real}" if count.exact else f"at most {designs}{real}"


def _tell(result: Any, top: int = 10) -> None:
    """The leaderboard, and where everything lies."""
    from rich.console import Console

    from vitruvius.study.terminal import outcome

    Console(soft_wrap=False, highlight=False).print(outcome(result.summary, result.folder, top))


def main() -> NoReturn:
    """Run a command; one line on what is wrong where it cannot be done."""
    try:
        status = app(standalone_mode=False, prog_name="vitruvius")
    except BrokenPipeError:  # whoever read us has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except Exception as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        line, status = explained(error)
        if line is None:
            if not os.environ.get(TRACEBACK):
                traceback.print_exc()
            line = "This is a bug. Please report it, with the lines above and what you ran."
        if line:
            print(f"vitruvius: {line}", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
