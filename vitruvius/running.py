"""A whole study in one call: what the command line calls, and what a script calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitruvius.named import (
    bind,
    data_fields,
    find_device,
    find_limits,
    find_searcher,
    find_space,
    fresh_folder,
    modules_of,
)
from vitruvius.search import Prior, Searcher, beliefs
from vitruvius.search.beliefs import written_beliefs
from vitruvius.space import Node, replay
from vitruvius.space.node import Open
from vitruvius.study.budget import Budget
from vitruvius.study.journal import Journal
from vitruvius.study.souping import soup_words
from vitruvius.study.study import (
    JOURNAL,
    Final,
    Limits,
    Study,
    StudyError,
    Surroundings,
    allowed,
    journal_of,
    reopen,
)
from vitruvius.study.trials import Summary, Trial, summary
from vitruvius.study.words import plural

REPORT = "report.html"
EXPORT = "model"
TRIALS = 20  # where no budget is given


@dataclass(frozen=True, repr=False)
class Result:
    """What a study found, and where the evidence lies. As text it is the leaderboard, the final
    evidence and the paths, as ``vitruvius show`` prints them."""

    folder: Path
    summary: Summary

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self.folder)!r}: {self.summary!r}>"

    def __str__(self) -> str:
        from vitruvius.study.terminal import plain

        return plain(self.summary, self.folder)

    @property
    def best(self) -> Trial:
        """The trial whose design was chosen."""
        final = self.summary.final
        number = None if final is None else final["trial"]
        for trial in self.summary.trials:
            if trial.number == number:
                return trial
        if self.summary.best is None:
            raise StudyError(f"{self.folder} has no finished trial yet.")
        return self.summary.best

    @property
    def point(self) -> Mapping[str, Any]:
        """The decisions of the best design, by address."""
        return self.best.point

    @property
    def design(self) -> Node:
        """The best design, decided."""
        return replay(reopen(self.folder).space, self.point)

    @property
    def validation(self) -> float | None:
        """Mean validation score over fresh seeds, or the trial's own where none was run; of a soup
        that was kept its own, which it was chosen by."""
        final = self.summary.final
        return self.best.score if final is None else final["validation"]

    @property
    def test(self) -> float | None:
        """The score on the test part, which was opened once; None where it was not."""
        final = self.summary.final
        return None if final is None else final["test"]["score"]

    @property
    def report(self) -> Path:
        return self.folder / REPORT

    @property
    def export(self) -> Path:
        """The exported model: ``python model.py DATA`` in there needs torch alone."""
        return self.folder / EXPORT


def search(
    space: str | Node | Open,
    data: str | os.PathLike[str] | None = None,
    target: str | None = None,
    *,
    searcher: str | Searcher = "tree-bo",
    prior: Mapping[str, Any] | Sequence[str] = (),
    trials: int | None = None,
    seconds: float | None = None,
    flops: float | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    workers: int = 0,
    device: str = "auto",
    threads: int = 1,
    metric: str | None = None,
    kind: str | None = None,
    group: str | None = None,
    leave_out: Sequence[str] = (),
    size: int | None = None,
    channels: int | None = None,
    max_parameters: int | None = None,
    max_flops: float | None = None,
    also: Sequence[str] = (),
    at_most: Mapping[str, float] | Sequence[str] = (),
    final: Final | None = None,
    earlier: Sequence[str | os.PathLike[str]] = (),
    store: str | os.PathLike[str] | None = None,
    views: Sequence[Callable[[Summary, float], None]] = (),
) -> Result:
    """Search a space and return the best model that the budget buys, with the evidence.

    ``space`` is a recipe's name, ``"file.py:name"``, a pipeline's space, or a layer's, which is
    trained and evaluated as it is. ``data`` is a table with a ``target`` column, a folder of images
    by class, an .npz, or "digits". ``group`` names a column that no split may cut, ``leave_out``
    columns that are not read; ``size`` and ``channels`` are of images. Without a budget 20 trials
    are run. ``prior`` says where you expect the best: values or weights by address, as for
    ``vitruvius.search.beliefs``, or words of the command line. Designs share what they have in
    common through a store in the study's folder; with ``store``, a folder, studies share it too.
    ``also`` names costs that shall be small too (parameters, flops, seconds, latency), so that a
    front is searched for, and ``at_most`` limits which design is chosen from it, by cost.
    ``earlier`` are folders of studies whose trials it begins with, also of an edited space. Raises
    StudyError or DataError with one line on what is wrong.
    """
    fields = data_fields(
        data,
        metric,
        target=target,
        kind=kind,
        group=group,
        leave_out=tuple(leave_out) or None,
        size=size,
        channels=channels,
    )
    asking = find_searcher(searcher, seed)
    if prior:
        believed = prior if isinstance(prior, Mapping) else written_beliefs(prior)
        asking = Prior(asking, beliefs(believed))
    if seconds is None and trials is None and flops is None:
        trials = TRIALS
    budget = Budget(seconds=seconds, trials=trials, flops=flops)
    found_device = find_device(device)
    written, user_file = find_space(space)
    built = bind(written, fields)
    folder = Path(out) if out is not None else fresh_folder(space)
    study = Study(
        space=built,
        searcher=asking,
        budget=budget,
        folder=folder,
        seed=seed,
        limits=Limits(max_parameters, max_flops),
        final=replace(final or Final(), **({"at_most": find_limits(at_most)} if at_most else {})),
        also=tuple(also),
        earlier=tuple(os.fspath(one) for one in earlier),
        around=Surroundings(workers, found_device, threads),
        views=views,
        finish=(conclude,),
        store=store,
        user_file=user_file,
        modules=tuple(sorted({*modules_of(built), *modules_of(asking)})),
    )
    return Result(folder, study.run())


def resume(
    folder: str | os.PathLike[str],
    *,
    trials: int | None = None,
    seconds: float | None = None,
    workers: int = 0,
    views: Sequence[Callable[[Summary, float], None]] = (),
) -> Result:
    """Go on with a study that was killed or interrupted, or give an ended one a larger budget."""
    study = reopen(Path(folder))
    budget = study.budget
    if trials is not None or seconds is not None:
        study.budget = Budget(
            seconds=seconds if seconds is not None else budget.seconds,
            trials=trials if trials is not None else budget.trials,
            flops=budget.flops,
        )
    study.around = replace(study.around, workers=workers)
    study.views, study.finish = views, (conclude,)
    return Result(Path(folder), study.run())


def load(folder: str | os.PathLike[str]) -> Result:
    """The result in a study's folder, as its journal tells it now."""
    path = Path(folder)
    with Journal(journal_of(path), read_only=True) as journal:
        found = summary(journal.read())
    if not found.meta:
        raise StudyError(f"{path} holds a journal without a study. Remove it and begin again.")
    return Result(path, found)


