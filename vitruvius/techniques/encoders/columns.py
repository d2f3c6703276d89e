"""Columns of a table as numbers: scaled, filled in, and one-hot.

Source: scikit-learn's StandardScaler, SimpleImputer and OneHotEncoder for "standard"; Gorishniy et
al. 2021, "Revisiting Deep Learning Models for Tabular Data", arXiv:2106.11959, section 4.3, for
the use of quantiles.
Differs from them: "quantile" ends in a uniform scale with unit variance, not in a normal one; a
column whose values do not differ in the training part is left out.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vitruvius.contracts import Array, Documents, Encoder, Fitted, Given
from vitruvius.space import hyper, one_of

KNOTS = 65
DAY = 86_400.0


@dataclass(frozen=True)
class Columns(Encoder):
    """Each column of a table to one or several numbers: float32 [N F].

    Numbers: a missing one becomes the ``missing`` value of the training part, with a column that
    says so, where any was missing there; then (x - mean) / deviation, or the quantile. Categories:
    one column for each that ``rare`` rows have, the commonest ``most`` of them; one for all others
    and unseen ones, one for missing, where the training part has such. Booleans are 0 and 1. Dates:
    days, and the phase of year, week and day as sine and cosine, where the dates reach that far.
    """

    numbers: str = hyper("standard", one_of("standard", "quantile"), "how numbers are scaled")
    missing: str = hyper("median", one_of("median", "mean"), "what stands for a missing number")
    rare: int = hyper(5, one_of(1, 5, 20), "rows that give a category a column of its own")
    most: int = hyper(64, one_of(16, 64, 256), "categories with a column of their own, at most")
    reach: float = hyper(20.0, None, "scaled numbers are cut off at plus and minus this")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        for name, known in (("numbers", ("standard", "quantile")), ("missing", ("median", "mean"))):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"Columns.{name} is {' or '.join(known)}; got {value!r}.")
        if self.rare < 1 or self.most < 1:
            raise ValueError(
                f"Columns.rare and .most must be at least 1; got {self.rare} and {self.most}."
            )
        if not self.reach > 0:
            raise ValueError(f"Columns.reach must be above 0; got {self.reach}.")

    def fit(self, given: Given) -> Fitted:
        columns: list[dict[str, Any]] = []
        tensors: dict[str, Tensor] = {}
        for name, column in given.documents.payload.items():
            values = np.asarray(column[:])
            if values.ndim != 1:
                raise ValueError(
                    f"Columns needs one value per row; {name!r} has shape {values.shape}. "
                    "For images and arrays, use Pixels."
                )
            if fitted := self._fit_column(name, values, tensors):
                columns.append(fitted)
        if not columns:
            raise ValueError(
                "Columns finds nothing that differs from row to row in the training part: "
                f"{sorted(given.documents.payload)}. Give it other columns, or more rows."
            )
        return Fitted(tensors, {"reach": self.reach, "columns": columns})

    def apply(self, documents: Documents, given: Given) -> Documents:
        encode = ColumnsEncoder(dict(given.fitted.values), dict(given.fitted.tensors))
        rows = {name: np.asarray(documents.payload[name][:]).tolist() for name in encode.names}
        return Documents({"input": encode(rows).numpy()}, documents.attributes)

    def _fit_column(
        self, name: str, values: Array, tensors: dict[str, Tensor]
    ) -> dict[str, Any] | None:
        if values.dtype.kind == "M":
            return _fit_dates(name, values.astype("<M8[us]"))
        if values.dtype.kind not in "fiub":
            known = [v for v in values.tolist() if v is not None]
            if not known or not all(isinstance(v, bool) for v in known):
                return self._fit_categories(name, values.tolist())
        return self._fit_numbers(name, ColumnsEncoder.as_numbers(values.tolist()), tensors)

    def _fit_numbers(
        self, name: str, numbers: Tensor, tensors: dict[str, Tensor]
    ) -> dict[str, Any] | None:
        known = numbers[numbers.isfinite()]
        missing = len(known) < len(numbers)
        if not len(known) or (not missing and bool((known == known[0]).all())):
            return None
        fill = float(known.median()) if self.missing == "median" else _moments(known)[0]
        filled = torch.where(numbers.isfinite(), numbers, torch.tensor(fill, dtype=torch.float64))
        mean, deviation = _moments(filled)
        column: dict[str, Any] = {"name": name, "kind": "number", "fill": fill, "missing": missing}
        if self.numbers == "quantile" and deviation > 0:
            tensors[f"{name}.knots"], tensors[f"{name}.levels"] = _quantiles(filled)
            return {**column, "scale": "quantile"}
        return {**column, "scale": "standard", "mean": mean, "deviation": deviation}

    def _fit_categories(self, name: str, values: list[Any]) -> dict[str, Any] | None:
        counts = Counter(ColumnsEncoder.as_word(v) for v in values)
        missing = counts.pop(None, 0) > 0
        kept = [w for w, n in counts.items() if w is not None and n >= self.rare]
        kept = sorted(kept, key=lambda w: (-counts[w], w))[: self.most]
        other = len(kept) < len(counts)
        if len(kept) + missing + other < 2:
            return None
        return {
            "name": name, "kind": "category", "levels": sorted(kept), "other": other,
            "missing": missing,
        }  # fmt: skip


def _fit_dates(name: str, instants: Array) -> dict[str, Any] | None:
    missing = bool(np.isnat(instants).any())
    known = [ColumnsEncoder.as_instant(v) for v in instants[~np.isnat(instants)].tolist()]
    seconds = torch.tensor([s for s in known if s is not None], dtype=torch.float64)
    if not len(seconds) or (not missing and bool((seconds == seconds[0]).all())):
        return None
    span = float(seconds.max() - seconds.min())
    mean, deviation = _moments(seconds)
    cycles = [
        cycle
        for cycle, reached in (
            ("year", span >= 90 * DAY),
            ("week", span >= 2 * DAY),
            ("day", bool((seconds % DAY != seconds[0] % DAY).any())),
        )
        if reached
    ]
    return {
        "name": name, "kind": "date", "mean": mean, "deviation": deviation, "cycles": cycles,
        "missing": missing,
    }  # fmt: skip


def _moments(numbers: Tensor) -> tuple[float, float]:
    """Mean and deviation in float64, safe from overflow; a deviation of 0 where it is no number."""
    size = float(numbers.abs().max())
    if size == 0.0:
        return 0.0, 0.0
    scaled = (numbers / size).tolist()
    mean = math.fsum(scaled) / len(scaled)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in scaled) / len(scaled)) * size
    usable = math.isfinite(deviation) and deviation > 1e-300
    return mean * size, deviation if usable and deviation > 1e-12 * abs(mean * size) else 0.0


def _quantiles(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Knots in order, and the level of each: the mean rank, uniform with variance 1."""
    ordered = numbers.sort().values
    places = torch.linspace(0, len(ordered) - 1, min(KNOTS, len(ordered)), dtype=torch.float64)
    knots = ordered[places.round().long()].unique()
    low = torch.searchsorted(ordered, knots, right=False)
    high = torch.searchsorted(ordered, knots, right=True)
    rank = (low + high - 1).to(torch.float64) / 2 / max(len(ordered) - 1, 1)
    return knots, (2 * rank - 1) * math.sqrt(3.0)


