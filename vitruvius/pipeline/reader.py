"""What ``writer`` wrote, read back.

Reading makes objects of allowed packages alone, and runs no code that a file names.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvius.contracts import Documents
from vitruvius.contracts.documents import _Guarded
from vitruvius.data.mapped import Mapped
from vitruvius.pipeline.writer import MODULES, Json
from vitruvius.space import from_json
from vitruvius.space.serial import resolve
from vitruvius.train.adapting import attach_again
from vitruvius.train.checkpoint import load_tensors

MAPPED_BYTES = 2**26  # arrays above this are memory-mapped, copy on write

Open = Callable[[str], Path]
"""The path of a file by its name, checked."""


class Reader:
    """Reads what a Writer wrote. Tensors that were on another device come to ``device``."""

    def __init__(
        self,
        opened: Open,
        known: Mapping[str, Documents],
        device: torch.device,
        allow: tuple[str, ...] = ("vitruvius",),
    ) -> None:
        self.opened, self.known, self.device, self.allow = opened, known, device, allow
        self.bag: dict[str, Tensor] = {}
        self.made: dict[str, Tensor] = {}
        self.modules: dict[int, nn.Module] = {}

    def decode(self, written: Json) -> Any:
        if not isinstance(written, Mapping):
            return written
        word = next(iter(written))
        return getattr(self, f"_{word}")(written)

    def _bag(self, written: Json) -> Any:
        outer = self.bag, self.made, self.modules
        bag = {} if written["bag"] is None else load_tensors(self.opened(written["bag"]))[0]
        self.bag, self.made, self.modules = bag, {}, {}
        try:
            return self.decode(written["holds"])
        finally:
            self.bag, self.made, self.modules = outer

    def _float(self, written: Json) -> float:
        return float(written["float"])

    def _tuple(self, written: Json) -> Any:
        ((kind, items),) = written.items()
        return _KINDS[kind](self.decode(item) for item in items)

    _list = _set = _frozenset = _tuple

    def _pairs(self, written: Json) -> dict[Any, Any]:
        return {self.decode(k): self.decode(v) for k, v in written}

    def _map(self, written: Json) -> Any:
        return self._pairs(written["map"])

    def _ordered(self, written: Json) -> Any:
        return OrderedDict(self._pairs(written["ordered"]))

    def _guarded(self, written: Json) -> Any:
        return _Guarded(self._pairs(written["guarded"]), set(written["hidden"]))

    def _size(self, written: Json) -> Any:
        return torch.Size(written["size"])

    def _dtype(self, written: Json) -> Any:
        return getattr(torch, written["dtype"].removeprefix("torch."))

    def _device(self, written: Json) -> Any:
        return torch.device("cpu") if written["device"] == "cpu" else self.device

    def _bytes(self, written: Json) -> Any:
        return base64.b64decode(written["bytes"])

    def _path(self, written: Json) -> Any:
        return Path(written["path"])

    def _tree(self, written: Json) -> Any:
        return from_json(written["tree"], self.allow)

    def _name(self, written: Json) -> Any:
        return resolve(written["name"], (*self.allow, *MODULES))

    def _class(self, name: str) -> Any:
        found = resolve(name, (*self.allow, *MODULES))
        if not isinstance(found, type):
            raise ValueError(f"{name} is no class.")
        return found

    def _record(self, written: Json) -> Any:
        made = object.__new__(self._class(written["record"]))
        made.__dict__.update(self._pairs(written["fields"]))
        return made

    def _described(self, written: Json) -> Any:
        return self._class(written["described"]).rebuild(self.decode(written["values"]))

    def _made(self, written: Json) -> Any:
        return self._class(written["made"])(**self._pairs(written["arguments"]))

    def _again(self, written: Json) -> Any:
        return self.modules[written["again"]]

    def _module(self, written: Json) -> Any:
        cls = self._class(written["module"])
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        self.modules[written["number"]] = module
        module.__setstate__(self._pairs(written["state"]))
        return module

    def _adapted(self, written: Json) -> Any:
        body = self.modules[written["number"]] = self.decode(written["adapted"])
        adapter, drawn = self.decode(written["by"]), self.decode(written["drawn"])
        attach_again(adapter, {"input": body}, drawn, self._pairs(written["learned"]))
        return body

    def _foreign(self, written: Json) -> Any:
        module = self._class(written["foreign"]).rebuild(self.decode(written["values"]))
        self.modules[written["number"]] = module
        for name, tensor in self._pairs(written["tensors"]).items():
            owner, _, last = name.rpartition(".")
            part = module.get_submodule(owner)
            (part._parameters if last in part._parameters else part._buffers)[last] = tensor
        for name, part in module.named_modules():
            part.training = name in written["training"]
        return module

    def _tensor(self, written: Json) -> Any:
        name = written["tensor"]
        if name in self.made:
            return self.made[name]
        stored = self.bag[name]
        device = self.device if "device" in written else torch.device("cpu")
        if "stride" in written:
            made = torch.empty_strided(
                stored.shape, written["stride"], dtype=stored.dtype, device=device
            )
        else:  # aligned as the allocator does, wherever it lies in the file
            made = torch.empty(stored.shape, dtype=stored.dtype, device=device)
        made.copy_(stored)
        if written.get("parameter"):
            made = nn.Parameter(made, requires_grad=bool(written.get("grad")))
        elif written.get("grad"):
            made.requires_grad_()
        self.made[name] = made
        return made

    def _array(self, written: Json) -> Any:
        path = self.opened(written["array"])
        large = path.stat().st_size > MAPPED_BYTES
        array = np.load(path, mmap_mode="c" if large else None, allow_pickle=False)
        return array[()] if written.get("scalar") else array

    def _mapped(self, written: Json) -> Any:
        return Mapped.open(self.opened(written["mapped"]))

    def _texts(self, written: Json) -> Any:
        import pyarrow as pa

        with pa.memory_map(str(self.opened(written["texts"]))) as opened:
            items = pa.ipc.open_file(opened).read_all()["text"].to_pylist()
        return _shaped(items, written)

    def _objects(self, written: Json) -> Any:
        items = json.loads(self.opened(written["objects"]).read_text())
        return _shaped([self.decode(item) for item in items], written)

    def _known(self, written: Json) -> Documents:
        return self.known[written["known"]]

    def _documents(self, written: Json) -> Documents:
        def columns(found: Json) -> Mapping[str, Any]:
            read = {name: self.decode(column) for name, column in found["columns"]}
            return read if found["hidden"] is None else _Guarded(read, set(found["hidden"]))

        payload, attributes = columns(written["payload"]), columns(written["attributes"])
        return Documents(payload, attributes, written["documents"])

    def _column(self, written: Json) -> Any:
        digest, part, name = written["column"]
        return getattr(self.known[digest], part)[name]


def referred(written: Json) -> set[str]:
    """Digests of documents that must be at hand to read this."""
    if isinstance(written, list):
        return set().union(*map(referred, written)) if written else set()
    if not isinstance(written, Mapping):
        return set()
    if "known" in written:
        return {written["known"]}
    if "column" in written:
        return {written["column"][0]}
    return referred(list(written.values()))


def _shaped(items: list[Any], written: Json) -> Any:
    if written["kind"] == "T":
        return np.array(items, np.dtypes.StringDType()).reshape(written["shape"])
    made = np.empty(len(items), object)
    made[:] = items
    return made.reshape(written["shape"])


_KINDS: Mapping[str, Callable[..., Any]] = {
    "tuple": tuple, "list": list, "set": set, "frozenset": frozenset,
}  # fmt: skip
