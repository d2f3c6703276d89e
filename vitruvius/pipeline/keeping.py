"""What a stage hands on, as JSON beside files of tensors and arrays, and back. Never pickle.

A value is written by its parts: scalars, tuples and maps as they are, nodes as trees, records and
modules by class and attributes, other objects of ours by the arguments of their constructor, which
they keep as attributes of the same names. Tensors go into one safetensors file per model, so that
two states with the same weights name the same file; arrays into npy, texts into Arrow.

A class that cannot be written so (one that wraps a foreign model) gives ``describe()``, plain
values, and a class method ``rebuild(values)``; the tensors of a module are put in by name.

Reading makes objects of allowed packages alone, and runs no code that a file names.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import inspect
import json
import math
import tempfile
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

from vitruvius.contracts import Documents, Model, Split, State
from vitruvius.contracts.documents import _Guarded
from vitruvius.data.mapped import Mapped, Resident
from vitruvius.space import Node, from_json, to_json
from vitruvius.space.node import importable
from vitruvius.space.serial import resolve
from vitruvius.train.adapting import attach_again
from vitruvius.train.attached import Attached, attached_to
from vitruvius.train.checkpoint import load_tensors

MAPPED_BYTES = 2**26  # arrays above this are memory-mapped, copy on write
HOOKS = frozenset(name for name, v in vars(nn.Module()).items() if isinstance(v, OrderedDict))
MODULES = ("torch.nn",)  # where modules may come from beside the allowed packages

Json = Any
Keep = Callable[[str, Callable[[Path], None]], str]
"""Takes a suffix and what writes a file; returns the file's name."""
Open = Callable[[str], Path]
"""The path of a file by its name, checked."""


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


def state_digest(state: State) -> str:
    """sha256 of what a state holds, whatever name it bears: for states that come from outside.

    Raises Unstorable where it holds an object that only its process knows.
    """
    made: list[str] = []

    def keep(suffix: str, write: Callable[[Path], None]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"held{suffix}"
            write(path)
            with path.open("rb") as opened:
                made.append(hashlib.file_digest(opened, "sha256").hexdigest())
        return made[-1]

    measured = tuple((m.name, m.value) for m in state.measurements)
    held = dataclasses.replace(state, measurements=(), digest="")
    written = Writer(keep, documents_in(state), None).write((held, measured))
    return hashlib.sha256(json.dumps(written).encode()).hexdigest()


def documents_in(value: Any) -> dict[str, Documents]:
    """All documents of a state or record, sealed ones too, by digest."""
    found: dict[str, Documents] = {}
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Documents):
            found[one.digest] = one
        elif isinstance(one, Mapping):
            waiting.extend(one.values())
        elif isinstance(one, (tuple, list)):
            waiting.extend(one)
        elif isinstance(one, Split) or (
            dataclasses.is_dataclass(one) and not isinstance(one, Node)
        ):
            waiting.extend(vars(one).values())
    return found


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


def _shaped(items: list[Any], written: Json) -> Any:
    if written["kind"] == "T":
        return np.array(items, np.dtypes.StringDType()).reshape(written["shape"])
    made = np.empty(len(items), object)
    made[:] = items
    return made.reshape(written["shape"])


_PARTS = frozenset({"_parameters", "_buffers", "_modules"})
_KINDS: Mapping[str, Callable[..., Any]] = {
    "tuple": tuple, "list": list, "set": set, "frozenset": frozenset,
}  # fmt: skip
_SPELLED: Mapping[Any, Callable[[Any], Json]] = {
    torch.Size: lambda v: {"size": list(v)},
    torch.dtype: lambda v: {"dtype": str(v)},
    torch.device: lambda v: {"device": v.type},
    bytes: lambda v: {"bytes": base64.b64encode(v).decode()},
    Path: lambda v: {"path": str(v)},
}
