"""Export: a trained model as a folder that runs with PyTorch alone, and prediction with one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Model, Task
from vitruvius.data import read_inputs
from vitruvius.pipeline.card import card, summary_lines
from vitruvius.pipeline.expressions import ExportError
from vitruvius.pipeline.program import Parts, network_parts, program
from vitruvius.pipeline.saving import DESIGN, TEXT_MODEL, WEIGHTS, WHOLE_MODEL, load_model
from vitruvius.pipeline.standalone.answers import csv_lines
from vitruvius.pipeline.training import encode
from vitruvius.space import Node, from_json, to_json
from vitruvius.train.checkpoint import CheckpointError, load_tensors
from vitruvius.train.feeding import Feed
from vitruvius.train.predicting import predict

PROGRAM, CARD = "model.py", "README.md"
FILES = {PROGRAM, CARD, WEIGHTS, DESIGN, TEXT_MODEL, WHOLE_MODEL}
FOREIGN = "transformers"  # beside a model of texts: the folder that AutoModel loads
PARTS = re.compile(r"model(-\d+)?\.(safetensors|npy|arrow|json)")
FORMAT = "vitruvius export"
CPU = torch.device("cpu")

__all__ = ["ExportError", "export", "predict_file"]


def export(
    run_folder: Path,
    design: Node,
    out: Path,
    evidence: Mapping[str, Any],
    allow: tuple[str, ...] = ("vitruvius",),
) -> Path:
    """Write the model in ``run_folder`` to ``out``: model.py, weights, design, model card.

    ``evidence`` is plain data for the card: metric, better, items, data, floor, trials, seed,
    versions, final; what is missing is left out. ``allow`` names the packages that encoders may
    come from. The program is run before anything is written: it must give what the model gives.
    Of a model that is kept whole (from another library, or with an adapter beside its weights)
    there is no program; its folder is what ``predict_file`` reads.
    Raises ExportError with one line; an ``out`` that holds anything but an earlier export stays as
    it is.
    """
    run_folder, out = Path(run_folder), Path(out)
    values = _values(run_folder)
    check_out(out)
    roots = tuple({*allow, *_roots(design)})
    saved = load_model(run_folder, design, CPU, roots)
    model, task, shape = saved.model, saved.task, saved.shape
    inputs = values["inputs"]
    described = {"format": FORMAT, "design": to_json(design), "task": _told(task), "inputs": inputs}
    modules = (*model.bodies.values(), *model.heads.values())
    parameters = sum(p.numel() for p in {p for m in modules for p in m.parameters()})
    told = design, inputs, task.labels, parameters, values["digest"], evidence
    if (run_folder / WHOLE_MODEL).exists():
        with beside(out) as made:
            for name in (WHOLE_MODEL, *values["files"]):
                shutil.copyfile(run_folder / name, made / name)
            _write(made, described, card(*told, alone=False))
        return out
    parts = Parts(model, task.labels, shape, inputs, summary_lines(evidence))
    text = program(parts)
    with beside(out) as made:
        shutil.copyfile(run_folder / WEIGHTS, made / WEIGHTS)
        (made / PROGRAM).write_text(text, encoding="utf-8")
        _check_program(made / PROGRAM, model, shape)
        _write(made, described, card(*told))
    return out


def predict_file(
    folder: str | os.PathLike[str],
    data: str | os.PathLike[str],
    allow: tuple[str, ...] = ("vitruvius",),
) -> list[str]:
    """Predictions of new data as lines of CSV, a heading first, by an exported model or a trial's
    folder. They are those that model.py prints. Raises DataError, CheckpointError or ExportError.
    """
    folder = Path(folder)
    values = _values(folder)
    try:
        written = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
        design = from_json(written.get("design", written), allow)
    except (OSError, ValueError, ImportError) as error:
        raise ExportError(
            f"The design in {folder / DESIGN} cannot be read ({error}). "
            f"If there is a {PROGRAM}, run that: python {folder / PROGRAM} {data}"
        ) from error
    saved = load_model(folder, design, CPU, allow)
    model, task = saved.model, saved.task
    documents = read_inputs(data, values["inputs"])
    feed = Feed.of(encode(model.prepared, documents), CPU)
    found = predict(model, feed, task, torch.float32)
    names = [str(name) for name in documents.attributes.get("source", ())]
    return list(csv_lines(task.labels, found.values.tolist(), names))


def _write(folder: Path, described: Mapping[str, Any], readme: str) -> None:
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (folder / DESIGN).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(readme, encoding="utf-8")


def _told(task: Task) -> dict[str, Any]:
    return {"name": task.name, "level": task.level, "labels": list(task.labels)}


def _values(folder: Path) -> dict[str, Any]:
    path = folder / WEIGHTS
    if (folder / WHOLE_MODEL).is_file():
        path = folder / WHOLE_MODEL
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{path} is damaged or no model: {error}") from error
    elif path.is_file():
        values = load_tensors(path)[1]
    else:
        raise ExportError(f"{folder} holds no model (there is no {WEIGHTS}). Name another folder.")
    if not values.get("inputs"):
        raise CheckpointError(f"{path} does not say what its inputs look like. Train it anew.")
    return values


def _roots(design: Node) -> set[str]:
    """Packages of the classes in a design, which is here already."""
    found = set()

    def walk(value: Any) -> None:
        if isinstance(value, Node):
            found.add(type(value).__module__.split(".")[0])
            for inner in vars(value).values():
                walk(inner)
        elif isinstance(value, tuple):
            for inner in value:
                walk(inner)

    walk(design)
    return found


def _check_program(path: Path, model: Model, shape: tuple[int, ...]) -> None:
    """Run a written program and compare: it must give what the model gives, or nothing is kept."""
    space: dict[str, Any] = {"__name__": "exported", "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *shape, generator=generator)
    body, head = network_parts(model)
    answer: Any = head.answer
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        network, _ = space["load"]()
        expected, found = answer(body(x)).float(), network(x).float()
    if not torch.allclose(expected, found, rtol=1e-6, atol=1e-6, equal_nan=True):
        raise ExportError(
            "The exported program gives other numbers than the model "
            f"(by {(expected - found).abs().max():.3g}). Please report this with {DESIGN}."
        )


def check_out(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ExportError(f"{out} is a file. Name a new folder for the model.")
    there = {path.name for path in out.iterdir() if path.name != "__pycache__"}
    if not there:
        return
    others = {name for name in there - FILES if name != FOREIGN and not PARTS.fullmatch(name)}
    is_export = not others and DESIGN in there
    if is_export:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            is_export = json.loads((out / DESIGN).read_text()).get("format") == FORMAT
    if not is_export:
        other = sorted(others) or sorted(there)
        raise ExportError(
            f"{out} holds something else ({other[0]}), which an export would overwrite. "
            "Name a new folder."
        )


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder to write into, which then becomes ``out``; or is removed where that fails."""
    out = out.resolve()  # behind a link, and of "." too, there is a folder to write beside
    made = out.with_name(f".{out.name}.{os.getpid()}")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made.mkdir()
        yield made
        for path in made.rglob("*"):
            if path.is_file():
                with path.open("rb") as written:
                    os.fsync(written.fileno())
        if out.exists():
            os.replace(out, old)
        os.replace(made, out)
    except OSError as error:
        if old.exists() and not out.exists():
            os.replace(old, out)
        raise ExportError(
            f"{out} cannot be written: {error.strerror or error}. Make room, or name another "
            "folder."
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
