"""Data as it was opened: the items, what is asked of them, and how to read more of the kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vitruvius.contracts import Array, Documents, Json, Task

Medium = Literal["table", "image", "array", "text"]

PARTS = ("train", "validation", "test")
"""The attribute "split" holds positions in this, where the data says which part a row is of."""

PART_NAMES: Mapping[str, int] = {
    "train": 0, "training": 0,
    "validation": 1, "valid": 1, "val": 1, "dev": 1, "development": 1,
    "test": 2, "testing": 2, "holdout": 2,
}  # fmt: skip


def part_of(name: str) -> int | None:
    """Position in PARTS of the one part that a name speaks of: 0 for "cite_train.jsonl.gz"."""
    found = {PART_NAMES[word] for word in re.split(r"[\W_]+", name.lower()) if word in PART_NAMES}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True, eq=False)
class Loaded:
    """Labelled items with their task. The answer is the attribute "label"."""

    documents: Documents
    task: Task
    source: str
    medium: Medium
    notes: tuple[str, ...] = ()
    """What was decided or found while reading that a person should know."""
    facts: Json = field(default_factory=dict)
    """What new data of the same kind must look like: see ``description``."""


def description(loaded: Loaded) -> dict[str, Any]:
    """JSON from which ``read_inputs`` reads new data as these were: it travels with a model."""
    return {
        "medium": loaded.medium,
        "task": "retrieval"
        if loaded.task.level == "set"
        else "classification"
        if loaded.task.labels
        else "regression",
        "name": loaded.task.name,
        "classes": list(loaded.task.labels),
        **loaded.facts,
    }


def attributes(label: Array, **others: Array | None) -> dict[str, Array]:
    """The label, and what else is known of the rows."""
    return {"label": label, **{n: v for n, v in others.items() if v is not None}}
