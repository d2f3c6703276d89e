"""Models of texts in one call: build one for a domain; predict, embed and query with it."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitruvius.named import data_fields, find_device, find_precision, find_searcher, fresh_folder
from vitruvius.search import Searcher, Starting
from vitruvius.space import Node, from_json
from vitruvius.study.budget import RESERVE, Budget
from vitruvius.study.settings import Final, Limits, StudyError, Surroundings, allowed
from vitruvius.study.study import JOURNAL, Study, reopen
from vitruvius.study.trials import Summary

TRIALS = 8  # designs that a budget of seconds should be enough for, at least


def build(
    texts: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    *,
    base: str | os.PathLike[str] | None = None,
    seconds: float | None = None,
    trials: int | None = None,
    flops: float | None = None,
    searcher: str | Searcher = "smbo",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    workers: int = 0,
    device: str = "auto",
    threads: int = 1,
    precision: str = "auto",
    metric: str | None = None,
    final: Final | None = None,
    store: str | os.PathLike[str] | None = None,
    views: Sequence[Callable[[Summary, float], None]] = (),
    **data: Any,
) -> Any:
    """The best model of a domain's texts that the budget buys, with the evidence: a ``Result``.

    ``texts`` is a corpus without labels, ``labels`` are labelled texts (see ``LoadTexts``); one of
    them may be left out. ``base`` is a pretrained model to begin with, from a folder or the hub.
    What is searched follows from the labels: tokenizer, from scratch or continued, objective,
    optimizer, adaptation; of queries and their answers also how they are found; of no labels how
    the corpus is predicted. ``flops`` are those of a trial; left out, they follow from the seconds
    and a probe of this machine. ``data`` are further fields of ``LoadTexts``. Raises StudyError or
    DataError with one line on what is wrong.
    """
    from vitruvius.pipeline.load_texts import LoadTexts
    from vitruvius.running import Result, conclude
    from vitruvius.study.probing import probe

    if texts is None and labels is None:
        raise StudyError("There is nothing to build from. Give --texts, --labels, or both.")
    fields = data_fields(None, metric, **data)
    given = {"texts": _path(texts), "labels": _path(labels), **fields}
    loader = LoadTexts(**given)
    level = loader.look().state.task
    assert level is not None
    found_device = find_device(device)
    found_precision = find_precision(precision, found_device)
    if seconds is None and trials is None:
        trials = 2 * TRIALS
    speed = None
    if flops is None and seconds is not None:
        speed = probe(found_device, threads, found_precision)
        share = (1 - RESERVE) / TRIALS * max(1, workers)
        flops = float(f"{speed.speed * seconds * share:.2g}")
    space, points = _space(level.level, loader, _path(base), flops)
    folder = Path(out) if out is not None else fresh_folder("build")
    study = Study(
        space=space,
        searcher=Starting(find_searcher(searcher, seed), points),
        budget=Budget(seconds=seconds, trials=trials),
        folder=folder,
        seed=seed,
        limits=Limits(),
        final=final or Final(top=2, seeds=1),
        around=Surroundings(workers, found_device, threads, found_precision),
        views=views,
        finish=(conclude,),
        store=store,
        probe=speed,
    )
    return Result(folder, study.run())


def _space(
    level: str, loader: Node, base: str | None, flops: float | None
) -> tuple[Node, tuple[Any, ...]]:
    """What may be chosen, by what is asked of the texts, and what is tried first."""
    name = {"set": "code_search", "generation": "domain_encoder"}.get(level, "domain_classifier")
    module = importlib.import_module(f"vitruvius.recipes.{name}")
    length = {} if flops is None else {"flops": flops}
    space = getattr(module, name)("", base=base, **length)
    points = tuple(tuple(point.items()) for point in module.starts(base))
    return space.replace(stages=(loader, *space.stages[1:])), points


def _path(given: str | os.PathLike[str] | None) -> str | None:
    if given is None:
        return None
    path = Path(given).expanduser()
    return str(path.resolve()) if path.exists() else os.fspath(given)


# What a model is used for


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


# Export


def export(run_folder: Path, design: Node, out: Path, evidence: Mapping[str, Any]) -> Path:
    """The chosen model in a folder of its own: what our commands read, a card, and, where a class
    of transformers computes the same, a folder that AutoModel loads."""
    import torch

    from vitruvius.interop import pretrained, transformers
    from vitruvius.interop.foreign_files import PretrainedError
    from vitruvius.interop.pretrained import PretrainedBody
    from vitruvius.pipeline.card import text_card
    from vitruvius.pipeline.export import FOREIGN, FORMAT, beside, check_out
    from vitruvius.pipeline.saving import DESIGN, TEXT_MODEL, load_model
    from vitruvius.space import to_json

    check_out(out)
    told = json.loads((run_folder / TEXT_MODEL).read_text(encoding="utf-8"))
    saved = load_model(run_folder, design, torch.device("cpu"))
    with beside(out) as made:
        for name in (TEXT_MODEL, *told["files"]):
            shutil.copyfile(run_folder / name, made / name)
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
