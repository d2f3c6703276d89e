"""A model of a domain's texts in one call: what may be chosen follows from the labels."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitruvius.named import data_fields, find_device, find_precision, find_searcher, fresh_folder
from vitruvius.running import Result, conclude
from vitruvius.search import Searcher, Starting
from vitruvius.space import Node
from vitruvius.study.budget import RESERVE, Budget
from vitruvius.study.settings import Final, Limits, StudyError, Surroundings
from vitruvius.study.study import Study
from vitruvius.study.trials import Summary

TRIALS = 8  # pretrainings that a budget of seconds should be enough for


def build(
    texts: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    *,
    base: str | os.PathLike[str] | None = None,
    seconds: float | None = None,
    trials: int | None = None,
    flops: float | None = None,
    searcher: str | Searcher = "tree-bo",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    workers: int = 0,
    device: str = "auto",
    threads: int = 1,
    precision: str = "auto",
    metric: str | None = None,
    final: Final | None = None,
    soup: bool = False,
    store: str | os.PathLike[str] | None = None,
    views: Sequence[Callable[[Summary, float], None]] = (),
    **data: Any,
) -> Result:
    """The best model of a domain's texts that the budget buys, with the evidence.

    ``texts`` is a corpus without labels, ``labels`` are labelled texts (see ``LoadTexts``); one of
    them may be left out. ``base`` is a pretrained model to begin with, from a folder or the hub.
    What is searched follows from the labels: tokenizer, from scratch or continued, objective,
    optimizer, adaptation; of queries and their answers also how they are found; of no labels how
    the corpus is predicted. ``flops`` are those of a trial; left out, they follow from the seconds
    and a probe of this machine. With ``soup`` it is tried at the end whether the mean of trainings
    that began alike is better than the best of them (``GreedySoup``). ``data`` are further fields
    of ``LoadTexts``. Raises StudyError or DataError with one line on what is wrong.
    """
    from vitruvius.pipeline.load_texts import LoadTexts
    from vitruvius.study.probing import probe
    from vitruvius.techniques.mergers import GreedySoup

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
    chosen = final or Final(top=2, seeds=1, refit=True)
    speed, body = None, _body(base)  # a base that is broken is told before a folder is made
    if flops is None and seconds is not None:
        speed = probe(found_device, threads, found_precision, body)
        share = (1 - RESERVE) / TRIALS * max(1, workers)
        flops = float(f"{speed.speed * seconds * share:.2g}")
    space, points = _space(level.level, bool(level.labels), loader, _path(base), flops)
    folder = Path(out) if out is not None else fresh_folder("build")
    study = Study(
        space=space,
        searcher=Starting(find_searcher(searcher, seed), points),
        budget=Budget(seconds=seconds, trials=trials),
        folder=folder,
        seed=seed,
        limits=Limits(),
        final=replace(chosen, merger=GreedySoup()) if soup else chosen,
        around=Surroundings(workers, found_device, threads, found_precision),
        views=views,
        finish=(conclude,),
        store=store,
        probe=speed,
    )
    return Result(folder, study.run())


def _space(
    level: str, labels: bool, loader: Node, base: str | None, flops: float | None
) -> tuple[Node, tuple[Any, ...]]:
    """What may be chosen, by what is asked of the texts (classes, where there are ``labels``), and
    what is tried first."""
    name = {"set": "code_search", "generation": "domain_encoder"}.get(level, "domain_classifier")
    module = importlib.import_module(f"vitruvius.recipes.{name}")
    length = {} if flops is None else {"flops": flops}
    each = name == "domain_classifier" and level == "item" and labels
    words = {"words": True} if each else {}
    space = getattr(module, name)("", base=base, **length, **words)
    points = tuple(tuple(point.items()) for point in module.starts(base, **words))
    return space.replace(stages=(loader, *space.stages[1:])), points


def _body(base: str | os.PathLike[str] | None) -> Any:
    """The network of a pretrained model, to see how fast it is."""
    from vitruvius.interop.pretrained import FromPretrained

    return (
        None if base is None else FromPretrained(os.fspath(base), ours=True).load().bodies["input"]
    )


def _path(given: str | os.PathLike[str] | None) -> str | None:
    if given is None:
        return None
    path = Path(given).expanduser()
    return str(path.resolve()) if path.exists() else os.fspath(given)
