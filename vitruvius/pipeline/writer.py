"""What a stage hands on, as JSON beside files of tensors and arrays. Never pickle.

A value is written by its parts: scalars, tuples and maps as they are, nodes as trees, records and
modules by class and attributes, other objects of ours by the arguments of their constructor, which
they keep as attributes of the same names. Tensors go into one safetensors file per model, so that
two states with the same weights name the same file; arrays into npy, texts into Arrow.

A class that cannot be written so (one that wraps a foreign model) gives ``describe()``, plain
values, and a class method ``rebuild(values)``; the tensors of a module are put in by name.

``reader`` reads it back.
"""

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import math
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitruvius.contracts import Documents, Model
from vitruvius.contracts.documents import _Guarded
from vitruvius.data.mapped import Mapped, Resident
from vitruvius.space import Node, to_json
from vitruvius.space.node import importable
from vitruvius.space.serial import resolve
from vitruvius.train.attached import Attached, attached_to

HOOKS = frozenset(name for name, v in vars(nn.Module()).items() if isinstance(v, OrderedDict))
MODULES = ("torch.nn",)  # where modules may come from beside the allowed packages

Json = Any
Keep = Callable[[str, Callable[[Path], None]], str]
"""Takes a suffix and what writes a file; returns the file's name."""


class Unstorable(ValueError):
    """A value that cannot be written: it holds an object that only its process knows."""