class ColumnsEncoder:
    """Rows of a table as float32 [N F], by what was learned from the training part.

    ``rows`` maps each name to its cells, as values or as strings out of a file. A row gives the
    same numbers alone as among others.
    """

    words_for_missing = (
        "", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "Null", "null",
        "None", "none",
    )  # fmt: skip

    def __init__(self, values: dict, tensors: dict) -> None:
        self.values = values
        self.tensors = tensors
        self.names = [column["name"] for column in values["columns"]]

    def __call__(self, rows: dict) -> Tensor:
        parts = []
        for column in self.values["columns"]:
            cells = list(rows[column["name"]])
            if column["kind"] == "category":
                parts.append(self.category(column, cells))
            elif column["kind"] == "date":
                parts.append(self.date(column, cells))
            else:
                parts.append(self.number(column, cells))
        return torch.cat(parts, 1)

    def number(self, column: dict, cells: list) -> Tensor:
        x = self.as_numbers(cells)
        missing = ~x.isfinite()
        x = torch.where(missing, torch.tensor(column["fill"], dtype=torch.float64), x)
        if column["scale"] == "quantile":
            x = self.quantile(x, column["name"])
        else:
            x = self.standard(x, column)
        return self.joined([x], missing, column)

    def standard(self, x: Tensor, column: dict) -> Tensor:
        reach = self.values["reach"]
        if column["deviation"] == 0.0:
            return torch.zeros_like(x)
        return ((x - column["mean"]) / column["deviation"]).clamp(-reach, reach)

    def quantile(self, x: Tensor, name: str) -> Tensor:
        knots, levels = self.tensors[name + ".knots"], self.tensors[name + ".levels"]
        x = torch.minimum(torch.maximum(x, knots[0]), knots[-1])
        right = torch.searchsorted(knots, x).clamp(1, len(knots) - 1)
        low, high = knots[right - 1], knots[right]
        gap = high / 2 - low / 2  # halves, so that it is finite
        share = torch.where(gap > 0, (x / 2 - low / 2) / gap, torch.zeros_like(x))
        return levels[right - 1] + share * (levels[right] - levels[right - 1])

    def date(self, column: dict, cells: list) -> Tensor:
        seconds = [self.as_instant(cell) for cell in cells]
        known = [column["mean"] if s is None else s for s in seconds]
        missing = torch.tensor([s is None for s in seconds], dtype=torch.bool)
        parts = [self.standard(torch.tensor(known, dtype=torch.float64), column)]
        for cycle in column["cycles"]:
            period = {"year": 365.2425, "week": 7.0, "day": 1.0}[cycle] * 86400.0
            angles = [2 * math.pi * ((s % period) / period) for s in known]
            for turn in (math.sin, math.cos):
                wave = torch.tensor([turn(angle) for angle in angles], dtype=torch.float64)
                parts.append(torch.where(missing, torch.zeros_like(wave), wave))
        return self.joined(parts, missing, column)

    def joined(self, parts: list, missing: Tensor, column: dict) -> Tensor:
        if column["missing"]:
            parts = [*parts, missing.to(torch.float64)]
        return torch.stack(parts, 1).to(torch.float32)

    def category(self, column: dict, cells: list) -> Tensor:
        levels = column["levels"]
        place = {word: i for i, word in enumerate(levels)}
        width = len(levels)
        other = width if column["other"] else -1
        width += column["other"]
        place[None] = width if column["missing"] else other
        width += column["missing"]
        words = {cell: self.as_word(cell) for cell in set(cells)}
        where = torch.tensor([place.get(words[cell], other) for cell in cells], dtype=torch.long)
        made = torch.zeros(len(cells), width + 1, dtype=torch.float32)
        made[torch.arange(len(cells)), where] = 1.0
        return made[:, :width]

    @classmethod
    def as_numbers(cls, cells: list) -> Tensor:
        numbers = [cell if type(cell) is float else cls.as_number(cell) for cell in cells]
        return torch.tensor(numbers, dtype=torch.float64)

    @classmethod
    def as_number(cls, cell: object) -> float:
        """A cell as a number; NaN where it is missing or no number."""
        if isinstance(cell, (bool, int, float)):
            return float(cell) if abs(cell) < 2**1023 else math.nan
        text = "" if cell is None else str(cell).strip()
        if text.lower() in ("true", "false"):
            return float(text.lower() == "true")
        for written in (text, text.replace(",", ".")):
            try:
                return float(written)
            except ValueError:
                continue
        return math.nan

    @classmethod
    def as_word(cls, cell: object) -> str | None:
        """A cell as the name of a category; None where it is missing."""
        if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
            return None
        if isinstance(cell, float) and cell.is_integer():
            return str(int(cell))
        text = str(cell).strip()
        return None if text in cls.words_for_missing else text

    @classmethod
    def as_instant(cls, cell: object) -> float | None:
        """A cell as seconds since 1970 in UTC; None where it is missing or no date."""
        if not isinstance(cell, datetime.date):
            try:
                cell = datetime.datetime.fromisoformat(str(cell).strip())
            except ValueError:
                return None
        if not isinstance(cell, datetime.datetime):
            cell = datetime.datetime(cell.year, cell.month, cell.day)
        if cell.tzinfo is None:
            cell = cell.replace(tzinfo=datetime.UTC)
        return (cell - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()
