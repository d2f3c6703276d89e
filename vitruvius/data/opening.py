"""Opens data of any medium, told by the path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vitruvius.contracts import Documents, Json
from vitruvius.data import arrays, images, tables
from vitruvius.data.builtin import digits
from vitruvius.data.errors import DataError, did_you_mean
from vitruvius.data.loaded import Loaded
from vitruvius.data.text_inputs import read_text_inputs

BUILT_IN = {"digits": digits}
KINDS = "a table (.csv, .tsv, .parquet; .gz too), a folder of images, or an .npz file"


def open_data(
    source: str | os.PathLike[str],
    target: str | None = None,
    *,
    task: str | None = None,
    group: str | None = None,
    header: bool | None = None,
    leave_out: Sequence[str] = (),
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Loaded:
    """Labelled data: "digits", a table, a folder of images by class, or an .npz file.

    ``target`` is the column or array with the answers; of a table also a position: "-1" is the
    last column. ``task`` is "classification" or "regression" where the values mislead. ``group``
    names a column or array of which no value may be cut by a split. ``header`` and ``leave_out``
    are of tables; ``size`` (height and width) and ``channels`` of images.
    """
    if os.fspath(source) in BUILT_IN and not Path(source).exists():
        return BUILT_IN[os.fspath(source)]()
    path = _existing(source)
    if path.is_dir():
        return images.open_images(path, size=size, channels=channels)
    if path.suffix.lower() in (".npz", ".npy"):
        return arrays.open_array(path, target, task=task, group=group)
    if _is_table(path):
        return tables.open_table(
            path, target, task=task, group=group, header=header, leave_out=leave_out
        )
    raise DataError(f"{path} is no kind of data that is known here. Give {KINDS}.")


def read_inputs(path: str | os.PathLike[str], like: Json) -> Documents:
    """New items without answers, read as those that ``like`` (a ``description``) was made from."""
    if os.fspath(path) in BUILT_IN and not Path(path).exists():
        opened = BUILT_IN[os.fspath(path)]()
        if like["medium"] != opened.medium or like["size"] != opened.facts["size"]:
            raise DataError(
                f"The model reads {_kind_of(like)}; {os.fspath(path)!r} is not like it."
            )
        return Documents(opened.documents.payload)
    there = _existing(path)
    medium = like["medium"]
    if medium == "text":
        return read_text_inputs(there, like)
    if medium == "image" and (there.is_dir() or there.suffix.lower() in images.SUFFIXES):
        return images.read_image_inputs(there, like)
    if medium == "image" and there.suffix.lower() == ".npz":
        pixels = {"shape": [like["channels"], *like["size"]], "channels_last": False}
        return Documents({"image": arrays.read_array_inputs(there, pixels).payload["array"]})
    if medium == "array" and there.suffix.lower() == ".npz":
        return arrays.read_array_inputs(there, like)
    if medium == "table" and there.is_file() and _is_table(there):
        return tables.read_table_inputs(there, like)
    raise DataError(f"{there} is of another kind than the model reads: {_kind_of(like)}.")


def _existing(source: str | os.PathLike[str]) -> Path:
    path = Path(source).expanduser()
    if path.exists():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"There is no {path}: the folder {folder} does not exist. Mend the path.")
    names = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
    where = "here" if folder == Path() else f"in {folder}"
    hint = did_you_mean(path.name, [*names, *BUILT_IN])
    raise DataError(f"There is no {path.name!r} {where}. {hint}")


def _is_table(path: Path) -> bool:
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in tables.SUFFIXES


def _kind_of(like: Json) -> str:
    return {
        "table": "a table (.csv, .tsv, .parquet)",
        "image": "an image, a folder of them, or an .npz file with pixels from 0 to 255",
        "text": "a text, a table of them (.jsonl, .csv, .parquet), or a folder",
        "array": f"an .npz file with items of shape {like.get('shape')}",
    }[like["medium"]]
