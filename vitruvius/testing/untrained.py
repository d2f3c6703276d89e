"""Finished runs without a training: networks whose every tensor is random, saved as a trial is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vitruvius.contracts import Documents, Given, Model, State
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import load
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
    loaded = state or load(design.stages[0])  # type: ignore[arg-type]
    stage, task = trained_by(design), loaded.task
    assert task is not None
    seen = loaded.splits["train"].documents
    lab = LocalLab(Setting(seed, CPU, torch.float32, 1), key=str(seed))
    prepared = (prepare(stage.encoder or default_encoder(seen), seen, lab),)
    feed = Feed.of(encode(prepared, seen), CPU)
    found = outline(stage.model, stage.head, feed.shape, task, FlopMeter())
    fitted = stage.head.fit(Given(task=task, documents=seen))
    model = realise(found, CPU, seed, fitted=fitted, prepared=prepared)
    shake(model, seed)
    made = replace(loaded, model=model)
    save_state(folder, design, made)
    return Run(folder, design, model, made)


def shake(model: Model, seed: int) -> None:
    """Move every weight and running statistic of the body away from where it began."""
    network, generator = network_of(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.body.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.mul_((0.3 * noise).exp())
            else:
                tensor.add_(noise, alpha=0.3 * float(tensor.abs().mean()) or 0.1)
