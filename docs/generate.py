"""Writes docs/techniques.md from the catalogue. ``--check``: say whether it is current."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

import vitruvius.contracts
import vitruvius.search
from vitruvius.catalogue import Description, catalogue, describe
from vitruvius.space import Node

PAGE = Path(__file__).with_name("techniques.md")
HEAD = """\
# Techniques

<!-- Written by docs/generate.py from the catalogue. Do not edit: mend the docstrings, then run
     python docs/generate.py -->

Everything that a space can name today. A method is one file with a frozen dataclass in it; its
fields are its hyperparameters. The third column is what `.space()` opens; where it is empty, the
field keeps its default until you put a domain there yourself. The same text is on the command line:
`vitruvius techniques NAME`. To add one, see [Add a technique](add-a-technique.md).
"""


def page() -> str:
    """The page, in Markdown."""
    by_role: dict[str, list[Description]] = {}
    for cls in catalogue(Node):
        found = describe(cls)
        by_role.setdefault(found.role, []).append(found)
    sections = [section(role, found) for role, found in sorted(by_role.items())]
    return "\n".join([HEAD, contents(by_role), *sections])


def contents(by_role: dict[str, list[Description]]) -> str:
    """One line for each role, with links to its techniques."""
    lines = ["| role | techniques |", "|---|---|"]
    for role, found in sorted(by_role.items()):
        names = ", ".join(f"[{d.name}](#{d.name.lower()})" for d in found)
        lines.append(f"| [{role}](#role-{role.lower()}) | {names} |")
    return "\n".join(lines) + "\n"


def section(role: str, found: list[Description]) -> str:
    """A role with all of its techniques."""
    contract = getattr(vitruvius.contracts, role, getattr(vitruvius.search, role, None))
    words = inspect.cleandoc((contract and contract.__doc__) or "").split("\n\n")[0]
    head = f"## Role: {role}\n\n{escaped(' '.join(words.split()))}\n"
    return "\n".join([head, *map(technique, found)])


def technique(d: Description) -> str:
    """One technique: sentence, text, source, hyperparameters."""
    blocks = [f"### {d.name}", escaped(d.sentence)]
    for paragraph in d.text.split("\n\n"):
        if " ".join(paragraph.split()) != d.sentence:
            blocks.append(escaped(paragraph))
    if d.fields:
        rows = ["| field | default | space | what it is |", "|---|---|---|---|"]
        for f in d.fields:
            cells = (
                f"`{f.name}`",
                code(f.default) or "to be given",
                code(f.domain),
                escaped(f.doc),
            )
            rows.append(f"| {' | '.join(cells)} |")
        blocks.append("\n".join(rows))
    blocks.append(f"Source: {escaped(d.source)}")
    if d.differs:
        blocks.append(f"Differs from the source: {escaped(d.differs)}")
    return "\n\n".join([*blocks, f"In `{d.module}`.\n"])


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def escaped(text: str) -> str:
    """Text of a docstring as Markdown: formulas keep their stars, shapes their brackets."""
    pieces = text.replace("``", "`").split("`")
    for i in range(0, len(pieces), 2):
        for mark in ("\\", "*", "_", "[", "]", "<", "|"):
            pieces[i] = pieces[i].replace(mark, "\\" + mark)
    return "`".join(pieces)


def main() -> int:
    """Exit status 1 where ``--check`` finds the page out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    made = page()
    if not parser.parse_args().check:
        PAGE.write_text(made, encoding="utf-8")
        print(f"{PAGE.name} is written")
    elif PAGE.read_text(encoding="utf-8") != made:
        print(f"{PAGE.name} is not current. Run: python docs/generate.py")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
