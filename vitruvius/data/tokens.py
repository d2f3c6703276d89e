"""Documents as tokens, in files that are mapped into memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np

from vitruvius.contracts import Array, Codec, Documents
from vitruvius.data.errors import DataError
from vitruvius.data.mapped import Mapped, Resident

MANIFEST = "manifest.json"
AT_ONCE_BYTES = 2**22
READ_BYTES = 2**24
FLAG = np.dtype(np.uint8)


@runtime_checkable
class Swift(Protocol):
    """A codec that encodes many texts at once: ids, and where words begin if asked for."""

    def encode_many(
        self, texts: Sequence[str], words: bool = False
    ) -> list[tuple[Array, Array | None]]: ...


@dataclass(frozen=True, eq=False)
class Tokens:
    """Documents as ids; document i is ``ids`` from ``starts[i]`` to ``stops[i]``."""

    ids: Mapped | Resident
    starts: Array
    stops: Array
    vocabulary: int
    begins: Mapped | Resident | None = None
    """1 where a word begins; None where that was not asked for."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: Any) -> Any:
        """Ids of a document for an int, else the tokens of these documents."""
        return self.document(int(rows)) if isinstance(rows, (int, np.integer)) else self.take(rows)

    def describe(self) -> dict[str, Any]:
        """What a store keeps."""
        return {
            name: getattr(self, name) for name in ("ids", "starts", "stops", "vocabulary", "begins")
        }

    @classmethod
    def rebuild(cls, written: dict[str, Any]) -> Tokens:
        """The same tokens, their ids in a file that is read by position."""
        return cls(**written)

    @property
    def lengths(self) -> Array:
        """Tokens of each document."""
        return self.stops - self.starts

    def take(self, rows: Array) -> Tokens:
        """The documents at these positions, over the same files."""
        return Tokens(self.ids, self.starts[rows], self.stops[rows], self.vocabulary, self.begins)

    def document(self, row: int) -> Array:
        """Ids of a document."""
        return self.ids.part(int(self.starts[row]), int(self.stops[row]))


