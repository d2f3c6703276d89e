"""Every technique and searcher there is, found by walking their folders.

There is no registry: a concrete subclass of a role, in a module of its folder, is in the catalogue.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass
from typing import TypeVar

from vitruvius.space.checking import near
from vitruvius.space.fields import hyperparameters
from vitruvius.space.node import Node

R = TypeVar("R")

TECHNIQUES, SEARCHERS = "vitruvius.techniques", "vitruvius.search"
ROLES = ("vitruvius.contracts", SEARCHERS)


def catalogue(role: type[R]) -> tuple[type[R], ...]:
    """The concrete classes of a role, by name; of ``Node`` all there are.

    Only what may hold the role is imported: searchers need no torch.
    """
    if role.__module__.startswith(SEARCHERS):
        packages = (SEARCHERS,)
    elif role.__module__.startswith("vitruvius.contracts"):
        packages = (TECHNIQUES,)
    else:
        packages = (TECHNIQUES, SEARCHERS)
    found = [cls for package in packages for cls in _classes(package) if issubclass(cls, role)]
    return tuple(sorted(found, key=lambda cls: (cls.__name__.lower(), cls.__module__)))


def find(name: str, role: type[R] = Node) -> type[R]:
    """The class of a name, however it is capitalised: MacroF1, macro_f1, macro-f1.

    Raises ValueError, with what is near, where there is none or more than one.
    """
    known = catalogue(role)
    exact = [cls for cls in known if cls.__name__ == name]
    found = exact or [cls for cls in known if _plain(cls.__name__) == _plain(name)]
    kind = "technique" if role is Node else role.__name__.lower()
    if not found:
        raise ValueError(
            f"There is no {kind} {name!r}. {near(name, [cls.__name__ for cls in known])}"
        )
    if len(found) > 1:
        roles = " and ".join(f"a {role_of(cls)} ({cls.__module__})" for cls in found)
        raise ValueError(f"{name!r} is {roles}. Say which role is meant.")
    return found[0]


def role_of(cls: type) -> str:
    """The nearest contract that a class fulfils; empty where it fulfils none."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith(ROLES) and inspect.isabstract(base):
            return base.__name__
    return ""


@dataclass(frozen=True)
class Field:
    """A hyperparameter in words: default and domain as they are written in a space."""

    name: str
    type: str
    default: str
    """Empty where it must be given."""
    domain: str
    """What ``space()`` opens; empty where it stays as it is."""
    doc: str


@dataclass(frozen=True)
class Description:
    """What is told of a technique; plain data for tables and JSON (``dataclasses.asdict``)."""

    name: str
    role: str
    module: str
    sentence: str
    text: str
    source: str
    differs: str
    fields: tuple[Field, ...]


def describe(cls: type[Node]) -> Description:
    """What docstrings and fields tell of a class."""
    module = importlib.import_module(cls.__module__)
    outer, inner = inspect.cleandoc(module.__doc__ or ""), inspect.cleandoc(cls.__doc__ or "")
    alone = sum(1 for _ in _defined(cls.__module__)) == 1
    paragraphs = [p for p in inner.split("\n\n") if not p.startswith(("Source:", "Differs"))]
    return Description(
        cls.__name__,
        role_of(cls),
        cls.__module__,
        _sentence(outer if alone and _about(outer, "Source:") else inner),
        "\n\n".join(paragraphs),
        _about(inner, "Source:") or _about(outer, "Source:"),
        _about(inner, "Differs from the papers?:") or _about(outer, "Differs from the papers?:"),
        tuple(
            Field(
                h.name,
                h.annotation,
                "" if h.default is MISSING else repr(h.default),
                "" if h.domain is None else repr(h.domain),
                h.doc,
            )
            for h in hyperparameters(cls)
        ),
    )


def written(description: Description, width: int = 96) -> str:
    """A description as text, for the terminal."""
    d = description
    lines = [f"{d.name}  ({d.role}, {d.module})", ""]
    lines += _wrapped(d.sentence, width)
    for paragraph in d.text.split("\n\n"):
        if " ".join(paragraph.split()) != d.sentence:
            lines += ["", *_wrapped(paragraph, width)]
    if d.source:
        lines += ["", *_wrapped(f"Source: {d.source}", width)]
    if d.differs:
        lines += _wrapped(f"Differs from the paper: {d.differs}", width)
    for field in d.fields:
        value = f" = {field.default}" if field.default else " (to be given)"
        lines += ["", f"  {field.name}: {field.type}{value}"]
        if field.doc:
            lines += _wrapped(field.doc, width, "      ")
        if field.domain:
            lines += _wrapped(f"space: {field.domain}", width, "      ")
    return "\n".join(lines)


def listed(classes: Iterable[type[Node]], width: int = 96) -> str:
    """Name and sentence of each class, under its role."""
    by_role: dict[str, list[Description]] = {}
    for cls in classes:
        found = describe(cls)
        by_role.setdefault(found.role, []).append(found)
    lines = []
    for role in sorted(by_role):
        lines += [*([""] if lines else []), role]
        wide = max(len(d.name) for d in by_role[role]) + 4
        for d in by_role[role]:
            lines += textwrap.wrap(
                f"  {d.name}".ljust(wide) + d.sentence, width, subsequent_indent=" " * wide
            )
    return "\n".join(lines)


@functools.cache
def _classes(package: str) -> tuple[type, ...]:
    """The concrete, public classes with a role in a package and all below it."""
    root = importlib.import_module(package)
    names = [package, *(m.name for m in pkgutil.walk_packages(root.__path__, f"{package}."))]
    return tuple(cls for name in names for cls in _defined(name))


def _defined(module: str) -> Iterator[type]:
    for name, cls in vars(importlib.import_module(module)).items():
        if (
            inspect.isclass(cls)
            and cls.__module__ == module
            and issubclass(cls, Node)
            and not name.startswith("_")
            and not inspect.isabstract(cls)
            and role_of(cls)
        ):
            yield cls


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _sentence(text: str) -> str:
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`0-9])", first)[0]


def _about(text: str, word: str) -> str:
    found = re.search(rf"^{word}\s*(.+?)(?=\n\n|\nDiffers|\nSource:|\Z)", text, re.M | re.S)
    return " ".join(found[1].split()) if found else ""


def _wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        " ".join(text.replace("``", "").split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
    )
