"""Bytes of files as text: compressed or not, in whatever encoding, in blocks of some MB."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from vitruvius.data.errors import DataError
from vitruvius.data.tally import Tally

BLOCK = 2**24
HEAD = 2**13
MARKS = (  # longer ones first: UTF-16's is how UTF-32's begins
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MAGIC = (
    b"%PDF-", b"\x89PNG", b"PK\x03\x04", b"GIF8", b"\xff\xd8\xff", b"\x7fELF", b"BZh",
    b"\xfd7zXZ", b"7z\xbc\xaf", b"RIFF", b"OggS", b"ID3", b"\x28\xb5\x2f\xfd", b"PAR1", b"SQLite",
)  # fmt: skip
CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\r\f\b\x1b")
MOST_CONTROLS = 0.02


class NotText(Exception):
    """A file that is no text; ``kind`` says what it is, as ``Tally`` counts it."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def blocks(path: Path, tally: Tally, where: str, encoding: str | None = None) -> Iterator[str]:
    """The text of a file in blocks of about 16 MB that end with a line. Lines end with "\\n".

    UTF-8 with or without a mark, UTF-16 and UTF-32 with one; lines that are not UTF-8 are Latin-1
    (Windows-1252). Raises NotText, before any block, where it is none; with ``encoding``, DataError
    where that is not the file's.
    """
    try:
        with opened(path) as file:
            yield from _decoded(file, tally, where, encoding)
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise NotText("gzip") from e
    except OSError as e:
        raise NotText("unreadable") from e


def opened(path: Path) -> BinaryIO:
    """A file for reading, decompressed where it is gzip, told by its content."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")


def looks_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are no text."""
    if any(head.startswith(mark) for mark, _ in MARKS):
        return False
    if head.startswith(MAGIC) or b"\0" in head:
        return True
    return len(head) - len(head.translate(None, CONTROLS)) > MOST_CONTROLS * len(head)


def _decoded(file: BinaryIO, tally: Tally, where: str, encoding: str | None) -> Iterator[str]:
    head = file.read(HEAD)
    if not encoding and looks_binary(head):
        raise NotText("binary")
    wide = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if encoding or wide:
        if wide and not encoding:
            tally.add("utf-16", where)
        yield from _given(file, head, encoding or str(wide), where, strict=encoding is not None)
        return
    found: set[str] = set()
    rest = head.removeprefix(codecs.BOM_UTF8)
    try:
        while rest or (rest := file.read(BLOCK)):
            block = rest + file.read(BLOCK - len(rest)) if len(rest) < BLOCK else rest
            rest = b""
            if block[-1:] != b"\n":
                block += file.readline(BLOCK)
                block, rest = _whole(block)
            if b"\0" in block:
                found.add("zero")
                block = block.replace(b"\0", b"")
            yield _mended(block, found).replace("\r\n", "\n")
    finally:
        if {"utf-8", "latin"} <= found:
            tally.add("mixed", where)
        elif "latin" in found:
            tally.add("latin", where)
        if "zero" in found:
            tally.add("zero", where)


def _given(file: BinaryIO, head: bytes, encoding: str, where: str, strict: bool) -> Iterator[str]:
    try:
        decode = codecs.getincrementaldecoder(encoding)("strict" if strict else "replace")
        block = head
        while block:
            yield decode.decode(block).replace("\r\n", "\n")
            block = file.read(BLOCK)
        if last := decode.decode(b"", True):
            yield last
    except LookupError as e:
        raise DataError(f"There is no encoding {encoding!r}. Give one like 'utf-8'.") from e
    except UnicodeError as e:
        raise DataError(
            f"{where} is not in {encoding}: {e}. Leave encoding out, and it is found out."
        ) from e


def _whole(block: bytes) -> tuple[bytes, bytes]:
    """Without a character that is cut at the end, and that."""
    for back in range(1, min(4, len(block)) + 1):
        byte = block[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:  # the first of a character
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return (block[:-back], block[-back:]) if needed > back < len(block) else (block, b"")
    return block, b""


def _mended(block: bytes, found: set[str]) -> str:
    try:
        text = block.decode()
        if not text.isascii():
            found.add("utf-8")
        return text
    except UnicodeDecodeError:
        return "".join(_line(line, found) for line in block.splitlines(keepends=True))


def _line(line: bytes, found: set[str]) -> str:
    try:
        text = line.decode()
        if not text.isascii():
            found.add("utf-8")
        return text
    except UnicodeDecodeError:
        found.add("latin")
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def readable(texts: Iterator[str]) -> io.TextIOBase:
    """Blocks of text as a file of lines, for the csv module."""
    return _Lines(texts)


class _Lines(io.TextIOBase):
    def __init__(self, texts: Iterator[str]) -> None:
        self.texts = texts
        self.held = io.StringIO(newline="")

    def readline(self, size: int = -1, /) -> str:
        line = self.held.readline()
        while not line.endswith("\n"):
            block = next(self.texts, None)
            if block is None:
                return line
            self.held = io.StringIO(line + block, newline="")
            line = self.held.readline()
        return line

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")
