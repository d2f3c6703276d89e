"""A metric of a state's model on documents, whatever it reads and is asked."""

from __future__ import annotations

import torch

from vitruvius.contracts import Documents, Measurement, Metric, Predictions, State
from vitruvius.pipeline.retrieval import rank
from vitruvius.train.likelihood import surprises
from vitruvius.train.predicting import predict
from vitruvius.train.reading import feed_of


def judge(
    state: State,
    documents: Documents,
    metric: Metric,
    device: torch.device,
    precision: torch.dtype,
) -> Measurement:
    """What the metric gives to the model's answers to these documents."""
    return metric.measure(answers(state, documents, device, precision))


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
