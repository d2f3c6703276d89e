"""The first stage for texts: a corpus without labels, labelled texts, or both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from vitruvius.contracts import Documents, Fitted, Given, Measurement, Metric, Split, State, Task
from vitruvius.data import (
    DataError,
    Loaded,
    description,
    open_code,
    open_functions,
    open_labelled,
    open_texts,
    split_texts,
    without,
)
from vitruvius.pipeline.floors import (
    look_up,
    predictions,
    retrieval_floors,
    text_floors,
)
from vitruvius.pipeline.loader import INPUTS, Loader, Opened
from vitruvius.space import hyper
from vitruvius.techniques.metrics import (
    BitsPerCharacter,
    MacroF1,
    MeanReciprocalRank,
    RootMeanSquaredError,
    SpanF1,
)
from vitruvius.techniques.transforms import ExactDuplicates

PYTHON = "python"  # as the labels: functions of the standard library, to be found by docstring
UNITS = ("file", "paragraph", "line")
HELD = 0.02  # share of a corpus on which a pretraining is judged
MOST_HELD = 500  # texts


@dataclass(frozen=True)
class LoadTexts(Loader):
    """Read texts, and split the labelled ones into train, validation and a sealed test part.

    ``texts`` is a corpus to pretrain on: a folder of text, Markdown or code, JSON lines, CSV,
    Parquet. ``labels`` are labelled texts: a table with texts and labels, pairs of texts, queries
    and what answers them, words with tags, a table that names texts of the corpus, a folder with
    files called train, validation and test, or "python": docstrings and functions of ``texts``, or
    of the running Python, whole packages of them apart; the corpus is then the files of the others.
    Without a corpus the training texts are it. The corpus never holds a
    text of the validation or the test part.

    Without labels the corpus itself is split, and a model is judged by how well it predicts it.
    """

    texts: str | None = hyper(None, doc="corpus: file or folder; None: the labelled texts alone")
    labels: str | None = hyper(None, doc='labelled texts: file or folder, or "python"')
    text: str | None = hyper(None, doc="column of the texts; None: found")
    target: str | None = hyper(None, doc="column of the labels; None: found")
    other: str | None = hyper(None, doc="column of the second text of pairs; None: found")
    key: str | None = hyper(None, doc="column that names a text of the corpus; None: found")
    kind: Literal["classification", "regression"] | None = hyper(
        None, doc="what is predicted; None: told from the labels"
    )
    metric: Metric | None = hyper(
        None, doc="what counts; None: macro F1, span F1, reciprocal rank, or squared error"
    )
    by: str = hyper("document", doc='how to split: "document", "time", or an attribute ("source")')
    near: float | None = hyper(0.8, doc="likeness from which texts stay in one part; None: equal")
    unit: Literal["file", "paragraph", "line"] = hyper("file", doc="what is one text of the corpus")
    validation: float = hyper(0.2, doc="share of the labelled texts, for choosing")
    test: float = hyper(0.2, doc="share of the labelled texts, sealed until the end")
    split_seed: int = hyper(0, doc="of the split alone, so that studies compare")

    opens: ClassVar[tuple[str, ...]] = ("texts", "labels")
    libraries: ClassVar[tuple[str, ...]] = ("python", "numpy", "pyarrow", "scikit-learn")

    def check(self) -> None:
        if self.texts is None and self.labels is None:
            raise ValueError("LoadTexts needs texts, labels, or both; got neither.")
        if self.unit not in UNITS:
            raise ValueError(f"LoadTexts.unit is one of {', '.join(UNITS)}; got {self.unit!r}.")
        if min(self.validation, self.test) <= 0 or self.validation + self.test >= 1:
            raise ValueError(
                "LoadTexts needs shares above 0 that leave texts to train on; "
                f"got validation={self.validation} and test={self.test}."
            )

    def read(self) -> Opened:
        corpus = self._corpus()
        loaded = self._labelled(corpus)
        by = "group" if self._is_code and self.by == "document" else self.by
        parted = split_texts(loaded, by, self.validation, self.test, self.split_seed, self.near)
        splits = parted.splits
        task = replace(loaded.task, metric=self.metric or default_metric(loaded.task))
        data, left_out = self._to_pretrain(corpus, loaded, splits)
        notes = [*(() if corpus is None else corpus.notes), *loaded.notes, *parted.notes]
        if left_out:
            notes.append(
                f"{left_out:,} texts of the corpus that are, or nearly are, in the validation or "
                "test part are left out of pretraining."
            )
        fitted = {INPUTS: Fitted(values=description(loaded))}
        source = self.labels if self.labels is not None else self.texts
        return Opened(
            State(task=task, splits=splits, data=data, fitted=fitted),
            str(source),
            self.target,
            tuple(dict.fromkeys(notes)),
        )

    def floors(self, state: State) -> tuple[Measurement, ...]:
        """Of the level: class frequencies and TF-IDF; word look-up; BM25."""
        task = state.task
        assert task is not None and task.metric is not None
        train, held = (state.splits[name].documents for name in ("train", "validation"))
        if task.level == "set":
            return retrieval_floors(held, task.metric)
        if task.level == "token":
            return (_look_up(train, held, task),)
        if task.level in ("item", "pair"):
            return text_floors(joined(train), joined(held), task, task.metric)
        return ()

    def _corpus(self) -> Loaded | None:
        if self.texts is None or self._is_code:
            return None
        return open_texts(self.texts, unit=self.unit)

    def _labelled(self, corpus: Loaded | None) -> Loaded:
        if self._is_code:
            return open_functions(self.texts)
        if self.labels is None:
            assert corpus is not None
            return replace(corpus, task=Task(corpus.task.name, "generation"))
        return open_labelled(
            self.labels,
            text=self.text,
            label=self.target,
            other=self.other,
            key=self.key,
            task=self.kind,
            corpus=corpus,
        )

    @property
    def _is_code(self) -> bool:
        return self.labels == PYTHON and not Path(PYTHON).exists()

    def _to_pretrain(
        self, corpus: Loaded | None, loaded: Loaded, splits: dict[str, Split]
    ) -> tuple[dict[str, Documents], int]:
        """The corpus without what must not be seen, a part of it held out; how many were left."""
        seen = splits["train"].documents
        if self._is_code:
            parts = [splits[n].opened().documents for n in ("validation", "test")]
            groups = {str(g) for part in parts for g in part.attributes["group"]}
            texts, left_out = open_code(self.texts, without=groups).documents, 0
        elif corpus is None or self.labels is None:
            texts, left_out = plain(seen), 0
        else:
            closed = [plain(splits[n].opened().documents) for n in ("validation", "test")]
            texts = without(corpus.documents, closed, self.near)
            left_out = len(corpus.documents) - len(texts)
            texts = ExactDuplicates().apply(texts, Given())
        if not len(texts):
            raise DataError(
                f"{self.texts} holds no text that is not in the validation or test part of "
                f"{self.labels}. Give other texts, or leave them out."
            )
        held = _held(texts)
        rest = np.setdiff1d(np.arange(len(texts)), held)
        return {"texts": texts.take(rest), "held": texts.take(held)}, left_out


def default_metric(task: Task) -> Metric:
    """Macro F1 of classes, span F1 of tags, mean reciprocal rank, bits of a text, or the root mean
    square error of numbers."""
    if task.level == "set":
        return MeanReciprocalRank()
    if task.level == "generation":
        return BitsPerCharacter()
    if task.level == "token":
        spans = all(tag == "O" or tag[:2] in ("B-", "I-") for tag in task.labels)
        return SpanF1(task.labels) if spans and "O" in task.labels else MacroF1()
    return MacroF1() if task.labels else RootMeanSquaredError()


def plain(documents: Documents) -> Documents:
    """All texts of labelled documents of any level, as one column "text"."""
    columns = documents.payload
    if "words" in columns:
        texts = [" ".join(words) for words in columns["words"][:]]
    else:
        names = [n for n in ("text", "other", "query", "positive") if n in columns]
        if names == ["text"]:
            return Documents({"text": columns["text"]}, digest=documents.digest)
        texts = [str(text) for name in names for text in columns[name][:]]
    made = hashlib.sha256(f"plain {documents.digest}".encode()).hexdigest()
    return Documents({"text": _column(texts)}, digest=made)


def joined(documents: Documents) -> Documents:
    """Pairs as one text each, for what knows no pairs."""
    if "other" not in documents.payload:
        return documents
    one, two = (documents.payload[name][:] for name in ("text", "other"))
    texts = [f"{a} {b}" for a, b in zip(one, two, strict=True)]
    return Documents({"text": _column(texts)}, documents.attributes, documents.digest)


def _held(texts: Documents) -> np.ndarray:
    """Positions of the texts on which a pretraining is judged: spread evenly, the same always."""
    count = min(MOST_HELD, max(1, round(HELD * len(texts)))) if len(texts) > 1 else 0
    return np.unique(np.linspace(0, len(texts) - 1, count).round().astype(np.int64))


def _look_up(train: Documents, held: Documents, task: Task) -> Measurement:
    """Each word its most frequent tag."""
    assert task.metric is not None
    words, new = (list(part.payload["words"][:]) for part in (train, held))
    tags = [
        [task.labels[k] for k in row[: len(one)]]
        for one, row in zip(words, train.attributes["label"], strict=True)
    ]
    values = look_up(words, tags, new, task.labels)
    answers = [row[: len(one)] for one, row in zip(new, held.attributes["label"], strict=True)]
    made = predictions(values, np.concatenate(answers))
    owner = np.repeat(np.arange(len(new)), [len(one) for one in new])
    measured = task.metric.measure(replace(made, rows=torch.from_numpy(owner)))
    return replace(measured, name=f"{measured.name} of the tag each word had most", details={})


def _column(texts: Sequence[str]) -> Any:
    made = np.empty(len(texts), dtype=object)
    made[:] = list(texts)
    return made
