"""Files of a folder that are the parts of one set: train, validation (dev) and test."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vitruvius.data.errors import DataError, did_you_mean, listed
from vitruvius.data.loaded import PART_NAMES, PARTS, part_of
from vitruvius.data.rows import TABLES, suffix_of

WORDS = (".conll", ".bio", ".iob", ".iob2")
LABELLED = (*TABLES, *WORDS, ".txt")
SHARD = re.compile(r"[-_.]\d+[-_.]of[-_.]\d+", re.IGNORECASE)


@dataclass(frozen=True)
class PartFile:
    """A file, and the part it is; None where its rows say so, or nothing does."""

    path: Path
    part: int | None = None


def part_files(root: Path) -> list[PartFile]:
    """The file itself, or those of a folder, the training part first.

    Files are of one set whose names differ in the part alone ("cite_train.jsonl.gz" and
    "cite_dev.jsonl.gz"). Of a folder with several sets, ``root`` is one by what its names begin
    with: "folder/cite". Raises DataError where there is no training part, or more than one.
    """
    if root.is_file():
        return [PartFile(root)]
    folder, prefix = (root, "") if root.is_dir() else (root.parent, root.name)
    sets = _sets(folder) if folder.is_dir() else {}
    if prefix:
        sets = {name: files for name, files in sets.items() if name == prefix}
        if not sets:
            near = [p.name for p in folder.iterdir()] if folder.is_dir() else []
            raise DataError(f"There is no {root}. {did_you_mean(root.name, near)}")
    elif alone := _alone(folder, sets):
        return [PartFile(alone)]
    trained = {name: files for name, files in sets.items() if any(f.part == 0 for f in files)}
    if not trained:
        if not sets:
            raise DataError(
                f"{root} holds no labelled data. Give a table, or a folder with files called "
                f"train, validation and test ({', '.join(LABELLED)}, each also .gz)."
            )
        found = sorted({PARTS[f.part or 0] for files in sets.values() for f in files})
        names = [f.path.name for files in sets.values() for f in files]
        raise DataError(
            f"{root} holds no training part, only {' and '.join(found)} ({listed(names, 3)}). Add "
            "one called train, or give a file itself, and its parts are cut from it."
        )
    if len(trained) > 1 and "" not in trained:
        raise DataError(
            f"{root} holds several sets: {listed(sorted(trained))}. "
            f"Give one by its name: {root / min(trained)}."
        )
    files = trained[""] if "" in trained else next(iter(trained.values()))
    for part, name in enumerate(PARTS):
        twice = [f.path for f in files if f.part == part]
        if len(twice) > 1 and not all(SHARD.search(p.name) for p in twice):
            raise DataError(
                f"{root} holds more than one {name} part: {listed([p.name for p in twice])}. "
                "Keep one of them."
            )
    return sorted(files, key=lambda f: (f.part or 0, f.path.name))


def _sets(folder: Path) -> dict[str, list[PartFile]]:
    """Files with a part in their name, by the name without it."""
    found: dict[str, list[PartFile]] = {}
    for path in _files(folder):
        stem = SHARD.sub("", path.name)[: -len("".join(_suffixes(path))) or None]
        part = part_of(stem)
        if part is not None:
            words = re.split(r"([\W_]+)", stem)
            rest = "".join(w for w in words if w.lower() not in PART_NAMES)
            name = re.sub(r"([\W_])[\W_]+", r"\1", rest).strip("._- ")
            found.setdefault(name, []).append(PartFile(path, part))
    return found


def _alone(folder: Path, sets: dict[str, list[PartFile]]) -> Path | None:
    """The only file of a folder, where no name speaks of a part."""
    files = [] if sets else [p for p in _files(folder) if suffix_of(p) != ".txt"]
    return files[0] if len(files) == 1 else None


def _files(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    return [p for p in found if p.is_file() and suffix_of(p) in LABELLED]


def _suffixes(path: Path) -> list[str]:
    suffixes = path.suffixes
    return suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:]
