"""``vitruvius embed``: vectors of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
