"""A pipeline cut short: one of its stages stands still at a rung."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vitruvius.contracts import Stage
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.space import Node, to_json
from vitruvius.space.serial import resolve


def cut(pipeline: Node, share: float, stage: str | None = None) -> Node | None:
    """The pipeline up to a share of its horizon; None where it can only run whole.

    Of its stages the last one that has a rung there is cut, or of those of the class ``stage``. All
    others stay: what comes after it sees the state at the rung. ``until`` is not in a key, so that
    what runs at a larger share continues.
    """
    if not 0 < share <= 1:
        raise ValueError(f"A share of the horizon must be above 0 and at most 1; got {share}.")
    if share == 1:
        return None
    stages = list(stages_of(pipeline))
    for i in range(len(stages) - 1, -1, -1):
        if stage is not None and type(stages[i]).__name__ != stage:
            continue
        shorter = stages[i].up_to(share)
        if shorter is not None:
            stages[i] = shorter
            return shorter if isinstance(pipeline, Stage) else Pipeline(*stages)
    return None


def cuttable(space: Any, allow: tuple[str, ...]) -> list[str]:
    """Names of the stages in a space that have rungs, whichever of them a design takes."""
    classes = {resolve(name, allow) for name in _nodes(to_json(space))}
    found = (cls for cls in classes if issubclass(cls, Stage) and cls.up_to is not Stage.up_to)
    return sorted(cls.__name__ for cls in found)


def _nodes(written: Any) -> Iterator[str]:
    """Names of the classes in the JSON of a space."""
    if isinstance(written, dict):
        if "node" in written:
            yield written["node"]
        for inner in written.values():
            yield from _nodes(inner)
    elif isinstance(written, list):
        for inner in written:
            yield from _nodes(inner)