def conclude(folder: Path, found: Summary) -> Mapping[str, Any]:
    """Report and export of an ended study."""
    made = {"report": str(write_report(folder))}
    if found.final is not None:
        made["export"] = str(export(folder, folder / EXPORT))
    return made


def evidence(found: Summary) -> dict[str, Any]:
    """What a model card tells of how a model was found."""
    assert found.final is not None
    meta = found.meta
    kept = (
        "source", "target", "metric", "better", "items", "data", "floor", "seed", "versions",
        "searcher", "machine",
    )  # fmt: skip
    return {
        **{name: meta.get(name) for name in kept},
        "budget": meta.get("budget"),
        "trials": len(found.of("finished", "failed", "stopped")),
        "final": dict(found.final),
        "soup": soup_words(found.final),
    }


def repair(folder: str | os.PathLike[str]) -> str:
    """Keep the intact part of a damaged journal, and a backup of the whole. Says what was done."""
    done = Journal.repair(journal_of(Path(folder)))
    if done.backup is None:
        return f"The journal in {folder} is intact: {plural(done.kept, 'event')}."
    return (
        f"Kept the first {plural(done.kept, 'event')} of the journal in {folder}. "
        f"The damaged file is kept as {done.backup}."
    )


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write the report of a study, under way or ended, into its folder."""
    from vitruvius.study import report

    result = load(folder)
    report.write_report(result.report, result.summary)
    return result.report


def export(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the chosen model of an ended study as a program that needs torch alone."""
    from vitruvius import text_models
    from vitruvius.pipeline import export as exporting
    from vitruvius.pipeline.saving import TEXT_MODEL

    result = load(folder)
    final = result.summary.final
    if final is None:
        raise StudyError(
            f"The study in {folder} has not ended, so no model was chosen. "
            f"Go on with it: vitruvius resume {folder}"
        )
    run = result.folder / final["folder"]
    design, told = result.design, evidence(result.summary)
    if (run / TEXT_MODEL).exists():
        return text_models.export(run, design, Path(out), told)
    return exporting.export(run, design, Path(out), told, allowed(reopen(result.folder).modules))


def predict(model: str | os.PathLike[str], data: str) -> list[str]:
    """Predictions of new data as lines of CSV, a heading first.

    ``model`` is an exported model's folder, or a study's.
    """
    from vitruvius import text_models
    from vitruvius.pipeline.export import predict_file
    from vitruvius.pipeline.saving import TEXT_MODEL

    folder = Path(model)
    if any((place / TEXT_MODEL).exists() for place in (folder, folder / EXPORT)):
        return text_models.predict(folder, data)
    if not (folder / JOURNAL).exists():
        if not folder.is_dir():
            raise StudyError(f"There is no folder {folder}. Name an exported model, or a study.")
        return predict_file(folder, data)
    study = reopen(folder)
    if not (folder / EXPORT).exists():
        raise StudyError(
            f"The study in {folder} has no model yet. Go on with it: vitruvius resume {folder}"
        )
    return predict_file(folder / EXPORT, data, allowed(study.modules))
