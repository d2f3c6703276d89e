"""What a shell completes: names, read from the sources, so that no technique is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent


def spaces(incomplete: str) -> list[str]:
    """Recipes, and Python files here."""
    from vitruvius.recipes import recipes

    files = [path.name + ":" for path in sorted(Path().glob("*.py"))]
    return _starting(incomplete, [*recipes(), *files])


def searchers(incomplete: str) -> list[str]:
    return _starting(incomplete, _dashed(FOLDER / "search"))


def metrics(incomplete: str) -> list[str]:
    return _starting(incomplete, _dashed(FOLDER / "techniques" / "metrics"))


def techniques(incomplete: str) -> list[str]:
    return _starting(incomplete, _dashed(FOLDER / "techniques") + _dashed(FOLDER / "search"))


def kinds(incomplete: str) -> list[str]:
    return _starting(incomplete, ["classification", "regression"])


def devices(incomplete: str) -> list[str]:
    return _starting(incomplete, ["auto", "cpu", "cuda"])


def dashed(name: str) -> str:
    """A class's name as it is typed: ``MacroF1`` is macro-f1, ``OptunaTPE`` is optuna-tpe."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _dashed(folder: Path) -> list[str]:
    """The concrete nodes with a role in the files of a folder: no class of ours is both a
    technique and the base of another."""
    found = [(c.name, [ast.unparse(b) for b in c.bases]) for c in _dataclasses(folder)]
    abstract = {base for _, bases in found for base in bases} | {"Searcher"}
    return sorted(
        dashed(name)
        for name, bases in found
        if bases not in ([], ["Node"]) and name not in abstract and not name.startswith("_")
    )


def _dataclasses(folder: Path) -> Iterator[ast.ClassDef]:
    for path in folder.rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ClassDef) and any(
                "dataclass" in ast.unparse(d) for d in statement.decorator_list
            ):
                yield statement


def _starting(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
