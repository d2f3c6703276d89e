"""Reads a safetensors file: 8 bytes of length, a JSON header, then the bytes of all tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from torch import Tensor

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """All tensors of a safetensors file by name, and the JSON values stored beside them."""
    content = bytearray(path.read_bytes())
    try:
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        values = json.loads(header.pop("__metadata__", {}).get("values", "{}"))
        body = memoryview(content)[8 + length :]
        tensors = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            dtype, shape = TYPES[entry["dtype"]], entry["shape"]
            if start == end:
                tensors[name] = torch.empty(shape, dtype=dtype)
            else:
                numbers = torch.frombuffer(bytearray(body[start:end]), dtype=dtype)
                tensors[name] = numbers.reshape(shape)
    except (struct.error, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or no file of weights ({error}).") from error
    return tensors, values


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
