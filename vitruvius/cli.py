"""The command line: thin over ``vitruvius.running``.

Exit status 0: done; 1: it ran and failed, or was interrupted; 2: what was asked cannot be done.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Annotated, Any, NoReturn

import typer
from click import ClickException
from click.exceptions import Abort, Exit

app = typer.Typer(
    name="vitruvius",
    help="Takes a space of choices, data and a budget; returns the best model that budget buys.",
    epilog="Begin with: vitruvius demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SpaceName = Annotated[str, typer.Argument(help="A recipe's name, or FILE.py:NAME.")]
Folder = Annotated[Path, typer.Argument(help="The folder of a study.")]
Trials = Annotated[int | None, typer.Option(help="Designs to try.", min=1)]
Seconds = Annotated[float | None, typer.Option(help="Time for everything, in seconds.", min=0.0)]
Workers = Annotated[int, typer.Option(help="Processes that train side by side.", min=1)]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")]


@app.command()
def demo(
    trials: Trials = 12,
    seed: Annotated[int, typer.Option(help="Where randomness starts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the study.")] = None,
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Search networks for real handwritten digits: about two minutes on two cores.

    Example: vitruvius demo --trials 20
    """
    _search("digits", None, None, "mcts", trials, None, seed, out, workers, quiet)


@app.command()
def search(
    space: SpaceName,
    data: Annotated[
        str | None,
        typer.Option(help="Table (.csv, .tsv, .parquet), folder of images by class, .npz, digits."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column to predict, of a table.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="classification or regression; told from the target if left out."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What counts: accuracy, macro-f1, ... (vitruvius techniques)."),
    ] = None,
    searcher: Annotated[
        str, typer.Option(help="random-search, mcts, smbo, regularized-evolution, ...")
    ] = "mcts",
    trials: Trials = None,
    seconds: Seconds = None,
    seed: Annotated[int, typer.Option(help="Where randomness starts.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the study; a new one under runs/ if left out.")
    ] = None,
    workers: Workers = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[
        int, typer.Option(help="Of each process. They change the last bits.", min=1)
    ] = 1,
    max_parameters: Annotated[
        int | None, typer.Option(help="Refuse larger networks before they are built.", min=1)
    ] = None,
    max_flops: Annotated[
        float | None, typer.Option(help="Refuse longer trainings before they begin.", min=1.0)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Search a space for the best design, within a budget of trials or seconds.

    Examples:

      vitruvius search digits --trials 20

      vitruvius search mlp --data wine.csv --target quality --seconds 300

      vitruvius search my_space.py:space --data photos/ --searcher smbo --out runs/photos
    """
    more = {
        "kind": kind,
        "metric": metric,
        "device": device,
        "threads": threads,
        "max_parameters": max_parameters,
        "max_flops": max_flops,
    }
    _search(space, data, target, searcher, trials, seconds, seed, out, workers, quiet, **more)


@app.command()
def resume(
    folder: Folder,
    trials: Trials = None,
    seconds: Seconds = None,
    workers: Workers = 1,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Keep the intact part of a damaged journal, with a backup."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a study that was killed, or give an ended one more.

    Example: vitruvius resume runs/photos --trials 100
    """
    from vitruvius import running

    if repair:
        typer.echo(running.repair(folder))
    with _view(quiet) as views:
        result = running.resume(
            folder, trials=trials, seconds=seconds, workers=workers, views=views
        )
    _tell(result)


@app.command()
def show(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    top: Annotated[int, typer.Option(help="Rows of the leaderboard.", min=1)] = 10,
) -> None:
    """What a study found so far.

    Example: vitruvius show runs/photos --json
    """
    from vitruvius import running
    from vitruvius.study.trials import to_json

    result = running.load(folder)
    if as_json:
        typer.echo(json.dumps(to_json(result.summary), indent=1, ensure_ascii=False))
    else:
        _tell(result, top)


@app.command()
def report(folder: Folder) -> None:
    """Write the report of a study as one HTML file.

    Example: vitruvius report runs/photos
    """
    from vitruvius import running

    typer.echo(running.write_report(folder))


@app.command()
def space(
    space: SpaceName,
    draw: Annotated[bool, typer.Option("--draw", help="The tree of choices.")] = False,
    count: Annotated[bool, typer.Option("--count", help="How many designs it holds.")] = False,
    sample: Annotated[int, typer.Option(help="So many random designs.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
) -> None:
    """Look at a space without data.

    Examples:

      vitruvius space digits --draw --count

      vitruvius space my_space.py:space --sample 3
    """
    from vitruvius import running
    from vitruvius import space as language

    tree, _ = running.find_space(space, None, bare=True)
    if draw or not (count or sample):
        typer.echo(language.draw(tree))
    if count:
        typer.echo(f"{language.count(tree)} designs")
    rng = Random(seed)
    for _ in range(sample):
        typer.echo(json.dumps(language.sample(tree, rng), ensure_ascii=False))


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="A new folder for the model.")],
) -> None:
    """Write the best model as a program that needs torch alone.

    Example: vitruvius export runs/photos model && python model/model.py new_photos/
    """
    from vitruvius import running

    typer.echo(running.export(folder, out))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="An exported model, or the folder of a study.")],
    data: Annotated[str, typer.Argument(help="New data, as those that it was trained on.")],
    out: Annotated[Path | None, typer.Option(help="A .csv to write; else it is printed.")] = None,
) -> None:
    """Predict new data.

    Example: vitruvius predict model/ new.csv --out predictions.csv
    """
    from vitruvius import running

    lines = running.predict(model, data)
    text = "\n".join(lines) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text)
        typer.echo(f"{len(lines) - 1} predictions in {out}")


