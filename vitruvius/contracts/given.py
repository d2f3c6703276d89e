"""What a technique may ask for: all that it needs and may not import."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vitruvius.contracts.batches import Batch, Batches, Tensors, absent
from vitruvius.contracts.documents import Documents
from vitruvius.contracts.records import (
    Codec,
    Facts,
    Fitted,
    Index,
    Measurement,
    Meter,
    Model,
    Task,
)

if TYPE_CHECKING:
    from vitruvius.contracts.adapters import Adapted
    from vitruvius.contracts.stages import Lab


@dataclass(frozen=True, eq=False, kw_only=True)
class Given:
    """What a technique may ask for and may not import.

    Each technique names what it reads in ``needs``; that is checked before any compute. What was
    not given raises when it is read.
    """

    rng: torch.Generator = field(default_factory=absent)
    """In training seeded anew for each step, from the stage and the step alone."""
    task: Task = field(default_factory=absent)
    documents: Documents = field(default_factory=absent)
    target: Documents = field(default_factory=absent)
    """Of the domain that is aimed at, where ``documents`` are of another."""
    batches: Batches = field(default_factory=absent)
    """Of the documents, all once; to a merger those that ``judge`` measures on."""
    facts: Facts = field(default_factory=absent)
    meter: Meter = field(default_factory=absent)
    models: Mapping[str, Model] = field(default_factory=absent)
    """ "teacher", "base", "parent", "control", "ladder.0", ...; their abilities in ``scores``."""
    scores: Mapping[str, Measurement] = field(default_factory=absent)
    """Of ``models``, under the same names."""
    adapted: Adapted = field(default_factory=absent)
    """The edits of the model at hand."""
    index: Index = field(default_factory=absent)
    judge: Callable[[Tensors], Measurement] = field(default_factory=absent)
    """Validation score of the model at hand with these tensors in it."""
    answers: Callable[[Tensors, Batch], Tensor] = field(default_factory=absent)
    """Logits or values of the model at hand, in evaluation, with these tensors in it; their
    gradient reaches the tensors."""
    fitted: Fitted = field(default_factory=absent)
    """What the technique's own ``fit`` returned."""
    tokenizer: Codec = field(default_factory=absent)
    """Of the model at hand: its vocabulary and special ids."""
    lab: Lab = field(default_factory=absent)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if self.__dict__[f.name] is absent:
                object.__delattr__(self, f.name)

    def but(self, **parts: Any) -> Given:
        """With some parts added or replaced."""
        return Given(**{**self.__dict__, **parts})

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in {f.name for f in dataclasses.fields(self)}:
                raise AttributeError(
                    f"Nothing was given as {name!r}; there is {sorted(self.__dict__)}. "
                    f"A technique that reads it names {name!r} in its needs."
                )
            raise AttributeError(f"Given has no {name!r}.")
