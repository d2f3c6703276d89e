"""One model out of several that were saved: a merger on the validation part of their data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vitruvius.contracts import (
    Batch,
    Candidate,
    Given,
    Lineage,
    Measurement,
    Merged,
    Merger,
    Metric,
    Model,
    State,
    Tensors,
)
from vitruvius.pipeline.judging import judge
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.pipeline import stages_of
from vitruvius.pipeline.retrieval import Index
from vitruvius.pipeline.saving import load_model
from vitruvius.space import Node
from vitruvius.train.candidates import answers_of, put, restate, tensors_of
from vitruvius.train.encoding import encode
from vitruvius.train.feeding import Feed
from vitruvius.train.reading import text_feed

ITEMS = 64  # of a batch that a learned soup learns from, or statistics are taken from


@dataclass(frozen=True)
class Member:
    """A model in a folder, with its score on the validation part."""

    folder: Path
    design: Node
    score: float
    lineage: Lineage


@dataclass(frozen=True, eq=False)
class Souped:
    """What became of the members."""

    state: State
    """With the model in it, and an index of its own where the members have one."""
    merged: Merged
    score: Measurement
    """On the validation part, which it was chosen on: it flatters."""


def soup(
    merger: Merger,
    members: Sequence[Member],
    state: State,
    metric: Metric,
    lab: LocalLab,
    allow: tuple[str, ...] = ("vitruvius",),
    check: Callable[[], None] = lambda: None,
) -> Souped:
    """The model that a merger makes of saved ones, and how it does on the validation part.

    ``state`` is that of the pipeline's first stage: its data. ``check`` is called before each look
    at the validation part, and may raise Stopped. Models are read one at a time.
    """
    task = state.task
    if task is None:
        raise ValueError("Only models of a task can be merged: begin the pipeline with a loader.")

    def read(member: Member) -> Model:
        return load_model(member.folder, member.design, lab.device, allow).model

    at_hand = load_model(members[0].folder, members[0].design, lab.device, allow)
    model, held = at_hand.model, state.splits["validation"].documents
    here = replace(state, model=model, index=at_hand.index)

    def measured(tensors: Tensors) -> Measurement:
        check()
        put(model, tensors)
        restate(model, batches("train"))
        return judge(here, held, metric, lab.device, lab.precision)

    def batches(part: str = "validation") -> Iterator[Batch]:
        documents = state.splits[part].documents
        if model.tokenizer is not None:
            feed = text_feed(model, documents, lab.device)
        else:
            feed = Feed.of(encode(model.prepared, documents), lab.device)
        for rows in torch.arange(len(documents)).split(ITEMS):
            check()
            yield feed.batch(rows)

    better = metric.better
    candidates = [
        Candidate(
            lambda member=member: tensors_of(read(member)),
            Measurement(metric.name, member.score, better),
            member.lineage,
        )
        for member in members
    ]
    given = Given(rng=lab.generator("soup"), task=task, judge=measured, batches=batches)
    if "answers" in merger.needs:
        given = given.but(answers=answers_of(read(members[0]), task))
    merged = merger.merge(candidates, given)
    score = measured(merged.tensors)
    done = replace(here, index=None)
    for stage in stages_of(members[0].design):
        if isinstance(stage, Index):
            done = stage.run({"before": done}, lab)
    return Souped(done, merged, score)
