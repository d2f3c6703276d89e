"""The chosen design trained anew on all that has labels, once nothing is left to be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vitruvius.contracts import Documents, Lab, Split, Stage, State
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.pipeline.training import Train
from vitruvius.space import Node


@dataclass(frozen=True)
class WithValidation(Stage):
    """The validation part joins the training part, and stays what epochs are judged by.

    So the stage after it keeps about its last epoch, and what it measures on validation says
    nothing: it has learned those items.
    """

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        before = inputs["before"]
        train, held = before.splits["train"], before.splits["validation"]
        both = Split(stacked(train.documents, held.documents), targets=train.targets)
        return replace(before, splits={**before.splits, "train": both}, digest="")


def refitted(design: Node) -> Pipeline | None:
    """The design with the validation part among what its last training on labels learns from; None
    where it has no such stage. What comes before that stage is as it was, stored states too."""
    stages = list(stages_of(design))
    places = [i for i, stage in enumerate(stages) if isinstance(stage, (Adapt, Train))]
    if not places:
        return None
    return Pipeline(*stages[: places[-1]], WithValidation(), *stages[places[-1] :])


def stacked(one: Documents, other: Documents) -> Documents:
    """The items of both, in order; columns that one of them lacks are left out. Labels of tokens
    are filled with 0 to one length."""
    payload = {
        name: _under(one.payload[name], other.payload[name])
        for name in one.payload
        if name in other.payload
    }
    attributes = {
        name: _under(one.attributes[name], other.attributes[name])
        for name in one.attributes
        if name in other.attributes
    }
    return Documents(payload, attributes)


def _under(one: Any, other: Any) -> Any:
    arrays = [np.asarray(column[:]) for column in (one, other)]
    if arrays[0].ndim == arrays[1].ndim == 2 and arrays[0].shape[1] != arrays[1].shape[1]:
        most = max(a.shape[1] for a in arrays)
        arrays = [np.pad(a, ((0, 0), (0, most - a.shape[1]))) for a in arrays]
    return np.concatenate(arrays)
