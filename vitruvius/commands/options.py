"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitruvius import completion

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