@app.command()
def techniques(
    name: Annotated[str | None, typer.Argument(help="One of them; all if left out.")] = None,
) -> None:
    """What there is to choose from, with sources and hyperparameters.

    Examples:

      vitruvius techniques

      vitruvius techniques adamw
    """
    from vitruvius.catalogue import catalogue, describe, find, listed, written
    from vitruvius.space import Node

    typer.echo(listed(catalogue(Node)) if name is None else written(describe(find(name))))


@app.command()
def dashboard(
    folder: Folder,
    port: Annotated[int, typer.Option(help="Of this machine.", min=1, max=65535)] = 8080,
    host: Annotated[
        str, typer.Option(help="Only this machine, unless told otherwise.")
    ] = "127.0.0.1",
) -> None:
    """Show a study in optuna-dashboard, rebuilt from the journal.

    Example: vitruvius dashboard runs/photos --port 8080
    """
    from vitruvius.study.dashboard import serve

    serve(folder, host=host, port=port)


def _search(
    space: str,
    data: str | None,
    target: str | None,
    searcher: str,
    trials: int | None,
    seconds: float | None,
    seed: int,
    out: Path | None,
    workers: int,
    quiet: bool,
    **more: Any,
) -> None:
    from vitruvius import running

    with _view(quiet) as views:
        result = running.search(
            space,
            data,
            target,
            searcher=searcher,
            trials=trials,
            seconds=seconds,
            seed=seed,
            out=out,
            workers=workers,
            views=views,
            **more,
        )
    _tell(result)


def _view(quiet: bool) -> Any:
    from vitruvius.study.terminal import watching

    return watching(quiet)


def _tell(result: Any, top: int = 10) -> None:
    """The leaderboard, and where everything lies."""
    from rich.console import Console

    from vitruvius.study.terminal import outcome

    Console(soft_wrap=False, highlight=False).print(outcome(result.summary, result.folder, top))


def main() -> NoReturn:
    """Run a command; one line on what is wrong where it cannot be done."""
    try:
        status = app(standalone_mode=False)
    except Exit as error:
        status = error.exit_code
    except ClickException as error:
        _complain(error.format_message())
        status = 2
    except (Abort, KeyboardInterrupt):
        _complain("Interrupted. Finished trials are kept; go on with: vitruvius resume DIR")
        status = 1
    except BrokenPipeError:
        sys.stderr.close()
        status = 1
    except Exception as error:
        known, status = _known(error)
        if not known:
            raise
        _complain(str(error))
    sys.exit(status if isinstance(status, int) else 0)


def _known(error: Exception) -> tuple[bool, int]:
    """Whether an error speaks for itself, and the exit status it means."""
    names = {cls.__name__ for cls in type(error).__mro__}
    wrong = {
        "StudyError",
        "DataError",
        "JournalError",
        "CheckpointError",
        "Infeasible",
        "ExportError",
    }
    if names & wrong or isinstance(error, (ValueError, TypeError)):
        return True, 2
    if isinstance(error, OSError):
        return True, 2
    return False, 1


def _complain(line: str) -> None:
    print(f"vitruvius: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
