"""The name of a state by what it holds, and the documents in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitruvius.contracts import Documents, Split, State
from vitruvius.pipeline.writer import Writer
from vitruvius.space import Node


def state_digest(state: State) -> str:
    """sha256 of what a state holds, whatever name it bears: for states that come from outside.

    Raises Unstorable where it holds an object that only its process knows.
    """
    made: list[str] = []

    def keep(suffix: str, write: Callable[[Path], None]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"held{suffix}"
            write(path)
            with path.open("rb") as opened:
                made.append(hashlib.file_digest(opened, "sha256").hexdigest())
        return made[-1]

    measured = tuple((m.name, m.value) for m in state.measurements)
    held = dataclasses.replace(state, measurements=(), digest="")
    written = Writer(keep, documents_in(state), None).write((held, measured))
    return hashlib.sha256(json.dumps(written).encode()).hexdigest()


def documents_in(value: Any) -> dict[str, Documents]:
    """All documents of a state or record, sealed ones too, by digest."""
    found: dict[str, Documents] = {}
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Documents):
            found[one.digest] = one
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, (tuple, list)):
            waiting.extend(one)
        elif isinstance(one, Split) or (
            dataclasses.is_dataclass(one) and not isinstance(one, Node)
        ):
            waiting.extend(vars(one).values())
    return found
