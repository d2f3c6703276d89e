"""Images and arrays as scaled numbers.

Source: LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp", section 4.3 (inputs with mean 0 and
variance 1).
Differs from the paper: no decorrelation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from vitruvius.contracts import Column, Documents, Encoder, Fitted, Given
from vitruvius.space import hyper, one_of

ITEMS_AT_ONCE = 256


@dataclass(frozen=True)
class Pixels(Encoder):
    """(x - mean) / deviation with those of the training part: float32, of the shape of the items.

    ``each`` says over what they are taken: every channel (the axis after the items', so every
    feature of [N F]) or every single place. What does not vary becomes 0.
    """

    each: str = hyper("channel", one_of("channel", "place"), "what has a mean of its own")

    needs: ClassVar[tuple[str, ...]] = ("documents",)

    def check(self) -> None:
        if self.each not in ("channel", "place"):
            raise ValueError(f"Pixels.each is channel or place; got {self.each!r}.")

    def fit(self, given: Given) -> Fitted:
        name = _column(given.documents)
        items = given.documents.payload[name]
        if not len(items):
            raise ValueError("Pixels needs at least one item in the training part; got none.")
        axes = [0]
        if self.each == "channel":
            axes = [i for i in range(np.ndim(items[0]) + 1) if i != 1]
        mean = _mean(items, axes, None)
        deviation = _mean(items, axes, mean).sqrt()
        return Fitted({"mean": mean, "deviation": deviation}, {"column": name})

    def apply(self, documents: Documents, given: Given) -> Documents:
        encode = PixelsEncoder(dict(given.fitted.values), dict(given.fitted.tensors))
        items = documents.payload[encode.column]
        made = [encode({encode.column: part}) for part in _chunks(items)]
        shape = tuple(encode.tensors["mean"].shape[1:])
        values = torch.cat(made).numpy() if made else np.zeros((0, *shape), np.float32)
        return Documents({"input": values}, documents.attributes)


def _column(documents: Documents) -> str:
    names = list(documents.payload)
    if len(names) != 1 or np.ndim(documents.payload[names[0]][:1]) < 2:
        raise ValueError(
            f"Pixels needs one column of images or arrays; got {names[:5]}. "
            "For tables, use Columns."
        )
    return names[0]


def _chunks(items: Column) -> Iterator[Tensor]:
    for start in range(0, len(items), ITEMS_AT_ONCE):
        rows = np.arange(start, min(start + ITEMS_AT_ONCE, len(items)))
        yield torch.from_numpy(np.ascontiguousarray(items[rows]))


def _mean(items: Column, axes: list[int], around: Tensor | None) -> Tensor:
    """Mean over axes, or mean square around a mean, in float64; [1 C 1 1] or [1 C H W]."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for part in _chunks(items):
        x = part.to(torch.float64)
        x = x if around is None else (x - around).square()
        total = total + x.sum(axes, keepdim=True)
        count += x.numel()
    return total / (count / total.numel())


class PixelsEncoder:
    """Images or arrays as float32, by what was learned from the training part.

    An item gives the same numbers alone as among others.
    """

    def __init__(self, values: dict, tensors: dict) -> None:
        self.column = values["column"]
        self.tensors = tensors

    def __call__(self, rows: dict) -> Tensor:
        x = torch.as_tensor(rows[self.column]).to(torch.float64)
        mean, deviation = self.tensors["mean"], self.tensors["deviation"]
        varies = deviation > 1e-12 * mean.abs().clamp(min=1e-12)
        scaled = (x - mean) / torch.where(varies, deviation, torch.ones_like(deviation))
        return torch.where(varies, scaled, torch.zeros_like(scaled)).to(torch.float32)
