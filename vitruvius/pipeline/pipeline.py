"""A pipeline: stages in a row, one tree, one search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vitruvius.contracts import Stage
from vitruvius.space import Node


@dataclass(frozen=True, init=False)
class Pipeline(Node):
    """Stages in order; each gets the state that the one before it made.

    A pipeline among them stands for its stages: so a choice may be between rows of stages.
    """

    stages: tuple[Stage | Pipeline, ...]
    varargs: ClassVar[str | None] = "stages"

    def __init__(self, *stages: Stage | Pipeline, label: str | None = None) -> None:
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "label", label)
        self.__post_init__()

    def check(self) -> None:
        for stage in self.stages:
            if not isinstance(stage, (Stage, Pipeline)):
                raise ValueError(
                    f"Pipeline holds stages; got {type(stage).__name__}. "
                    "A layer goes into Train(model=...)."
                )


def stages_of(node: Node) -> Sequence[Stage]:
    """The stages of a pipeline, those of pipelines in it in their place; or the one stage."""
    if isinstance(node, Pipeline):
        return tuple(stage for part in node.stages for stage in stages_of(part))
    if isinstance(node, Stage):
        return (node,)
    raise TypeError(f"Only a Pipeline or a Stage can be run; got {type(node).__name__}.")
