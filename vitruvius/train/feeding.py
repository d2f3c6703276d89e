"""Batches from encoded documents. Small data lies on the device as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vitruvius.contracts import Batch, Documents, Stream

RESIDENT_BYTES = 2**30  # inputs up to this size are kept on the device


@dataclass(frozen=True, eq=False)
class Feed:
    """Items as tensors. ``label`` is None where it is not known."""

    inputs: Tensor
    label: Tensor | None
    device: torch.device

    @classmethod
    def of(cls, documents: Documents, device: torch.device) -> Feed:
        """From the payload "input" (float32 [N, ...]) and the attribute "label"."""
        inputs = torch.from_numpy(np.ascontiguousarray(documents.payload["input"][:], np.float32))
        readable = set(documents.attributes)  # asking for what a phase may not read raises
        found = documents.attributes["label"] if "label" in readable else None
        label = None if found is None else torch.from_numpy(np.ascontiguousarray(found))
        if inputs.nbytes <= RESIDENT_BYTES:
            inputs = inputs.to(device)
            label = None if label is None else label.to(device)
        return cls(inputs, label, device)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one item."""
        return tuple(self.inputs.shape[1:])

    def batch(self, rows: Tensor) -> Batch:
        """The items at these positions."""
        at = rows.to(self.inputs.device)
        inputs = self.inputs[at].to(self.device, non_blocking=True)
        fields = {}
        if self.label is not None:
            fields["label"] = self.label[at].to(self.device, non_blocking=True)
        return Batch({"input": Stream(inputs)}, fields, rows)

    def ordered(self, size: int) -> Iterator[Batch]:
        """All items once, in order."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All items once, in an order drawn from the generator; a rest of one item is left out.

        Batches are of nearly equal size, so that no small one at the end moves the weights more
        than its items are worth.
        """
        order = torch.randperm(len(self), generator=generator)
        for rows in order.tensor_split(math.ceil(len(self) / size)):
            if len(rows) > 1 or len(self) == 1:
                yield self.batch(rows)


def steps_per_epoch(items: int, size: int) -> int:
    """Batches that ``Feed.shuffled`` gives."""
    return math.ceil(items / size)
