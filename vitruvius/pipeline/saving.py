"""A trained model in a folder, and back: safetensors and JSON, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Fitted, Lineage, Model, Prepared, State, Task
from vitruvius.pipeline.load import INPUTS
from vitruvius.pipeline.pipeline import stages_of
from vitruvius.pipeline.training import Train, encode
from vitruvius.space import Node, from_json, to_json
from vitruvius.train.building import network_of, outline
from vitruvius.train.checkpoint import CheckpointError, digest_of, load_tensors, save_tensors
from vitruvius.train.feeding import Feed
from vitruvius.train.meter import FlopMeter

WEIGHTS = "model.safetensors"
DESIGN = "design.json"


def save_state(folder: Path, design: Node, state: State) -> str:
    """Write model and design of a finished pipeline. Returns the sha256 of the weights."""
    model = state.model
    if model is None or state.task is None:
        raise ValueError("Only a state with a model and a task can be saved.")
    weights = network_of(model).state_dict()
    tensors = {f"network.{name}": tensor for name, tensor in weights.items()}
    for i, part in enumerate(model.prepared):
        tensors |= {f"prepared.{i}.{n}": t for n, t in part.fitted.tensors.items()}
    digest = digest_of(weights)
    first = state.splits["train"].documents.take(torch.zeros(1, dtype=torch.int64).numpy())
    values = {
        "digest": digest,
        "shape": Feed.of(encode(model.prepared, first), torch.device("cpu")).shape,
        "prepared": [
            {"encoder": to_json(part.encoder), "values": part.fitted.values}
            for part in model.prepared
        ],
        "lineage": asdict(model.lineage),
        "task": {"name": state.task.name, "level": state.task.level, "labels": state.task.labels},
        "inputs": dict(state.fitted[INPUTS].values) if INPUTS in state.fitted else None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / WEIGHTS, {n: t.clone() for n, t in tensors.items()}, values)
    (folder / DESIGN).write_text(json.dumps(to_json(design), indent=1) + "\n")
    return digest


def load_model(
    folder: Path, design: Node, device: torch.device, allow: tuple[str, ...] = ("vitruvius",)
) -> tuple[Model, Task, tuple[int, ...]]:
    """Model, task and the shape of one encoded item. Raises CheckpointError where damaged."""
    path = folder / WEIGHTS
    tensors, values = load_tensors(path)
    weights = _under("network.", tensors)
    if digest_of(weights) != values.get("digest"):
        raise CheckpointError(f"{path}: the weights are not those that were saved.")
    prepared = tuple(
        Prepared(
            from_json(part["encoder"], allow),
            Fitted(_under(f"prepared.{i}.", tensors), part["values"]),
        )
        for i, part in enumerate(values["prepared"])
    )
    shape = tuple(values["shape"])
    written = values["task"]
    task = Task(written["name"], written["level"], tuple(written["labels"]))
    stage = trained_by(design)
    network = outline(stage.model, stage.head, shape, task, FlopMeter()).network
    network = network.to_empty(device=device)
    network.load_state_dict(weights)
    network.eval()
    lineage = values["lineage"]
    return (
        Model(
            bodies={"input": network.body},
            heads={"task": network.head},
            lineage=replace(
                Lineage(**{**lineage, "data": (), "stages": ()}),
                data=tuple(lineage["data"]),
                stages=tuple(lineage["stages"]),
            ),
            prepared=prepared,
        ),
        task,
        shape,
    )


def trained_by(design: Node) -> Train:
    """The stage that made a design's model: the last that trains."""
    for stage in reversed(stages_of(design)):
        if isinstance(stage, Train):
            return stage
    raise ValueError("This design has no Train stage, so there is no network to rebuild.")


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
