"""The key of a stage: everything that makes its result, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Stage
from vitruvius.space import to_json


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


def stage_key(stage: Stage, inputs: Mapping[str, str], setting: Setting) -> str:
    """sha256 (hexadecimal) of the decided stage, the digests of its inputs by role, its seed, the
    setting, and the versions of the libraries it declares."""
    fields = to_json(stage)
    for name in ("label", *stage.unkeyed):
        fields.pop(name, None)
    for name in stage.opens:
        if fields.get(name) is not None:
            fields[name] = content_digest(fields[name])
    fields["seed"] = setting.seed if stage.seed is None else stage.seed
    made = {
        "stage": fields,
        "inputs": dict(sorted(inputs.items())),
        "setting": setting.to_json(),
        "libraries": {name: version(name) for name in sorted({"torch", *stage.libraries})},
    }
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def content_digest(source: str) -> str:
    """sha256 of a file, or of all names and files in a folder; of anything else the text itself."""
    path = Path(source)
    if path.is_file():
        return _file_digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    if not path.is_dir():
        return source
    made = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        stat = inner.stat()
        made.update(f"{inner.relative_to(path)}\0".encode(errors="surrogatepass"))
        made.update(_file_digest(inner, stat.st_mtime_ns, stat.st_size).encode())
    return made.hexdigest()


@functools.lru_cache(maxsize=200_000)
def _file_digest(path: Path, changed: int, size: int) -> str:
    """The time of change and the size are part of the question, so that an edit is seen."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@functools.cache
def version(name: str) -> str:
    """The installed version of a distribution."""
    return metadata.version(name)
