"""Reads arrays out of an .npz file, which is a zip of .npy files, without numpy."""

from __future__ import annotations

import ast
import re
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

INPUT_NAMES = ("x", "inputs", "input", "data", "images", "image", "features")
LABEL_NAMES = ("y", "labels", "label", "target", "targets")
NUMBERS = {
    "b1": torch.uint8, "u1": torch.uint8, "i1": torch.int8, "i2": torch.int16, "i4": torch.int32,
    "i8": torch.int64, "u2": torch.uint16, "u4": torch.uint32, "f2": torch.float16,
    "f4": torch.float32, "f8": torch.float64,
}  # fmt: skip


def read_npz(path: Path, shape: Sequence[int], channels_last: bool = False) -> Tensor:
    """The items of an .npz file, [N, *shape]: its array x (or inputs, data, images, features)."""
    try:
        with zipfile.ZipFile(path) as file:
            members = {name.removesuffix(".npy"): name for name in file.namelist()}
            name = find_inputs(path, list(members))
            x = read_npy(file.read(members[name]), f"{path.name}, {name!r}")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is no readable .npz file ({error}).") from error
    if channels_last and x.dim() == 4:
        x = x.movedim(-1, 1)
    elif x.dim() == 1 or (x.dim() == 3 and len(shape) == 3):
        x = x.unsqueeze(1)
    if list(x.shape[1:]) != list(shape):
        raise ValueError(
            f"{path.name}, {name!r} has items of shape {list(x.shape[1:])}; "
            f"the model reads {list(shape)}."
        )
    if not len(x):
        raise ValueError(f"{path.name}, {name!r} has no items to predict.")
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise ValueError(f"{path.name}, {name!r} holds NaN or infinity. Fill these values in.")
    return x


def find_inputs(path: Path, names: list[str]) -> str:
    """The array that holds the inputs, told by its name; else the only one that is no label."""
    lowered = {name.lower(): name for name in reversed(names)}
    for name in (*INPUT_NAMES, *(f"{name}_test" for name in INPUT_NAMES)):
        if name in lowered:
            return lowered[name]
    others = [name for name in names if name.lower() not in LABEL_NAMES]
    if len(others) != 1:
        raise ValueError(f"{path.name} has no array 'x'; it has {', '.join(names) or 'none'}.")
    return others[0]


def read_npy(content: bytes, where: str) -> Tensor:
    """One array in the .npy format: magic, version, length, header, then its numbers."""
    if content[:6] != b"\x93NUMPY":
        raise ValueError(f"{where} is no array.")
    size = "<H" if content[6] == 1 else "<I"
    start = 8 + struct.calcsize(size)
    end = start + struct.unpack_from(size, content, 8)[0]
    header = ast.literal_eval(content[start:end].decode("utf-8" if content[6] > 2 else "latin-1"))
    written, shape = header["descr"], header["shape"]
    found = re.fullmatch(r"([<>|=])(\w\d)", written) if isinstance(written, str) else None
    if found is None or found[2] not in NUMBERS:
        raise ValueError(f"{where} holds {written}, where numbers are needed. Use float32.")
    dtype = NUMBERS[found[2]]
    numbers = torch.frombuffer(bytearray(content[end:]) or bytearray(1), dtype=torch.uint8)
    if found[1] == ">":
        numbers = numbers.view(-1, dtype.itemsize).flip(1).reshape(-1)
    count = torch.Size(shape).numel()
    numbers = numbers[: count * dtype.itemsize].view(dtype)
    if len(numbers) != count:
        raise ValueError(f"{where} is cut off. Write the file again.")
    if header["fortran_order"]:
        x = numbers.reshape(tuple(reversed(shape)))
        x = x.permute(*reversed(range(x.dim())))
    else:
        x = numbers.reshape(shape)
    if dtype in (torch.uint16, torch.uint32):
        return x.to(torch.int64)
    return x.to(torch.float32) if dtype == torch.float16 else x
