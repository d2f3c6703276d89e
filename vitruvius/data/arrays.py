"""Arrays in one .npz file: inputs with labels, read without pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.contracts import Array, Documents, Json, Task
from vitruvius.data.errors import DataError, listed, numbered
from vitruvius.data.loaded import PART_NAMES, Loaded, attributes
from vitruvius.data.targets import target_of

INPUTS = ("x", "inputs", "input", "data", "images", "image", "features")
LABELS = ("y", "labels", "label", "target", "targets")


def open_array(
    path: Path, target: str | None = None, *, task: str | None = None, group: str | None = None
) -> Loaded:
    """Inputs [N ...] with labels [N]; or several of both, named x_train, y_train, x_test, ..."""
    file = _read(path)
    parts = _parts_in(file, target)
    if not parts:
        raise DataError(_what_is_missing(path, file, target))
    x, y, split = _joined(path, file, parts)
    if group is not None and group not in file:
        raise DataError(f"{path.name} has no array {group!r}. It has {listed(list(file))}.")
    groups = None if group is None else _aligned(path, group, file[group], len(x))
    answer = target_of(_labels(path, y, len(x)), f"{path.name}, labels", task)
    payload, channels = _payload(path, x)
    return Loaded(
        Documents(
            {"array": payload},
            attributes(
                answer.label,
                split=split,
                group=None if groups is None else np.unique(groups, return_inverse=True)[1],
            ),
        ),
        Task(path.stem, "item", answer.classes, group="group" if group else None),
        str(path),
        "array",
        (answer.note,),
        {"shape": list(payload.shape[1:]), "channels_last": channels},
    )


def read_array_inputs(path: Path, like: Json) -> Documents:
    """Inputs of the shape that ``like`` describes, from an .npz with or without labels."""
    file = _read(path)
    name = _named(file, INPUTS) or _named(file, [f"{n}_test" for n in INPUTS])
    if name is None:
        numeric = [n for n in file if n.lower() not in LABELS]
        if len(numeric) != 1:
            raise DataError(f"{path.name} has no array 'x'. It has {listed(list(file))}.")
        name = numeric[0]
    x = _numeric(path, name, file[name])
    payload = _first_channel(x) if like["channels_last"] else _with_channel(x, like["shape"])
    if list(payload.shape[1:]) != list(like["shape"]):
        raise DataError(
            f"{path.name}, {name!r} has items of shape {list(x.shape[1:])}; the model reads "
            f"{like['shape']}. Give arrays of that shape."
        )
    if not len(payload):
        raise DataError(f"{path.name}, {name!r} has no rows to predict. Give at least one.")
    return Documents({"array": payload})


def _read(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as content:
            file = np.load(content, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds one array. Save x and y: numpy.savez(path, x=, y=).")
            return {name: _member(path, file, name) for name in file.files}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as e:
        if isinstance(e, DataError):
            raise
        raise DataError(
            f"{path} is not a readable .npz file ({e}). Save it with numpy.savez(path, x=, y=)."
        ) from e


def _member(path: Path, file: Any, name: str) -> Array:
    try:
        return np.asarray(file[name])
    except ValueError as e:
        raise DataError(
            f"{path.name}, {name!r} cannot be read without pickle, which may run foreign code "
            f"({e}). Save it as a plain array: numbers, or strings with .astype(str)."
        ) from e


def _named(file: Mapping[str, Array], names: Any) -> str | None:
    lowered = {n.lower(): n for n in reversed(list(file))}
    return next((lowered[n] for n in names if n in lowered), None)


def _parts_in(file: Mapping[str, Array], target: str | None) -> list[tuple[int | None, str, str]]:
    """(part or None, name of the inputs, name of the labels) of each pair."""
    labels = LABELS if target is None else (target.lower(),)
    plain = _named(file, INPUTS), _named(file, labels)
    if plain[0] and plain[1]:
        return [(None, plain[0], plain[1])]
    found: dict[int, tuple[int | None, str, str]] = {}
    for word, part in PART_NAMES.items():
        x = _named(file, [w for n in INPUTS for w in (f"{n}_{word}", f"{word}_{n}")])
        y = _named(file, [w for n in labels for w in (f"{n}_{word}", f"{word}_{n}")])
        if x and y:
            found.setdefault(part, (part, x, y))
    return [found[part] for part in sorted(found)]


def _what_is_missing(path: Path, file: Mapping[str, Array], target: str | None) -> str:
    has = f"It has {listed(list(file))}." if file else "It holds no array at all."
    if target is not None and _named(file, (target.lower(),)) is None:
        return f"{path.name} has no array {target!r} for labels. {has}"
    if _named(file, INPUTS) or any(n.lower().startswith(tuple(INPUTS)) for n in file):
        return f"{path.name} has no labels: it needs an array 'y' beside the inputs. {has}"
    return f"{path.name} has no inputs: it needs arrays 'x' and 'y'. {has}"


def _joined(
    path: Path, file: Mapping[str, Array], parts: list[tuple[int | None, str, str]]
) -> tuple[Array, Array, Array | None]:
    xs = [_numeric(path, x, file[x]) for _, x, _ in parts]
    ys = [_aligned(path, y, file[y], len(a), x) for (_, x, y), a in zip(parts, xs, strict=True)]
    shapes = {a.shape[1:] for a in xs}
    if len(shapes) > 1:
        raise DataError(f"{path.name}: its parts differ in shape: {sorted(shapes)}. Make them one.")
    if parts[0][0] is None:
        name = _named(file, ("split",))
        split = None
        if name is not None and file[name].dtype.kind in "US":
            words = [str(w).lower() for w in _aligned(path, name, file[name], len(xs[0]))]
            if all(w in PART_NAMES for w in words):
                split = np.array([PART_NAMES[w] for w in words], np.int8)
        return xs[0], ys[0], split
    split = np.concatenate(
        [np.full(len(a), p, np.int8) for (p, _, _), a in zip(parts, xs, strict=True)]
    )
    return np.concatenate(xs), np.concatenate(ys), split


def _numeric(path: Path, name: str, x: Array) -> Array:
    if x.dtype.kind not in "fiub":
        raise DataError(
            f"{path.name}, {name!r} holds {x.dtype}, where numbers are needed. "
            "Convert it to float32 or uint8."
        )
    if x.ndim == 0:
        raise DataError(f"{path.name}, {name!r} is a single number. The first axis counts items.")
    if 0 in x.shape[1:]:
        raise DataError(f"{path.name}, {name!r} has items of shape {x.shape[1:]}: nothing in them.")
    if x.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(x).all(tuple(range(1, x.ndim)))).tolist()
        if bad:
            raise DataError(
                f"{path.name}, {name!r} holds NaN or infinity in {len(bad):,} of {len(x):,} items "
                f"({numbered(bad, 'item')}). Fill these values in, or leave the items out."
            )
    return _plain(x)


def _plain(x: Array) -> Array:
    """In one of the number types that torch computes with, none of them less exact."""
    for dtype in (np.uint8, np.int8, np.int16, np.int32, np.int64, np.float32):
        if x.dtype.kind in "biuf" and np.can_cast(x.dtype, dtype, "safe"):
            return x.astype(dtype, copy=False)
    return x.astype(np.float64, copy=False)


def _aligned(path: Path, name: str, array: Array, items: int, inputs: str = "x") -> Array:
    if array.ndim == 0 or len(array) != items:
        have = len(array) if array.ndim else 1
        raise DataError(
            f"{path.name}: {name!r} has {have:,} rows, but {inputs!r} has {items:,}. "
            "Both need one row for each item."
        )
    return array


def _labels(path: Path, y: Array, items: int) -> Array:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if (
        y.ndim == 2
        and y.dtype.kind in "fiub"
        and (np.isin(y, (0, 1)).all() and (y.sum(1) == 1).all())
    ):
        y = y.argmax(1)
    if y.ndim != 1:
        raise DataError(
            f"{path.name}: labels have shape {y.shape}; one label for each of the {items:,} items "
            "is needed. Choose one column of them."
        )
    if y.dtype.kind in "US":
        words = np.empty(len(y), object)
        words[:] = [w.strip() or None for w in y.astype(str).tolist()]
        return words
    if y.dtype.kind not in "fiub":
        raise DataError(f"{path.name}: labels are {y.dtype}. Give whole numbers or strings.")
    return y.astype(object) if y.dtype.kind == "b" else y


def _payload(path: Path, x: Array) -> tuple[Array, bool]:
    """[N F], or [N C ...] with the channel first; and whether it was last in the file."""
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        return _first_channel(x), True
    return _with_channel(x, None), False


def _first_channel(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim == 4 else x


def _with_channel(x: Array, shape: list[int] | None) -> Array:
    if x.ndim == 1:
        return x[:, None]
    if x.ndim == 3 and (shape is None or len(shape) == 3):
        return x[:, None]
    return x
