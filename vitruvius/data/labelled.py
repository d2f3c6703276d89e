"""Labelled texts of every level: one text, words with tags, two texts, queries with answers."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vitruvius.contracts import Column, Documents, Task
from vitruvius.data.columns import Given, NoText
from vitruvius.data.corpora import FOLDER, open_texts
from vitruvius.data.errors import DataError, listed
from vitruvius.data.gathering import Gathered
from vitruvius.data.labels import answers, label_texts
from vitruvius.data.loaded import PARTS, Loaded, part_of
from vitruvius.data.parts import part_files
from vitruvius.data.sentences import words_column
from vitruvius.data.tagged import word_labels
from vitruvius.data.texts import Spool, Texts

OUTSIDE = "O"  # the tag of words that are of no entity
MOST_WORDS = 1000  # of a sentence; labels of all are one array as wide as the longest
ITEMS = {"item": "texts", "token": "sentences", "pair": "pairs", "set": "queries"}
PAYLOAD = {"item": ("text",), "pair": ("text", "other"), "set": ("query", "positive")}


def open_labelled(
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    label: str | None = None,
    other: str | None = None,
    key: str | None = None,
    task: str | None = None,
    sources: str | None = None,
    corpus: Loaded | None = None,
) -> Loaded:
    """Labelled texts from a table, a file of words with tags, or a folder with files for the parts.

    The columns ``text``, ``other`` and ``label`` are found by their names and values if not given,
    and with them the level: "item" (payload "text"), "pair" ("text", "other"), "set" ("query",
    "positive", no label) or "token" ("words"; label int64 [N W], 0 beyond the last word; "O" is
    class 0). ``task`` is "classification" or "regression" where the values mislead. A table without
    texts names those of ``corpus`` in the column ``key``. In a folder of folders each file is a
    text, and its class the folder's name.

    Attributes: "label"; "split" where files, keys or a column "split" say it; "source" where
    ``sources`` names its column; "group" where a column of that name is, and for words the number
    of their document. What is found, skipped or mended is in ``notes``. Raises DataError.
    """
    root = Path(path).expanduser()
    if key is not None and corpus is None:
        raise DataError(f"open_labelled: key={key!r} names texts of a corpus. Give it: corpus=...")
    if corpus is not None and key is not None:
        return label_texts(corpus, root, label, key=key, task=task)
    if root.is_dir() and (classes := _class_folders(root)):
        return _foldered(root, classes, task)
    gathered = Gathered(Given(text, label, other, sources), keyed=corpus is not None)
    try:
        for file in part_files(root):
            gathered.read(file)
    except NoText:
        if corpus is None:
            raise
        return label_texts(corpus, root, label, task=task)
    if not gathered.texts:
        said = " ".join(gathered.tally.notes())
        raise DataError(f"{root} holds no labelled text. {said} Give a table with some.")
    made = _tagged(gathered) if gathered.level == "token" else _told(gathered, task)
    documents, classes, notes = made
    stem = root.name.split(".")[0] if root.is_file() else root.name
    name = re.sub(r"\W+", "_", stem).strip("_") or "texts"
    count = f"{root.name}: {len(documents):,} {ITEMS[gathered.level]}{_parts_said(documents)}."
    return Loaded(
        documents,
        Task(name, gathered.level, classes),
        os.fspath(path),
        "text",
        (count, *gathered.notes, *gathered.tally.notes(), *notes),
        gathered.facts(),
    )


Made = tuple[Documents, tuple[str, ...], tuple[str, ...]]


def _told(gathered: Gathered, task: str | None) -> Made:
    """Texts, two texts, or queries and positives; with the answer where one is asked."""
    columns = zip(PAYLOAD[gathered.level], (gathered.texts, gathered.others), strict=False)
    spooled = {name: _spooled(texts) for name, texts in columns}
    payload: dict[str, Column] = {name: made for name, (made, _) in spooled.items()}
    digest = hashlib.sha256("".join(f"{n} {d}" for n, (_, d) in spooled.items()).encode())
    known = gathered.known()
    if gathered.level == "set":
        again = len(gathered.others) - len(set(gathered.others))
        notes = (f"{again:,} positives repeat another: a query may have several.",) if again else ()
        return Documents(payload, digest=digest.hexdigest()).annotate(known), (), notes
    target = answers(gathered.labels, gathered.said, task)
    known["label"] = target.label
    documents = Documents(payload, digest=digest.hexdigest()).annotate(known)
    return documents, target.classes, (target.note,)


def _spooled(texts: Iterable[str]) -> tuple[Texts, str]:
    with Spool() as spool:
        for text in texts:
            spool.add(text)
        return spool.column(), spool.digest


def _tagged(gathered: Gathered) -> Made:
    gathered.cut(MOST_WORDS)
    found = {tag for tags in gathered.labels for tag in tags}
    outside = (OUTSIDE,) if OUTSIDE in found else ()
    classes = (*outside, *sorted(found - {OUTSIDE}))
    if len(classes) < 2:
        raise DataError(
            f"{gathered.said} has one tag only ({listed(classes)}). Add sentences with another."
        )
    known = gathered.known()
    known["label"] = word_labels(gathered.labels, classes)[0].numpy()
    digest = hashlib.sha256()
    for words in gathered.texts:
        digest.update("\0".join((*words, "\n")).encode("utf-8", "surrogatepass"))
    documents = Documents({"words": words_column(gathered.texts)}, digest=digest.hexdigest())
    count = sum(map(len, gathered.texts))
    notes = (f"{count:,} words with {len(classes)} tags: {listed(classes, 5)}.",)
    return documents.annotate(known), classes, (*notes, *_unseen(gathered, classes))


def _unseen(gathered: Gathered, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Tags that no sentence of the training part has: they cannot be learned."""
    if not gathered.splits or None in gathered.splits:
        return ()
    pairs = zip(gathered.labels, gathered.splits, strict=True)
    trained = {tag for tags, part in pairs if part == 0 for tag in tags}
    lost = [name for name in classes if name not in trained]
    return (f"No word of the training part has the tag {listed(lost)}.",) if lost else ()


