"""Python source as data: from the docstring of a function to its code; whole files as a corpus."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import re
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitruvius.contracts import Documents, Task
from vitruvius.data.corpora import STRINGS, text_files
from vitruvius.data.errors import DataError
from vitruvius.data.loaded import Loaded
from vitruvius.data.tally import Tally
from vitruvius.data.texts import Spool

STANDARD_LIBRARY = "the standard library"
LEFT_OUT = frozenset(
    (
        "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "pydoc_data",
        "site-packages", "dist-packages", "node_modules", "__pycache__", "__phello__", "venv",
        "_bundled", "build", "dist",
    )
)  # fmt: skip
"""Folders of tests, demonstrations and what others wrote."""
LEAST_WORDS = 4
SPACE = re.compile(r"\s+")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Pair:
    """What a function says of itself, and its source without that."""

    query: str
    positive: str


def open_functions(
    folder: str | os.PathLike[str] | None = None, *, words: int = LEAST_WORDS
) -> Loaded:
    """Docstrings of functions and methods, each with its function: level "set".

    Of all Python files in a folder, or of the standard library of the running Python (None),
    without tests, demonstrations and installed packages. Payload "query": the first paragraph of a
    docstring, if it has at least so many ``words``; "positive": the source from the decorators on,
    with its comments, dedented, without this docstring and those of what is defined inside.
    Attributes "source" (path in the folder) and "group": the top-level package or module; of a
    folder that holds more than half of all, each part of it. Functions that only pass or raise
    NotImplementedError are left out, and so are repetitions of a query or a positive.
    """
    tally = Tally()
    sources: list[str] = []
    groups: list[str] = []
    seen: set[tuple[int, str]] = set()
    again = 0
    with Spool() as queries, Spool() as positives:
        for where, (path, group) in _paths(folder).items():
            for pair in functions(_read(path, where, tally), where, tally, words):
                keys = [(i, _bare(t)) for i, t in enumerate((pair.query, pair.positive))]
                if not seen.isdisjoint(keys):
                    again += 1
                    continue
                seen.update(keys)
                queries.add(pair.query)
                positives.add(pair.positive)
                sources.append(where)
                groups.append(group)
        digest = hashlib.sha256(f"{queries.digest} {positives.digest}".encode()).hexdigest()
        payload = {"query": queries.column(), "positive": positives.column()}
    named = _named(folder)
    if not sources:
        raise DataError(
            f"{named} holds no Python function with a docstring of {words} words. "
            f"{' '.join(tally.notes())} Give a folder with some."
        )
    known = {"source": np.array(sources, STRINGS), "group": np.array(groups, STRINGS)}
    notes = [f"{named}: {len(sources):,} functions in {len(set(groups)):,} packages and modules."]
    if again:
        notes.append(f"{again:,} functions left out whose docstring or source is there already.")
    facts = {
        "level": "set", "text": "query", "other": "positive", "label": None, "header": True,
        "columns": ["query", "positive"], "unit": "line", "encoding": None,
    }  # fmt: skip
    return Loaded(
        Documents(payload, digest=digest).annotate(known),
        Task("functions", "set"),
        named,
        "text",
        (*notes, *tally.notes()),
        facts,
    )


def open_code(
    folder: str | os.PathLike[str] | None = None, *, without: Collection[str] = ()
) -> Loaded:
    """The Python files that ``open_functions`` reads as a corpus: payload "text", a file each.

    ``without`` names groups whose files are left out: those of held-out functions, so that a model
    that is pretrained on the rest has not seen them. Attributes "source" and "group" as there.
    """
    tally = Tally()
    paths, named, left = _paths(folder), _named(folder), set(without)
    if unknown := sorted(left - {group for _, group in paths.values()}):
        raise DataError(f"{named} has no package or module {unknown[0]!r} to leave out. Mend it.")
    sources: list[str] = []
    groups: list[str] = []
    with Spool() as spool:
        for where, (path, group) in paths.items():
            if group in left or not (text := _read(path, where, tally)).strip():
                continue
            spool.add(text)
            sources.append(where)
            groups.append(group)
        if not sources:
            raise DataError(f"{named} holds no Python file that is not left out. Give others.")
        documents = Documents({"text": spool.column()}, digest=spool.digest)
    notes = [f"{named}: {len(documents):,} Python files, {spool.total / 1e6:,.1f} MB."]
    if count := sum(group in left for _, group in paths.values()):
        notes.append(f"{count:,} files of {len(left):,} packages and modules left out.")
    return Loaded(
        documents.annotate(
            {"source": np.array(sources, STRINGS), "group": np.array(groups, STRINGS)}
        ),
        Task("code", "item"),
        named,
        "text",
        (*notes, *tally.notes()),
        {"level": "item", "text": None, "unit": "file", "encoding": None},
    )


def functions(text: str, where: str, tally: Tally, words: int = LEAST_WORDS) -> Iterator[Pair]:
    """The documented functions of a file, in the order of their lines; inner ones too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes, and comparisons by identity
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tally.add("syntax", where)
        return
    found = [node for node in _within(tree) if isinstance(node, Function)]
    lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
    for node in sorted(found, key=lambda node: node.lineno):
        told = re.split(r"\n\s*\n", ast.get_docstring(node) or "")[0]
        query = " ".join(told.split())
        if len(query.split()) >= words and not query.startswith(">>>") and _does(node):
            yield Pair(query, _source(node, lines))


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """All statements in a node, however deep; without expressions, which hold no functions."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for inner in getattr(node, name, ()):
            yield inner
            yield from _within(inner)


def _does(node: Function) -> bool:
    """Whether anything is done beside pass, ..., and raising NotImplementedError."""
    for statement in node.body[1:]:
        if isinstance(statement, ast.Pass):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.Raise) and "NotImplementedError" in ast.dump(statement):
            continue
        return True
    return False


def _source(node: Function, lines: list[bytes]) -> str:
    """The lines of a function without docstrings. Positions of ast are in bytes of UTF-8."""
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
    last = node.end_lineno or node.lineno
    kept: list[bytes | None] = list(lines[first:last])
    kept[-1] = (kept[-1] or b"")[: node.end_col_offset]
    margin = len(lines[first]) - len(lines[first].lstrip(b" \t\f"))
    indent = lines[first][:margin]
    for one in (node, *_within(node)):
        if not isinstance(one, Documented):
            continue
        statement = one.body[0]
        if ast.get_docstring(one, clean=False) is not None:
            _cut(statement, kept, first, alone=len(one.body) == 1)
    left = [line.removeprefix(indent) for line in kept if line is not None]
    return b"\n".join(left).decode("utf-8", "surrogatepass").strip("\n")


def _cut(statement: ast.stmt, kept: list[bytes | None], first: int, alone: bool) -> None:
    """Remove a statement; ``alone`` leaves an ellipsis in its place."""
    start, stop = statement.lineno - 1 - first, (statement.end_lineno or 0) - 1 - first
    before = (kept[start] or b"")[: statement.col_offset]
    after = (kept[stop] or b"")[statement.end_col_offset :]
    if alone:
        kept[start] = before + b"..." + after
    elif after.strip().startswith(b";"):  # def f(): "told"; return 1
        kept[start] = before + after.strip()[1:].lstrip()
    else:
        rest = after.strip()
        kept[start] = before + rest if rest else None
    for line in range(start + 1, stop + 1):
        kept[line] = None


def _named(folder: str | os.PathLike[str] | None) -> str:
    return STANDARD_LIBRARY if folder is None else os.fspath(folder)


def _bare(text: str) -> str:
    return SPACE.sub(" ", text.strip()).casefold()


def _paths(folder: str | os.PathLike[str] | None) -> dict[str, tuple[Path, str]]:
    """The Python files that are read, with the group of each, by path in the folder."""
    root = Path(sysconfig.get_path("stdlib") if folder is None else folder).expanduser()
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Give one with Python files.")
    paths = [path for path in text_files(root, LEFT_OUT) if path.suffix == ".py"]
    inside = [path.relative_to(root) for path in paths]
    groups = _groups([path.parts for path in inside])
    return {i.as_posix(): (p, g) for i, p, g in zip(inside, paths, groups, strict=True)}


def _groups(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The first part of each path; of a folder that holds more than half of all, what is in it."""
    shared: tuple[str, ...] = ()
    while True:
        within = [parts for parts in paths if parts[: len(shared)] == shared]
        folders = Counter(p[len(shared)] for p in within if len(p) > len(shared) + 1)
        (name, count), *_ = [*folders.most_common(1), ("", 0)]
        if 2 * count <= len(paths):
            break
        shared = (*shared, name)
    deep = len(shared) + 1
    cut = [parts[: deep if parts[: len(shared)] == shared else 1] for parts in paths]
    return [".".join(parts).removesuffix(".py") for parts in cut]


def _read(path: Path, where: str, tally: Tally) -> str:
    """The text of a file in the encoding that it declares; empty where that cannot be read."""
    try:
        content = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except (SyntaxError, UnicodeDecodeError):
        tally.add("syntax", where)
    except OSError:
        tally.add("unreadable", where)
    return ""
