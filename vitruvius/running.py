"""A whole study in one call: what the command line calls, and what a script calls."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vitruvius.search import Searcher
from vitruvius.space import Node, replay, to_json
from vitruvius.space.node import Open
from vitruvius.space.program import near
from vitruvius.study.budget import Budget
from vitruvius.study.journal import Journal
from vitruvius.study.study import (
    JOURNAL,
    Final,
    Limits,
    Study,
    StudyError,
    Surroundings,
    View,
    reopen,
)
from vitruvius.study.trials import Summary, Trial, summary
from vitruvius.study.worker import USER_MODULE, load_user_file

REPORT = "report.html"
EXPORT = "model"
SPACE_FILE = "space.py"


@dataclass(frozen=True)
class Result:
    """What a study found, and where the evidence lies."""

    folder: Path
    summary: Summary

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
        """Mean validation score over fresh seeds, or the trial's own where none was run."""
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
    searcher: str | Searcher = "mcts",
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
    max_parameters: int | None = None,
    max_flops: float | None = None,
    final: Final | None = None,
    views: Sequence[View] = (),
) -> Result:
    """Search a space and return the best model that the budget buys, with the evidence.

    ``space`` is a recipe's name, ``"file.py:name"``, a pipeline's space, or a layer's, which is
    trained and evaluated as it is. ``data`` is a table with a ``target`` column, a folder of images
    by class, an .npz, or "digits". Without a budget 20 trials are run. Raises StudyError or
    DataError with one line on what is wrong.
    """
    load = _load(data, target, metric, kind)
    built, user_file = find_space(space, load)
    budget = Budget(seconds=seconds, trials=trials, flops=flops)
    if seconds is None and trials is None and flops is None:
        budget = Budget(trials=20)
    folder = Path(out) if out is not None else fresh_folder(space)
    asking = find_searcher(searcher, seed)
    study = Study(
        space=built,
        searcher=asking,
        budget=budget,
        folder=folder,
        seed=seed,
        limits=Limits(max_parameters, max_flops),
        final=final or Final(),
        around=Surroundings(workers, find_device(device), threads),
        views=views,
        finish=(conclude,),
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
    views: Sequence[View] = (),
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
    reopen(path)
    with Journal(path / JOURNAL, read_only=True) as journal:
        return Result(path, summary(journal.read()))


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
    kept = ("source", "target", "metric", "better", "items", "data", "floor", "seed", "versions")
    return {
        **{name: meta.get(name) for name in kept},
        "budget": meta.get("budget"),
        "trials": len(found.of("finished", "failed", "stopped")),
        "final": dict(found.final),
    }


def repair(folder: str | os.PathLike[str]) -> str:
    """Keep the intact part of a damaged journal, and a backup of the whole. Says what was done."""
    return str(Journal.repair(Path(folder) / JOURNAL))


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write the report of a study, under way or ended, into its folder."""
    from vitruvius.study import report

    result = load(folder)
    report.write_report(result.report, result.summary)
    return result.report


def export(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write the chosen model of an ended study as a program that needs torch alone."""
    from vitruvius.pipeline import export as exporting

    result = load(folder)
    final = result.summary.final
    if final is None:
        raise StudyError(
            f"The study in {folder} has not ended, so no model was chosen. "
            f"Go on with it: vitruvius resume {folder}"
        )
    run = result.folder / final["folder"]
    return exporting.export(run, result.design, Path(out), evidence(result.summary))


def predict(model: str | os.PathLike[str], data: str) -> list[str]:
    """Predictions of new data as lines of CSV, a heading first.

    ``model`` is an exported model's folder, or a study's.
    """
    from vitruvius.pipeline.export import predict_file

    folder = Path(model)
    return predict_file(folder / EXPORT if (folder / JOURNAL).exists() else folder, data)


def find_space(space: str | Node | Open, load: Any, bare: bool = False) -> tuple[Any, str | None]:
    """A pipeline's space, and the user's file that it came from; ``bare``: as it was written."""
    from vitruvius.recipes import recipe

    if bare:
        load = _BARE
    if isinstance(space, str):
        name, _, attribute = space.rpartition(":")
        if name.endswith(".py") or space.endswith(".py"):
            path = Path(name if name.endswith(".py") else space).resolve()
            return _bound(_from_file(path, attribute if name else "space"), load), str(path)
        return _bound(recipe(space), load), None
    return _bound(space, load), None


def _from_file(path: Path, name: str) -> Any:
    if not path.is_file():
        raise StudyError(f"{path} does not exist. A space is a recipe's name or FILE.py:NAME.")
    try:
        module = load_user_file(str(path))
    except Exception as error:
        line = _line_in(error, path)
        raise StudyError(
            f"{path}{line}: {type(error).__name__}: {error}. Mend the file and try again."
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        known = [n for n, v in vars(module).items() if isinstance(v, (Node, Open))]
        raise StudyError(f"{path} has no {name!r}. {near(name, known) if known else ''}") from None


def _line_in(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.lineno else ""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


_BARE = object()


def _bound(space: Any, load: Any) -> Any:
    """The space as a pipeline over the data: a bare layer is trained and evaluated."""
    from vitruvius.pipeline.evaluation import Evaluate
    from vitruvius.pipeline.load import Load
    from vitruvius.pipeline.pipeline import Pipeline
    from vitruvius.pipeline.training import Train

    if callable(space) and not isinstance(space, (Node, Open)):
        try:
            space = space()
        except TypeError as error:
            raise StudyError(f"The space cannot be made without arguments: {error}.") from None
    if not isinstance(space, (Node, Open)):
        raise StudyError(
            f"A space is a pipeline, a layer or a domain of them; got {type(space).__name__}."
        )
    if load is _BARE:
        return space
    if isinstance(space, Pipeline):
        first = space.stages[0] if space.stages else None
        if load is None:
            return space
        if not isinstance(first, Load):
            raise StudyError("This pipeline does not begin with Load, so --data has no place.")
        given = {
            name: getattr(load, name)
            for name in ("source", "target", "kind", "metric")
            if getattr(load, name) is not None
        }
        return space.replace(stages=(first.replace(**given), *space.stages[1:]))
    if load is None:
        raise StudyError("This space is a network without data. Name the data: --data FILE.")
    return Pipeline(load, Train.space(model=space), Evaluate())


def _load(
    data: str | os.PathLike[str] | None, target: str | None, metric: str | None, kind: str | None
) -> Any:
    if data is None and target is None and metric is None and kind is None:
        return None
    from vitruvius.pipeline.load import Load

    if data is None:
        raise StudyError("--target, --metric and --kind speak of data: name them with --data.")
    chosen = None
    if metric is not None:
        from vitruvius.catalogue import find
        from vitruvius.contracts import Metric

        measuring: Any = find(metric, Metric)
        chosen = measuring()
    source = os.fspath(data)
    if Path(source).exists():
        source = str(Path(source).resolve())
    return Load(source=source, target=target, kind=kind, metric=chosen)  # type: ignore[arg-type]


def find_searcher(searcher: str | Searcher, seed: int) -> Searcher:
    """A searcher by its name in any spelling ("mcts", "RandomSearch", "random-search")."""
    if isinstance(searcher, Searcher):
        return searcher
    from vitruvius.catalogue import find

    found: Any = find(searcher, Searcher)
    return found(seed=seed)


def find_device(device: str) -> str:
    """ "auto" is CUDA where there is one, else the CPU."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def fresh_folder(space: Any) -> Path:
    """A folder under runs/ that does not exist yet."""
    name = space if isinstance(space, str) and space.isidentifier() else "study"
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    path = Path("runs") / f"{name}-{stamp}"
    number = 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{stamp}-{number}"
    return path


def modules_of(space: Any) -> tuple[str, ...]:
    """Modules beside ours that hold classes or functions of a space."""
    found: set[str] = set()

    def visit(written: Any) -> None:
        if isinstance(written, dict):
            found.update(str(written[k]).partition(":")[0] for k in ("node", "f") if k in written)
            for inner in written.values():
                visit(inner)
        elif isinstance(written, list):
            for inner in written:
                visit(inner)

    visit(to_json(space))
    ours = ("vitruvius", USER_MODULE)
    return tuple(sorted(m for m in found if m.partition(".")[0] not in ours))


def keep_space_file(user_file: str, folder: Path) -> str:
    """A copy of the user's space file in the study's folder: what resume reads."""
    kept = folder / SPACE_FILE
    if Path(user_file) != kept:
        shutil.copyfile(user_file, kept)
    return str(kept)
