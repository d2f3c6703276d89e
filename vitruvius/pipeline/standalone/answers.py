"""Answers as CSV: one row per item, in the order of the input."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence


def csv_lines(labels: Sequence[str], answers: Sequence, names: Sequence[str] = ()) -> Iterator[str]:
    """A heading, then for each item its class and the probability of every class, or its number.

    ``answers`` are rows of probabilities, or numbers where there are no labels; ``names`` says
    which file each item was.
    """
    heading = ["prediction", *(f"p({label})" for label in labels)]
    yield csv_line(["file", *heading] if names else heading)
    for i, answer in enumerate(answers):
        cells = [names[i]] if names else []
        if labels:
            best = max(range(len(labels)), key=answer.__getitem__)
            cells += [labels[best], *(f"{p:.9g}" for p in answer)]
        else:
            cells.append(f"{answer:.9g}")
        yield csv_line(cells)


def csv_line(cells: list[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(cells)
    return written.getvalue()
