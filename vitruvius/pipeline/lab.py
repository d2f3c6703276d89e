"""The lab: what surrounds a running stage on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vitruvius.contracts import (
    Found,
    Lab,
    Limits,
    Measurement,
    Metric,
    Progress,
    Stage,
    State,
)
from vitruvius.pipeline.keys import Setting, stage_key
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.pipeline.training import encode
from vitruvius.space import Node
from vitruvius.train.feeding import Feed
from vitruvius.train.meter import FlopMeter
from vitruvius.train.predicting import measure

Listener = Callable[[Progress, Sequence[Measurement]], None]
Inner = Callable[[Lab, Node, Mapping[str, State], Node, int], Found]


def _silent(now: Progress, measured: Sequence[Measurement]) -> None:
    """Hears nothing."""


@dataclass(frozen=True, eq=False)
class LocalLab:
    """Runs stages in this process. ``listen`` hears each report and may raise Stopped.

    ``key`` is that of the stage at hand: its seeds follow from it, so that nothing carries over
    from what ran before.
    """

    setting: Setting
    folder: Path | None = None
    limits: Limits = field(default_factory=Limits)
    meter: FlopMeter = field(default_factory=FlopMeter)
    listen: Listener = _silent
    inner: Inner | None = None
    key: str = ""
    depth: int = 0

    @property
    def device(self) -> torch.device:
        return self.setting.device

    @property
    def precision(self) -> torch.dtype:
        return self.setting.precision

    @property
    def seed(self) -> int:
        return self._number("seed")

    def generator(self, name: str) -> torch.Generator:
        """On the CPU, seeded by the stage's key and this name alone."""
        return torch.Generator().manual_seed(self._number(name))

    def _number(self, name: str) -> int:
        made = hashlib.sha256(f"{self.key} {name}".encode()).digest()
        return int.from_bytes(made[:8], "little") % 2**63

    def report(self, now: Progress, measured: Sequence[Measurement] = ()) -> None:
        self.listen(now, measured if self.depth == 0 else ())

    def run(self, pipeline: Node, inputs: Mapping[str, State]) -> State:
        """The state after the last stage; a field that holds a pipeline is run first."""
        state = inputs.get("before")
        for stage in stages_of(pipeline):
            roles = {role: made for role, made in inputs.items() if role != "before"}
            for name, inner in inner_pipelines(stage):
                roles[name] = replace(self, depth=self.depth + 1).run(inner, {})
            if state is not None:
                roles["before"] = state
            key = stage_key(
                stage, {role: made.digest for role, made in roles.items()}, self.setting
            )
            state = stage.run(roles, replace(self, key=key))
            state = replace(state, digest=key)
        if state is None:
            raise ValueError("A pipeline needs at least one stage.")
        return state

    def evaluate(self, state: State, metric: Metric, split: str = "validation") -> Measurement:
        """A metric of the state's model on a split that may be read."""
        if state.model is None or state.task is None:
            raise ValueError("Only a state with a model and a task can be evaluated.")
        part = state.splits[split]
        feed = Feed.of(encode(state.model.prepared, part.documents), self.device)
        return measure(state.model, feed, state.task, metric, self.precision)

    def study(self, space: Node, inputs: Mapping[str, State], searcher: Node, trials: int) -> Found:
        """The best design of a space under this stage, by a study of its own."""
        if self.inner is None:
            raise ValueError("This lab runs no studies: it was made without a study around it.")
        return self.inner(replace(self, depth=self.depth + 1), space, inputs, searcher, trials)


def inner_pipelines(stage: Stage) -> list[tuple[str, Pipeline]]:
    """Fields of a stage that hold a pipeline, by name."""
    return [(n, v) for n, v in vars(stage).items() if isinstance(v, Pipeline)]
