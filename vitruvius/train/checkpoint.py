"""Weights and training state in safetensors: written beside and renamed, never pickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


class CheckpointError(ValueError):
    """A file of tensors that is damaged, or of something else."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Tensors and JSON values in one file that is either whole or absent."""
    whole = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(whole, beside, metadata={"values": json.dumps(values)})
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``save_tensors`` wrote. Raises CheckpointError where the file is damaged."""
    try:
        with safe_open(path, framework="pt", device=device) as opened:
            metadata = opened.metadata() or {}
            return {name: opened.get_tensor(name) for name in opened.keys()}, json.loads(  # noqa: SIM118
                metadata.get("values", "{}")
            )
    except (SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is damaged or no file of tensors: {error}") from error


def pack(prefix: str, state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state_dict as named tensors and JSON."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {"param_groups": [], "state": {}}
    for group in state["param_groups"]:
        values["param_groups"].append(dict(group))
    for key, entries in state["state"].items():
        kept = values["state"].setdefault(str(key), {})
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}.{key}.{name}"] = value
            else:
                kept[name] = value
    return tensors, values


def unpack(prefix: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> dict[str, Any]:
    """The state_dict that ``pack`` took apart."""
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in values["state"].items()}
    for name, tensor in tensors.items():
        if name.startswith(prefix + "."):
            key, entry = name[len(prefix) + 1 :].split(".", 1)
            state.setdefault(int(key), {})[entry] = tensor
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in values["param_groups"]
    ]
    return {"state": state, "param_groups": groups}


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes: the name of weights."""
    made = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        made.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return made.hexdigest()