def tokenise(
    documents: Documents,
    codec: Codec,
    folder: str | os.PathLike[str] | None = None,
    *,
    words: bool = False,
    column: str = "text",
) -> Tokens:
    """The documents as ids: in memory, or with ``folder`` in files that are mapped from there.

    A folder that holds them already is opened; it is written beside and renamed, so that it is
    whole or not there. Without specials: packing adds them. No more than some MB are in memory.
    """
    if folder is None:
        parts = list(_encoded(documents, codec, words, column))
        ids = np.concatenate([np.zeros(0, _kind(codec)), *(part for part, _, _ in parts)])
        begins = np.concatenate([np.zeros(0, FLAG), *(b for _, b, _ in parts if b is not None)])
        ends = np.cumsum(np.concatenate([np.zeros(0, np.int64), *(n for _, _, n in parts)]))
        flags = Resident(begins) if words else None
        return Tokens(Resident(ids), *_edges(ends), codec.vocabulary, flags)
    target = Path(folder)
    made = {
        "documents": documents.digest,
        "codec": codec_digest(codec),
        "words": words,
        "column": column,
    }
    if _is_whole(target, made):
        return open_tokens(target)
    beside = target.with_name(f"{target.name}.{os.getpid()}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _write(beside, documents, codec, words, column, made)
        shutil.rmtree(target, ignore_errors=True)
        try:
            beside.rename(target)
        except OSError:
            if not _is_whole(target, made):  # else another worker was faster with the same
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return open_tokens(target, verify=False)


def open_tokens(folder: str | os.PathLike[str], verify: bool = True) -> Tokens:
    """Tokens that ``tokenise`` wrote. ``verify`` compares every byte with the digests."""
    path = Path(folder)
    manifest = _manifest(path)
    if manifest is None:
        raise DataError(f"{path} holds no tokens. Tokenise the texts again.")
    for name, facts in manifest["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != facts["bytes"]:
            raise DataError(f"{file} is not whole. Delete {path} and tokenise again.")
        if verify and _digest(file) != facts["sha256"]:
            raise DataError(f"{file} is damaged: its digest differs. Delete {path}.")
    ends = np.load(path / "ends.npy")
    begins = _map(path / "begins.npy") if manifest["made"]["words"] else None
    return Tokens(_map(path / "ids.npy"), *_edges(ends), manifest["vocabulary"], begins)


def codec_digest(codec: Codec) -> str:
    """Of all that decides what a codec of ours encodes; of a foreign one, of its tokens."""
    known = getattr(codec, "digest", None)
    told = known if isinstance(known, str) else json.dumps([type(codec).__name__, codec.tokens()])
    return hashlib.sha256(told.encode()).hexdigest()


def _encoded(
    documents: Documents, codec: Codec, words: bool, column: str
) -> Iterator[tuple[Array, Array | None, Array]]:
    """Ids, where words begin, and lengths, of some MB of text at a time."""
    kind = _kind(codec)
    for texts in _batches(documents, column):
        if isinstance(codec, Swift):
            found = codec.encode_many(texts, words)
        else:
            found = [_one(codec, text, words) for text in texts]
        ids = np.concatenate([part.astype(kind) for part, _ in found])
        begins = np.concatenate([b for _, b in found if b is not None]) if words else None
        yield ids, begins, np.array([len(part) for part, _ in found], np.int64)


def _one(codec: Codec, text: str, words: bool) -> tuple[Array, Array | None]:
    made = codec.encode(text)
    ids = np.array(made.ids, np.int64)
    if not words:
        return ids, None
    if made.words is None:
        raise DataError(f"{type(codec).__name__} tells no words. Choose another tokenizer.")
    numbers = np.array(made.words, np.int64)
    starts = np.ones(len(numbers), np.uint8)
    starts[1:] = numbers[1:] != numbers[:-1]
    return ids, starts


def _batches(documents: Documents, column: str) -> Iterator[list[str]]:
    texts, held = [], 0
    source = documents.payload[column]
    for row in range(len(documents)):
        text = str(source[row])
        texts.append(text)
        held += len(text)
        if held >= AT_ONCE_BYTES:
            yield texts
            texts, held = [], 0
    if texts:
        yield texts


def _write(
    folder: Path, documents: Documents, codec: Codec, words: bool, column: str, made: dict
) -> None:
    ends, total = [np.zeros(0, np.int64)], 0
    with (folder / "ids.npy").open("wb") as ids_file:
        ids = _Growing(ids_file, _kind(codec))
        with (folder / "begins.npy").open("wb") as begins_file:
            begins = _Growing(begins_file, FLAG)
            for part, flags, lengths in _encoded(documents, codec, words, column):
                ids.add(part)
                if flags is not None:
                    begins.add(flags)
                ends.append(total + np.cumsum(lengths))
                total += int(lengths.sum())
            begins.close()
        ids.close()
    if not words:
        (folder / "begins.npy").unlink()
    np.save(folder / "ends.npy", np.concatenate(ends))
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": _digest(file)}
        for file in sorted(folder.iterdir())
    }
    told = {"made": made, "vocabulary": codec.vocabulary, "files": files}
    with (folder / MANIFEST).open("w") as manifest:
        json.dump(told, manifest, indent=1)
        manifest.flush()
        os.fsync(manifest.fileno())


class _Growing:
    """An .npy file of one axis whose length is known at the end."""

    def __init__(self, file: BinaryIO, kind: np.dtype) -> None:
        self.file, self.kind, self.count = file, kind, 0
        self._header()
        self.begin = file.tell()

    def add(self, values: Array) -> None:
        self.file.write(np.ascontiguousarray(values, self.kind).data)
        self.count += len(values)

    def close(self) -> None:
        self.file.seek(0)
        self._header()
        if self.file.tell() != self.begin:
            raise AssertionError("the header of an .npy file grew")
        self.file.flush()
        os.fsync(self.file.fileno())

    def _header(self) -> None:
        shape = {
            "descr": np.lib.format.dtype_to_descr(self.kind),
            "fortran_order": False,
            "shape": (self.count,),
        }
        np.lib.format.write_array_header_1_0(self.file, shape)


def _map(path: Path) -> Mapped:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (count,), _, kind = np.lib.format.read_array_header_1_0(file)
        return Mapped(file, kind, count, file.tell())


def _edges(ends: Array) -> tuple[Array, Array]:
    return np.concatenate([np.zeros(min(len(ends), 1), np.int64), ends[:-1]]), ends


def _kind(codec: Codec) -> np.dtype:
    return np.dtype(np.uint16 if codec.vocabulary <= 2**16 else np.uint32)


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def _is_whole(folder: Path, made: dict[str, Any]) -> bool:
    manifest = _manifest(folder)
    if manifest is None or manifest.get("made") != made:
        return False
    try:
        open_tokens(folder)
    except DataError:
        return False
    return True


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            found.update(block)
    return found.hexdigest()