class Writer:
    """Writes a value. ``known`` are documents that will be at hand on reading, by digest."""

    def __init__(
        self,
        keep: Keep,
        known: Mapping[str, Documents],
        allow: tuple[str, ...] | None = ("vitruvius",),
    ) -> None:
        """``allow`` None: whatever the class, for what is not read again."""
        self.keep, self.known, self.allow = keep, known, allow
        self.columns = {
            id(column): [digest, part, name]
            for digest, documents in known.items()
            for part in ("payload", "attributes")
            for name, column in getattr(documents, part).items()
        }
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[int, str] = {}
        self.modules: dict[int, int] = {}

    def write(self, value: Any) -> Json:
        """JSON of a value with its tensors in a file of their own."""
        with self._bag() as bag:
            bag["holds"] = self.encode(value)
        return bag

    @contextmanager
    def _bag(self) -> Iterator[dict[str, Json]]:
        outer = self.tensors, self.names, self.modules
        self.tensors, self.names, self.modules = {}, {}, {}
        bag: dict[str, Json] = {"bag": None}
        try:
            yield bag
            if self.tensors:
                whole = {n: _plain_tensor(t) for n, t in self.tensors.items()}
                bag["bag"] = self.keep(".safetensors", lambda path: save_file(whole, path))
        finally:
            self.tensors, self.names, self.modules = outer

    def encode(self, value: Any) -> Json:
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) in (tuple, list, set, frozenset):
            items = sorted(value) if isinstance(value, (set, frozenset)) else value
            return {type(value).__name__: [self.encode(item) for item in items]}
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value)
        for kind, written in _SPELLED.items():
            if isinstance(value, kind):
                return written(value)
        if isinstance(value, Node):
            return self._tree_of(value)
        if isinstance(value, Documents):
            return self._documents(value)
        if isinstance(value, (Mapped, Resident)):
            return {"mapped": self.keep(".npy", value.save)}
        if isinstance(value, _Guarded):
            return {"guarded": self._map(value), "hidden": sorted(value.hidden)}
        if isinstance(value, Mapping):
            kind = "ordered" if isinstance(value, OrderedDict) else "map"
            return {kind: self._map(value)}
        if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            return {"name": self._check(value)}
        return self._object(value)

    def _tree_of(self, node: Node) -> Json:
        self._check(type(node))
        return {"tree": to_json(node)}

    def _map(self, values: Mapping[Any, Any]) -> Json:
        return [[self.encode(k), self.encode(v)] for k, v in values.items()]

    def _object(self, value: Any) -> Json:
        cls = type(value)
        name = self._check(cls)
        if isinstance(value, Model):
            with self._bag() as bag:
                bag["holds"] = {"record": name, "fields": self._map(vars(value))}
            return bag
        if isinstance(value, nn.Module):
            return self._module(value, name)
        if callable(getattr(value, "describe", None)):
            return {"described": name, "values": self.encode(value.describe())}
        if dataclasses.is_dataclass(value):
            return {"record": name, "fields": self._map(vars(value))}
        arguments = {}
        for parameter in list(inspect.signature(cls).parameters.values()):
            varies = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if varies or not hasattr(value, parameter.name):
                raise Unstorable(
                    f"{cls.__name__} does not keep the argument {parameter.name!r} of its "
                    f"__init__. Set self.{parameter.name}, or give it describe() and rebuild()."
                )
            arguments[parameter.name] = getattr(value, parameter.name)
        return {"made": name, "arguments": self._map(arguments)}

    def _module(self, module: nn.Module, name: str) -> Json:
        if id(module) in self.modules:
            return {"again": self.modules[id(module)]}
        if (attached := attached_to(module)) is not None:
            return self._adapted(module, name, attached)
        number = self.modules[id(module)] = len(self.modules)
        hooked = [h for h in HOOKS if vars(module).get(h) and h not in _PARTS]
        if hooked or "forward" in vars(module):
            raise Unstorable(
                f"A {type(module).__name__} has hooks. Remove them when training ends."
            )
        if callable(describe := getattr(module, "describe", None)):
            tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
            tensors |= module.named_buffers(remove_duplicate=False)
            return {
                "foreign": name,
                "number": number,
                "values": self.encode(describe()),
                "tensors": self._map(tensors),
                "training": [name for name, part in module.named_modules() if part.training],
            }
        state = module.__getstate__()
        if not isinstance(state, dict):
            raise Unstorable(f"{type(module).__name__}.__getstate__ gives no dict.")
        parts = {k: v for k, v in state.items() if k not in HOOKS or k in _PARTS}
        return {"module": name, "number": number, "state": self._map(parts)}

    def _adapted(self, module: nn.Module, name: str, attached: Attached) -> Json:
        """The base in a file of its own, and what is attached to it."""
        number = self.modules[id(module)] = len(self.modules)
        learned = self._map(attached.tensors())
        with attached.set_aside(), self._bag() as base:
            base["holds"] = self._module(module, name)
        return {
            "adapted": base,
            "number": number,
            "by": self._tree_of(attached.adapter),
            "drawn": self._tensor(attached.drawn),
            "learned": learned,
        }

    def _tensor(self, tensor: Tensor) -> Json:
        kind = type(tensor)
        if kind not in (Tensor, nn.Parameter) or tensor.layout != torch.strided:
            raise Unstorable(f"A tensor is a {kind.__name__} with layout {tensor.layout}.")
        if tensor.is_meta:
            raise Unstorable("A tensor on the meta device has no values.")
        if id(tensor) not in self.names:
            self.names[id(tensor)] = str(len(self.names))
            self.tensors[self.names[id(tensor)]] = tensor
        written: dict[str, Json] = {"tensor": self.names[id(tensor)]}
        if kind is nn.Parameter:
            written["parameter"] = True
        if tensor.requires_grad:
            written["grad"] = True
        if tensor.device.type != "cpu":
            written["device"] = tensor.device.type
        if not tensor.is_contiguous() and _is_dense(tensor):
            written["stride"] = list(tensor.stride())
        return written

    def _array(self, value: Any) -> Json:
        array = np.asarray(value)
        scalar = {"scalar": True} if isinstance(value, np.generic) else {}
        if array.dtype.kind == "T" or array.dtype.hasobject:
            return self._texts(array)

        def save(path: Path) -> None:
            with path.open("wb") as opened:
                np.lib.format.write_array(opened, array, allow_pickle=False)

        return {"array": self.keep(".npy", save), **scalar}

    def _texts(self, array: Any) -> Json:
        """Arrow where all are texts or missing, else JSON."""
        if array.dtype.kind == "O" and array.dtype != object:
            raise Unstorable(f"An array has the dtype {array.dtype}.")
        items = array.ravel().tolist()
        about = {"shape": list(array.shape), "kind": array.dtype.kind}
        if all(item is None or type(item) is str for item in items):
            try:
                return {
                    "texts": self.keep(".arrow", lambda path: _save_texts(path, items)),
                    **about,
                }
            except UnicodeEncodeError:
                pass  # halves of surrogate pairs, which UTF-8 does not hold
        written = json.dumps([self.encode(item) for item in items])
        return {"objects": self.keep(".json", lambda path: _save_text(path, written)), **about}

    def _documents(self, documents: Documents) -> Json:
        if documents.digest in self.known:
            return {"known": documents.digest}

        def columns(found: Mapping[str, Any]) -> Json:
            written = [[name, self._column(column)] for name, column in found.items()]
            hidden = sorted(found.hidden) if isinstance(found, _Guarded) else None
            return {"columns": written, "hidden": hidden}

        return {
            "documents": documents.digest,
            "payload": columns(documents.payload),
            "attributes": columns(documents.attributes),
        }

    def _column(self, column: Any) -> Json:
        if id(column) in self.columns:
            return {"column": self.columns[id(column)]}
        if isinstance(column, np.ndarray):
            return self._array(column)
        if callable(getattr(column, "describe", None)):
            return self._object(column)
        return self._array(np.asarray(column[:]))

    def _check(self, thing: Any) -> str:
        """The name of a class or function that reading will find again."""
        try:
            name = importable(thing)
            if self.allow is None:
                return name
            if resolve(name, (*self.allow, *MODULES)) is thing:
                return name
        except ValueError:
            pass
        raise Unstorable(
            f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing)} is not "
            f"found by its name in {', '.join((*(self.allow or ()), *MODULES))}."
        )


def _plain_tensor(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu").contiguous().clone()


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill its memory, in whatever order."""
    reach = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.numel() == reach and 0 not in tensor.stride()


def _save_texts(path: Path, items: list[str | None]) -> None:
    import pyarrow as pa

    table = pa.table({"text": pa.array(items, pa.large_string())})
    with pa.OSFile(str(path), "wb") as opened, pa.ipc.new_file(opened, table.schema) as writer:
        writer.write_table(table)


def _save_text(path: Path, text: str) -> None:
    path.write_text(text)


_PARTS = frozenset({"_parameters", "_buffers", "_modules"})
_SPELLED: Mapping[Any, Callable[[Any], Json]] = {
    torch.Size: lambda v: {"size": list(v)},
    torch.dtype: lambda v: {"dtype": str(v)},
    torch.device: lambda v: {"device": v.type},
    bytes: lambda v: {"bytes": base64.b64encode(v).decode()},
    Path: lambda v: {"path": str(v)},
}
