"""A trained model in a folder, and back: safetensors and JSON, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Fitted, Head, Index, Layer, Lineage, Model, Prepared, State, Task
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.loader import INPUTS
from vitruvius.pipeline.pipeline import stages_of
from vitruvius.pipeline.pretraining_items import PretrainItems
from vitruvius.pipeline.reader import Reader
from vitruvius.pipeline.training import Train, encode, weights_digest
from vitruvius.pipeline.writer import Writer
from vitruvius.space import Node, from_json, to_json
from vitruvius.train.attached import attached_to
from vitruvius.train.building import TokenBody, network_of, outline
from vitruvius.train.checkpoint import CheckpointError, digest_of, load_tensors, save_tensors
from vitruvius.train.feeding import Feed
from vitruvius.train.meter import FlopMeter
from vitruvius.train.reading import longest_of

WEIGHTS = "model.safetensors"
TEXT_MODEL = "model.json"  # what the weights of a model of texts belong to
WHOLE_MODEL = "whole.json"  # the same of another model, where its design alone gives no network
DESIGN = "design.json"


@dataclass(frozen=True, eq=False)
class Saved:
    """A model that was read from a folder."""

    model: Model
    task: Task
    shape: tuple[int, ...]
    """Of one encoded item; of texts the tokens of a row, at most."""
    inputs: Mapping[str, Any] | None
    """``description`` of the data."""
    index: Index | None = None


def save_state(folder: Path, design: Node, state: State) -> str:
    """Write model and design of a finished pipeline. Returns the sha256 of the weights."""
    model = state.model
    if model is None or state.task is None:
        raise ValueError("Only a state with a model and a task can be saved.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESIGN).write_text(json.dumps(to_json(design), indent=1) + "\n")
    if model.tokenizer is not None:
        return save_texts(folder, state)
    first = state.splits["train"].documents.take(torch.zeros(1, dtype=torch.int64).numpy())
    shape = Feed.of(encode(model.prepared, first), torch.device("cpu")).shape
    if not _rebuilt(design, model):
        return _save_parts(folder, state, WHOLE_MODEL, {"shape": shape})
    weights = network_of(model).state_dict()
    tensors = {f"network.{name}": tensor for name, tensor in weights.items()}
    for i, part in enumerate(model.prepared):
        tensors |= {f"prepared.{i}.{n}": t for n, t in part.fitted.tensors.items()}
    digest = digest_of(weights)
    values = {
        "digest": digest,
        "shape": shape,
        "prepared": [
            {"encoder": to_json(part.encoder), "values": part.fitted.values}
            for part in model.prepared
        ],
        "lineage": asdict(model.lineage),
        "task": {"name": state.task.name, "level": state.task.level, "labels": state.task.labels},
        "inputs": dict(state.fitted[INPUTS].values) if INPUTS in state.fitted else None,
    }
    save_tensors(folder / WEIGHTS, {n: t.clone() for n, t in tensors.items()}, values)
    return digest


def _rebuilt(design: Node, model: Model) -> bool:
    """Whether a design's network is all there is of a model: a stage made one, and nothing of an
    adapter stands beside the weights. One of tokens that was pretrained is kept whole: no program
    can be written of it."""
    made = made_by(design)
    if made is None or any(attached_to(body) is not None for body in model.bodies.values()):
        return False
    tokens = any(isinstance(body, TokenBody) for body in model.bodies.values())
    return isinstance(made, Train) or (not tokens and "task" in model.heads)


def save_texts(folder: Path, state: State) -> str:
    """All parts of a model of texts, by class and attributes: bodies may come from elsewhere."""
    return _save_parts(folder, state, TEXT_MODEL, {})


def _save_parts(folder: Path, state: State, file: str, beside: Mapping[str, Any]) -> str:
    model = state.model
    assert model is not None
    files: dict[str, str] = {}

    def keep(suffix: str, write: Callable[[Path], None]) -> str:
        number = sum(name.endswith(suffix) for name in files)
        name = f"model{f'-{number}' if number else ''}{suffix}"
        write(folder / name)
        files[name] = _sha256(folder / name)
        return name

    inputs = dict(state.fitted[INPUTS].values) if INPUTS in state.fitted else None
    held = {"model": model, "task": state.task, "inputs": inputs, "index": state.index}
    written = Writer(keep, {}, None).write(held)
    digest = weights_digest(model)
    told = {"digest": digest, "files": files, "inputs": inputs, **beside, "holds": written}
    unfinished = folder / f".{file}"
    unfinished.write_text(json.dumps(told) + "\n")
    os.replace(unfinished, folder / file)
    return digest


def _load_parts(path: Path, device: torch.device, allow: tuple[str, ...]) -> Saved:
    folder = path.parent
    try:
        told = json.loads(path.read_text())

        def opened(name: str) -> Path:
            if Path(name).name != name or _sha256(folder / name) != told["files"][name]:
                raise CheckpointError(f"{folder / name} is not what was saved.")
            return folder / name

        held = Reader(opened, {}, device, allow).decode(told["holds"])
        model, task = held["model"], held["task"]
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged or no model: {error}") from error
    for module in (*model.bodies.values(), *model.heads.values()):
        module.to(device).eval()
    shape = tuple(told["shape"]) if "shape" in told else (longest_of(model),)
    return Saved(model, task, shape, held["inputs"], held["index"])


def load_model(
    folder: Path, design: Node, device: torch.device, allow: tuple[str, ...] = ("vitruvius",)
) -> Saved:
    """What was saved in a folder. Raises CheckpointError where damaged."""
    for name in (TEXT_MODEL, WHOLE_MODEL):
        if (folder / name).exists():
            return _load_parts(folder / name, device, allow)
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
    network = outline(network_by(design), answered_by(design, task), shape, task, FlopMeter())
    network = network.network
    network = network.to_empty(device=device)
    network.load_state_dict(weights)
    network.eval()
    lineage = values["lineage"]
    model = Model(
        bodies={"input": network.body},
        heads={"task": network.head},
        lineage=replace(
            Lineage(**{**lineage, "data": (), "stages": (), "objectives": ()}),
            data=tuple(lineage["data"]),
            stages=tuple(lineage["stages"]),
            objectives=tuple(lineage.get("objectives", ())),
        ),
        prepared=prepared,
    )
    return Saved(model, task, shape, values["inputs"])


def answered_by(design: Node, task: Task) -> Head:
    """The head of a design's model: that of the last stage that trains or adapts it."""
    for stage in reversed(stages_of(design)):
        if isinstance(stage, Adapt):
            return stage.answers(task)
        if isinstance(stage, Train):
            break
    return trained_by(design).head


def network_by(design: Node) -> Layer:
    """The network that a design's model is. Raises ValueError where no stage made one."""
    made = made_by(design)
    if isinstance(made, PretrainItems):
        assert made.model is not None
        return made.model
    return trained_by(design).model


def made_by(design: Node) -> Train | PretrainItems | None:
    """The stage that made a design's network: the last that trains one from scratch."""
    for stage in reversed(stages_of(design)):
        if isinstance(stage, Train):
            return stage
        if isinstance(stage, PretrainItems) and stage.model is not None:
            return stage
    return None


def trained_by(design: Node) -> Train:
    """The stage that made a design's network: the last that trains one from scratch."""
    for stage in reversed(stages_of(design)):
        if isinstance(stage, Train):
            return stage
    raise ValueError("This design has no Train stage, so there is no network to rebuild.")


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
