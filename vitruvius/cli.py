"""The command line: the commands put together, and what a mistake says.

Exit status 0: done; 1: it ran and failed, or was interrupted; 2: what was asked cannot be done.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from vitruvius.commands.build import build
from vitruvius.commands.dashboard import dashboard
from vitruvius.commands.demo import demo
from vitruvius.commands.embed import embed
from vitruvius.commands.export import export
from vitruvius.commands.predict import predict
from vitruvius.commands.query import query
from vitruvius.commands.report import report
from vitruvius.commands.resume import resume
from vitruvius.commands.search import search
from vitruvius.commands.show import show
from vitruvius.commands.space import space
from vitruvius.commands.store import store
from vitruvius.commands.techniques import techniques
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


for command, short_help in (
    (demo, "Search networks for handwritten digits, in a minute or two."),
    (search, "Search a space for its best design, within a budget."),
    (resume, "Go on with a study, or give an ended one more."),
    (show, "What a study found so far."),
    (report, "Write the report of a study as one HTML file."),
    (space, "Look at a space without data."),
    (export, "Write the best model as a standalone program."),
    (predict, "Predict new data with a model."),
    (techniques, "What there is to choose from."),
    (store, "Look into the work that designs share."),
    (build, "Build a model of texts for a domain, within a budget."),
    (embed, "Vectors of texts, by a model of texts."),
    (query, "Find the best texts for a question."),
    (dashboard, "Show a study in optuna-dashboard."),
):
    app.command(short_help=short_help)(command)


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