def _parts_said(documents: Documents) -> str:
    if "split" not in documents.attributes:
        return ""
    counts = np.bincount(documents.attributes["split"], minlength=len(PARTS))
    return f" ({', '.join(f'{name} {n:,}' for name, n in zip(PARTS, counts, strict=True) if n)})"


def _class_folders(root: Path) -> list[Path]:
    """The folders of classes in a folder, or in its folders for the parts."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    if any(p.is_file() and not p.name.startswith(".") for p in root.iterdir()):
        return []
    parts = [p for p in folders if part_of(p.name) is not None]
    if parts and len(parts) == len(folders):
        inner = [p for part in parts for p in sorted(part.iterdir()) if p.is_dir()]
        return inner
    return folders if len(folders) > 1 else []


def _foldered(root: Path, classes: list[Path], task: str | None) -> Loaded:
    if classes[0].parent == root:
        return open_texts(root, label=FOLDER, task=task)
    opened = open_texts(root)
    paths = [str(s).split("/") for s in opened.documents.attributes["source"].tolist()]
    if loose := ["/".join(p) for p in paths if len(p) < 3]:
        raise DataError(
            f"{root}: {len(loose)} files are in no folder of a class ({listed(loose, 3)}). "
            "Put them into one."
        )
    target = answers([p[1] for p in paths], f"{root.name}, its folders", task)
    parts = np.array([part_of(p[0]) for p in paths], np.int8)
    documents = opened.documents.annotate({"label": target.label, "split": parts})
    named = Task(opened.task.name, "item", target.classes)
    notes = (*opened.notes, target.note)
    return Loaded(documents, named, opened.source, "text", notes, opened.facts)
