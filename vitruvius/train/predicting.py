"""Predictions of a model, and their measure."""

from __future__ import annotations

import torch
from torch import nn

from vitruvius.contracts import Measurement, Metric, Model, Predictions, Task
from vitruvius.train.building import network_of
from vitruvius.train.feeding import Feed

BATCH = 512


def predict(model: Model, feed: Feed, task: Task, precision: torch.dtype) -> Predictions:
    """Probabilities [N C] of classes, or values [N], on the CPU, in the order of the items."""
    network = network_of(model)
    was_training = network.training
    network.eval()
    device = feed.device
    found = []
    with torch.inference_mode(), torch.autocast(device.type, precision, precision != torch.float32):
        for batch in feed.ordered(BATCH):
            answer = network(batch.streams["input"]).float()
            found.append(nn.functional.softmax(answer, dim=-1) if task.labels else answer)
    network.train(was_training)
    values = torch.cat(found).cpu()
    targets = None if feed.label is None else feed.label.cpu()
    return Predictions(values, targets, torch.arange(len(values)))


def measure(
    model: Model, feed: Feed, task: Task, metric: Metric, precision: torch.dtype
) -> Measurement:
    """The metric of a model's predictions."""
    return metric.measure(predict(model, feed, task, precision))
