"""What a shell completes: names, read from the sources, so that no technique is imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
ALL = FOLDER / "techniques"


def spaces(incomplete: str) -> list[str]:
    """Recipes, and Python files here."""
    from vitruvius.recipes import recipes

    files = [path.name + ":" for path in sorted(Path().glob("*.py"))]
    return _starting(incomplete, [*recipes(), *files])


def searchers(incomplete: str) -> list[str]:
    return _starting(incomplete, _dashed(FOLDER / "search", "Searcher"))


def costs(incomplete: str) -> list[str]:
    return _starting(incomplete, ["parameters", "flops", "seconds", "latency"])


def metrics(incomplete: str) -> list[str]:
    return _starting(incomplete, _dashed(ALL / "metrics"))


def techniques(incomplete: str) -> list[str]:
    return _starting(incomplete, _dashed(ALL) + _dashed(FOLDER / "search"))


def kinds(incomplete: str) -> list[str]:
    return _starting(incomplete, ["classification", "regression"])


def devices(incomplete: str) -> list[str]:
    return _starting(incomplete, ["auto", "cpu", "cuda"])


def dashed(name: str) -> str:
    """A class's name as it is typed: ``MacroF1`` is macro-f1, ``OptunaTPE`` is optuna-tpe."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _dashed(folder: Path, role: str | None = None) -> list[str]:
    """The concrete nodes with a role (any, or the one named) in the files of a folder: no class of
    ours is both a technique and the base of another."""
    roles = {role} if role else {"Searcher", "Belief", *_bases(FOLDER / "contracts")}
    folders = [path for path in folder.iterdir() if path.is_dir()] if folder == ALL else [folder]
    names = []
    for one in folders:
        bases = _bases(one)
        above = {base for found in bases.values() for base in found}

        def has_role(name: str, bases: dict[str, list[str]] = bases) -> bool:
            return any(b in roles or (b in bases and has_role(b)) for b in bases[name])

        names += [n for n in bases if n not in above and not n.startswith("_") and has_role(n)]
    return sorted(map(dashed, names))


def _bases(folder: Path) -> dict[str, list[str]]:
    """The classes in the files of a folder, and what each is derived from."""
    return {
        statement.name: [ast.unparse(base).partition("[")[0] for base in statement.bases]
        for path in sorted(folder.rglob("*.py"))
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.ClassDef)
    }


def _starting(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
