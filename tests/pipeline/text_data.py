"""Real texts that every Python has: docstrings of its standard library, by package."""

from __future__ import annotations

import ast
import csv
import functools
import sysconfig
from pathlib import Path

PACKAGES = ("asyncio", "email", "unittest")


@functools.cache
def docstrings(package: str, most: int = 60) -> tuple[str, ...]:
    """First paragraphs of a package's docstrings, each once, sorted."""
    found: set[str] = set()
    for path in sorted((Path(sysconfig.get_path("stdlib")) / package).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                told = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if len(told.split()) >= 4:
                    found.add(told)
    return tuple(sorted(found)[:most])


def rows() -> list[tuple[str, str]]:
    """(text, package)."""
    return [(text, package) for package in PACKAGES for text in docstrings(package)]


def write(path: Path, heading: tuple[str, ...], lines: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(heading)
        writer.writerows(lines)
    return path


def labelled(folder: Path) -> Path:
    """A table of texts with their package."""
    return write(folder / "labels.csv", ("text", "label"), list(rows()))


def pairs(folder: Path) -> Path:
    """A table of the two halves of a text: a query, and what goes on from it."""
    halves = [(t.split(), t) for t, _ in rows() if len(t.split()) >= 8]
    return write(
        folder / "pairs.csv",
        ("query", "positive"),
        [(" ".join(w[: len(w) // 2]), " ".join(w[len(w) // 2 :])) for w, _ in halves],
    )


def compared(folder: Path) -> Path:
    """A table of two texts and whether they are of one package."""
    texts = rows()
    lines = []
    for i, (text, package) in enumerate(texts):
        other, its = texts[(7 * i + 3) % len(texts)]
        lines.append((text, other, "same" if package == its else "other"))
    return write(folder / "compared.csv", ("text_a", "text_b", "label"), lines)


def tagged(folder: Path) -> Path:
    """Words of texts, capitalised ones as entities, in lines of word and tag."""
    blocks = []
    for text, _ in rows():
        words = text.split()[:12]
        tags = ["B-NAME" if word[:1].isupper() else "O" for word in words]
        blocks.append("\n".join(f"{w}\t{t}" for w, t in zip(words, tags, strict=True)))
    path = folder / "tags.tsv"
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def corpus(folder: Path) -> Path:
    """A folder of files: docstrings of other packages."""
    place = folder / "texts"
    place.mkdir()
    for package in ("logging", "json", "http", "multiprocessing"):
        for i, text in enumerate(docstrings(package)):
            (place / f"{package}{i:03}.txt").write_text(text, encoding="utf-8")
    return place
