"""A metric or probe of a state's model on documents, whatever it reads and is asked."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vitruvius.contracts import (
    Batch,
    Documents,
    Given,
    Measurement,
    Metric,
    Predictions,
    Probe,
    State,
    Subject,
)
from vitruvius.pipeline.retrieval import rank
from vitruvius.train.feeding import Feed
from vitruvius.train.likelihood import surprises
from vitruvius.train.predicting import BATCH, predict, slots
from vitruvius.train.reading import feed_of


def judge(
    state: State,
    documents: Documents,
    metric: Metric | Probe,
    device: torch.device,
    precision: torch.dtype,
) -> Measurement:
    """What the metric gives to the model's answers to these documents; the probe to the model."""
    if isinstance(metric, Probe):
        return look(state, documents, metric, device)
    return metric.measure(answers(state, documents, device, precision))


def look(state: State, documents: Documents, probe: Probe, device: torch.device) -> Measurement:
    """What a probe finds in the model, without a head for an answer and in full precision."""
    model = state.model
    if model is None or not model.bodies:
        raise ValueError(
            f"{type(probe).__name__} looks at a model, and there is none: pretrain or train one "
            "before it."
        )
    seen = probe.sample(documents)

    def batches() -> Iterator[Batch]:
        feed = feed_of(model, seen, device)
        if isinstance(feed, Feed):
            yield from feed.ordered(BATCH)
        else:
            yield from map(feed.batch, feed.cut_by_tokens(slots(device, feed.capacity)))

    given = Given(rng=torch.Generator().manual_seed(0), documents=seen, batches=batches)
    return probe.measure(Subject((model,), (seen,)), given)


def answers(
    state: State, documents: Documents, device: torch.device, precision: torch.dtype
) -> Predictions:
    """Of sets the scores of all answers to each query; of unlabelled texts their nats."""
    model, task = state.model, state.task
    if model is None or task is None:
        raise ValueError("Only a state with a model and a task can be evaluated.")
    if task.level == "set":
        retriever = None if state.index is None else state.index.retriever
        return rank(model, documents, retriever, device=device, precision=precision)
    if task.level == "generation":
        return surprises(model, documents, device, precision)
    return predict(model, feed_of(model, documents, device), task, precision)
