"""What a model of texts is used for: predict, embed, query; and how it is written down."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitruvius.space import Node, from_json
from vitruvius.study.settings import StudyError, allowed
from vitruvius.study.study import JOURNAL, reopen


def opened(folder: str | os.PathLike[str]) -> Any:
    """The model of texts in an exported folder, or that of a study. Raises StudyError."""
    import torch

    from vitruvius.pipeline.saving import DESIGN, TEXT_MODEL, load_model

    place, allow = Path(folder), ("vitruvius",)
    if (place / JOURNAL).exists():
        allow = allowed(reopen(place).modules)
        place = place / "model"
    if not (place / TEXT_MODEL).exists():
        raise StudyError(
            f"{folder} holds no model of texts. Name the folder of a study that vitruvius build "
            "made, or of a model that was exported from one."
        )
    written = json.loads((place / DESIGN).read_text(encoding="utf-8"))
    design = from_json(written.get("design", written), allow)
    return load_model(place, design, torch.device("cpu"), allow)


def predict(folder: str | os.PathLike[str], data: str | os.PathLike[str]) -> list[str]:
    """Predictions of new texts as lines of CSV, a heading first.

    Of given words one line for each, with the number of its sentence.
    """
    import torch

    from vitruvius.data import read_inputs
    from vitruvius.pipeline.standalone.answers import csv_lines
    from vitruvius.train.predicting import predict as predicted
    from vitruvius.train.reading import text_feed

    saved = opened(folder)
    model, task = saved.model, saved.task
    if task.level in ("set", "generation"):
        what = "query" if task.level == "set" else "embed"
        raise StudyError(f"This model answers no single text. Use: vitruvius {what} {folder} TEXTS")
    documents = read_inputs(data, saved.inputs)
    feed = text_feed(model, documents, torch.device("cpu"))
    made = predicted(model, feed, task, torch.float32)
    if task.level != "token":
        names = [str(name) for name in documents.attributes.get("source", ())]
        return list(csv_lines(task.labels, made.values.tolist(), names))
    words = [word for sentence in documents.payload["words"][:] for word in sentence]
    best = made.values.argmax(1).tolist()
    rows = zip(made.rows.tolist(), words, best, made.values.amax(1).tolist(), strict=True)
    lines = [["sentence", "word", "prediction", "p"]]
    lines += [[row + 1, word, task.labels[k], f"{p:.4g}"] for row, word, k, p in rows]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(lines)
    return written.getvalue().rstrip("\n").split("\n")


def embed(folder: str | os.PathLike[str], data: str | os.PathLike[str]) -> Any:
    """Vectors of length 1 of new texts, float32 [N d]."""
    from vitruvius.data import open_texts
    from vitruvius.pipeline.embedding import embed as embedded

    saved = opened(folder)
    column = open_texts(data).documents.payload["text"]
    return embedded(saved.model, [str(column[i]) for i in range(len(column))])


def query(
    folder: str | os.PathLike[str], texts: Sequence[str], k: int = 5
) -> list[list[tuple[float, str, str]]]:
    """For each text the k best of what the model's index holds: score, source, text."""
    from vitruvius.contracts import State
    from vitruvius.pipeline.retrieval import query as asked

    saved = opened(folder)
    if saved.index is None:
        raise StudyError(
            f"The model in {folder} has no index to search. Build one from queries and answers: "
            "vitruvius build --labels pairs.csv"
        )
    documents = saved.index.documents
    sources, column = documents.attributes.get("source"), documents.payload["text"]

    def told(row: int, score: float) -> tuple[float, str, str]:
        return score, "" if sources is None else str(sources[row]), str(column[row])

    found = asked(State(saved.model, saved.task, index=saved.index), texts, k)
    return [[told(row, score) for row, score in one] for one in found]


def _searching_all(design: Node, saved: Any) -> Any:
    """The state of a model that finds all texts of its data. Those of the closed parts are let in
    now that the model has been measured on them."""
    import numpy as np
    import torch

    from vitruvius.contracts import Documents, State
    from vitruvius.pipeline.keys import Setting
    from vitruvius.pipeline.lab import LocalLab
    from vitruvius.pipeline.loader import INPUTS, Loader
    from vitruvius.pipeline.pipeline import stages_of
    from vitruvius.pipeline.retrieval import CANDIDATES, Index

    stages = stages_of(design)
    loader = next(stage for stage in stages if isinstance(stage, Loader))
    index = next(stage for stage in stages if isinstance(stage, Index))
    state = loader.look().state
    parts = [split.opened().documents for split in state.splits.values()]
    texts = np.concatenate([np.asarray(part.payload["positive"][:], object) for part in parts])
    known = [part.attributes.get("source") for part in parts]
    named = all(column is not None for column in known)
    sources = {"source": np.concatenate(known)} if named else {}  # type: ignore[arg-type]
    made = State(
        saved.model,
        saved.task,
        data={CANDIDATES: Documents({"text": texts}, sources)},
        fitted={INPUTS: state.fitted[INPUTS]},
    )
    lab = LocalLab(Setting(0, torch.device("cpu"), torch.float32, 1))
    return index.run({"before": made}, lab)


def export(run_folder: Path, design: Node, out: Path, evidence: Mapping[str, Any]) -> Path:
    """The chosen model in a folder of its own: what our commands read, a card, and, where a class
    of transformers computes the same, a folder that AutoModel loads."""
    import torch

    from vitruvius.interop import pretrained, transformers
    from vitruvius.interop.foreign_files import PretrainedError
    from vitruvius.interop.pretrained import PretrainedBody
    from vitruvius.pipeline.card import text_card
    from vitruvius.pipeline.export import FOREIGN, FORMAT, beside, check_out
    from vitruvius.pipeline.saving import DESIGN, TEXT_MODEL, load_model, save_texts
    from vitruvius.space import to_json

    check_out(out)
    told = json.loads((run_folder / TEXT_MODEL).read_text(encoding="utf-8"))
    saved = load_model(run_folder, design, torch.device("cpu"))
    with beside(out) as made:
        if saved.index is None:
            for name in (TEXT_MODEL, *told["files"]):
                shutil.copyfile(run_folder / name, made / name)
        else:
            save_texts(made, _searching_all(design, saved))
        described = {"format": FORMAT, "design": to_json(design), "inputs": saved.inputs}
        (made / DESIGN).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
        foreign = isinstance(saved.model.bodies["input"], PretrainedBody)
        write = pretrained.save_pretrained if foreign else transformers.write
        why = None
        try:
            with tempfile.TemporaryDirectory() as place:
                shutil.move(write(saved.model, Path(place) / FOREIGN), made / FOREIGN)
        except PretrainedError as error:
            why = str(error)
        (made / "README.md").write_text(
            text_card(design, saved.model, saved.task, told["digest"], evidence, why),
            encoding="utf-8",
        )
    return out
