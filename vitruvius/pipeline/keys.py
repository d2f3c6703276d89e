"""The key of a stage: everything that makes its result, and nothing else.

Keys follow from a design alone, so what is shared and what it costs is known before anything runs.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Stage
from vitruvius.pipeline.code import code_digest
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.space import Node, to_json
from vitruvius.space.fields import field_names
from vitruvius.space.node import importable

AROUND = ("vitruvius.pipeline.judging",)  # what the lab runs for a stage, whoever the stage is


@dataclass(frozen=True)
class Setting:
    """What surrounds all stages of a study and changes their bits."""

    seed: int
    device: torch.device
    precision: torch.dtype
    threads: int

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device.type,
            "precision": str(self.precision),
            "threads": self.threads,
        }


@dataclass(frozen=True)
class Keyed:
    """A stage of a pipeline, with the names of its work and of its result."""

    stage: Stage
    key: str
    """Of the work."""
    root: str
    """What its seeds follow from: as the key, without code and versions, so that numbers stay as
    they are when code is only rewritten."""
    origin: str
    """Of what comes in, the kind of the stage and its seed: equal for stages that begin alike."""
    state: str
    """Of the state that it leaves: the key, or that of the rung at which it ends."""
    inputs: Mapping[str, str]
    """Digests of the states that come in, by role."""


def stage_key(stage: Stage, inputs: Mapping[str, str], setting: Setting) -> str:
    """sha256 (hexadecimal) of the ingredients of a stage."""
    return _hash(ingredients(stage, inputs, setting))


def ingredients(stage: Stage, inputs: Mapping[str, str], setting: Setting) -> dict[str, Any]:
    """What makes the result of a stage, as JSON: the decided stage with defaults written out and
    paths replaced by digests of their content, digests of its inputs by role, its seed, the
    setting, the versions of the libraries it declares, and the code."""
    parts = list(_nodes(stage))
    libraries = {"torch"}.union(*(getattr(part, "libraries", ()) for part in parts))
    return {
        "stage": {**_written(stage), "seed": setting.seed if stage.seed is None else stage.seed},
        "inputs": dict(sorted(inputs.items())),
        "setting": setting.to_json(),
        "libraries": {name: version(name) for name in sorted(libraries)},
        "code": code_digest({type(part) for part in parts}, (*AROUND, *stage.stands_on())),
    }


def rung_key(key: str, step: int) -> str:
    """The key of what a stage has after so many of its steps."""
    return hashlib.sha256(f"{key} {step}".encode()).hexdigest()


def keys_of(pipeline: Node, inputs: Mapping[str, str], setting: Setting) -> tuple[Keyed, ...]:
    """The keys of all stages, from the design and the digests of what comes in alone."""
    digests, roots = dict(inputs), dict(inputs)
    found = []
    for stage in stages_of(pipeline):
        inner = {role: keys_of(held, {}, setting)[-1] for role, held in inner_pipelines(stage)}
        roles = {**digests, **{role: last.state for role, last in inner.items()}}
        made = ingredients(stage, roles, setting)
        key = _hash(made)
        made["inputs"] = {**roots, **{role: last.root for role, last in inner.items()}}
        root = _hash({k: v for k, v in made.items() if k not in ("code", "libraries")})
        begun = {"node": made["stage"]["node"], "seed": made["stage"]["seed"]}
        origin = _hash({**begun, "inputs": made["inputs"], "setting": made["setting"]})
        step = stage.rung()
        digests["before"] = key if step is None else rung_key(key, step)
        roots["before"] = root if step is None else rung_key(root, step)
        found.append(Keyed(stage, key, root, origin, digests["before"], roles))
    if not found:
        raise ValueError("A pipeline needs at least one stage.")
    return tuple(found)


def _hash(made: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def inner_pipelines(stage: Stage) -> list[tuple[str, Pipeline]]:
    """Fields of a stage that hold a pipeline, by name; those of a tuple are numbered from 0."""
    found: list[tuple[str, Pipeline]] = []
    for name, value in vars(stage).items():
        if isinstance(value, Pipeline):
            found.append((name, value))
        elif isinstance(value, tuple):
            inner = [(f"{name}.{i}", v) for i, v in enumerate(value) if isinstance(v, Pipeline)]
            found.extend(inner)
    return found


def _nodes(value: Any) -> Iterator[Node]:
    """All nodes of a decided tree but those of inner pipelines, which have keys of their own."""
    if isinstance(value, Pipeline):
        return
    if isinstance(value, Node):
        yield value
        value = tuple(getattr(value, name) for name in field_names(type(value)))
    if isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)


def _written(value: Any) -> Any:
    """A decided tree as JSON, without labels and what does not change the result."""
    if isinstance(value, Pipeline):
        return "a pipeline: see inputs"
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    if not isinstance(value, Node):
        return to_json(value)
    left_out = {"label", *getattr(value, "unkeyed", ())}
    left_out |= {name for name in getattr(value, "later", ()) if getattr(value, name) is None}
    opens = getattr(value, "opens", ())
    written = {"node": importable(type(value))}
    for name in field_names(type(value)):
        if name not in left_out:
            field = getattr(value, name)
            is_path = name in opens and isinstance(field, str)
            written[name] = content_digest(field) if is_path else _written(field)
    return written


def content_digest(source: str) -> str:
    """sha256 of a file, or of all names and files in a folder, or of those files in one whose names
    begin so; of anything else the text itself."""
    path = Path(source)
    if path.is_file():
        return _file_digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    inside = path.rglob("*") if path.is_dir() else _beginning(path)
    files = sorted(p for p in inside if p.is_file())
    if not path.is_dir() and not files:
        return source
    made, path = hashlib.sha256(), path if path.is_dir() else path.parent
    for inner in files:
        stat = inner.stat()
        made.update(f"{inner.relative_to(path)}\0".encode(errors="surrogatepass"))
        made.update(_file_digest(inner, stat.st_mtime_ns, stat.st_size).encode())
    return made.hexdigest()


def _beginning(path: Path) -> list[Path]:
    """Files whose names begin as the path ends: "folder/cite" names folder/cite_train.csv."""
    there = path.parent != Path() and path.parent.is_dir()
    return [p for p in path.parent.iterdir() if p.name.startswith(path.name)] if there else []


@functools.lru_cache(maxsize=200_000)
def _file_digest(path: Path, changed: int, size: int) -> str:
    """The time of change and the size are part of the question, so that an edit is seen."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@functools.cache
def version(name: str) -> str:
    """The installed version of a distribution; of "python" that of the interpreter."""
    return platform.python_version() if name == "python" else metadata.version(name)
