"""Finished runs without a training: networks whose every tensor is random, saved as a trial is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from vitruvius.contracts import Documents, Given, Model, State
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.saving import save_state, trained_by
from vitruvius.pipeline.training import default_encoder, encode, prepare
from vitruvius.train.building import network_of, outline, realise
from vitruvius.train.feeding import Feed
from vitruvius.train.meter import FlopMeter
from vitruvius.train.predicting import predict

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Run:
    """A saved model, and what it was made from."""

    folder: Path
    design: Pipeline
    model: Model
    state: State

    def answers(self, documents: Documents) -> torch.Tensor:
        """What the model says of items in this process."""
        assert self.state.task is not None
        feed = Feed.of(encode(self.model.prepared, documents), CPU)
        return predict(self.model, feed, self.state.task, torch.float32).values


def untrained(design: Pipeline, folder: Path, seed: int = 0, state: State | None = None) -> Run:
    """Build a design for its data (``state`` if they are loaded) and save it with random tensors.

    Statistics of normalisations are random too, so that an export that loses one is seen. Raises
    Infeasible where the network does not fit.
    """
    loaded = state or design.stages[0].look().state  # type: ignore[arg-type]
    stage, task = trained_by(design), loaded.task
    assert task is not None
    seen = loaded.splits["train"].documents
    lab = LocalLab(Setting(seed, CPU, torch.float32, 1), key=str(seed))
    prepared = (prepare(stage.encoder or default_encoder(seen), seen, lab),)
    feed = Feed.of(encode(prepared, seen), CPU)
    found = outline(stage.model, stage.head, feed.shape, task, FlopMeter())
    fitted = stage.head.fit(Given(task=task, documents=seen))
    model = realise(found, CPU, seed, fitted=fitted, prepared=prepared)
    shake(model, feed, seed)
    made = replace(loaded, model=model)
    save_state(folder, design, made)
    return Run(folder, design, model, made)


def shake(model: Model, feed: Feed, seed: int) -> None:
    """Random weights in the body, and statistics of normalisations as these make them.

    Weights have the scale at which signals neither die nor grow (He et al. 2015, arXiv:1502.01852),
    so that answers differ from item to item. Two batches then move the running statistics.
    """
    network = network_of(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for tensor in network.body.parameters():
            noise = torch.randn(tensor.shape)
            if tensor.dim() > 1:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
            else:
                tensor.add_(0.1 * noise)
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momentum = [m.momentum for m in norms]
        for norm in norms:
            norm.momentum = 0.7
        network.train()
        for rows in torch.randperm(len(feed))[:64].chunk(2):
            network(feed.batch(rows).streams["input"])
        network.eval()
        for norm, given in zip(norms, momentum, strict=True):
            norm.momentum = given
