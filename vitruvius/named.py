"""What a person means by the name of a space, a searcher, a metric, a device or a column."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitruvius.search import Searcher
from vitruvius.space import Node, to_json
from vitruvius.space.checking import near
from vitruvius.space.node import Open
from vitruvius.study.settings import StudyError
from vitruvius.study.worker import USER_MODULE, load_user_file


def find_space(space: str | Node | Open) -> tuple[Any, str | None]:
    """A space as it was written, and the user's file that it came from, if from one."""
    if not isinstance(space, str):
        return _made(space, "the space"), None
    if space.endswith(".py") or ".py:" in space:
        name, _, attribute = space.rpartition(".py")
        path = Path(f"{name}.py").expanduser().resolve()
        return _from_file(path, attribute.removeprefix(":") or "space"), str(path)
    from vitruvius.recipes import recipe

    if Path(f"{space}.py").exists() or "/" in space:
        raise StudyError(f"{space!r} is no recipe. A file of your own is given as FILE.py:NAME.")
    return recipe(space), None


def bind(space: Any, data: Mapping[str, Any]) -> Any:
    """The space as a pipeline over the data: a bare layer is trained and evaluated.

    ``data`` are fields of Load, those that were given; of texts the source are the labels.
    """
    from vitruvius.contracts import Stage
    from vitruvius.pipeline.evaluation import Evaluate
    from vitruvius.pipeline.load import Load
    from vitruvius.pipeline.load_texts import LoadTexts
    from vitruvius.pipeline.pipeline import Pipeline
    from vitruvius.pipeline.training import Train

    if isinstance(space, Pipeline):
        first = space.stages[0] if space.stages else None
        given = dict(data)
        if isinstance(first, LoadTexts):
            given = _of_texts(first, given)
        elif isinstance(first, Load):
            if isinstance(first.source, str):
                given.setdefault("source", _absolute(first.source))
        else:
            if data:
                raise StudyError("This pipeline does not begin with Load, so --data has no place.")
            return space
        return space.replace(stages=(first.replace(**given), *space.stages[1:]))
    if isinstance(space, Stage):
        raise StudyError(
            f"A space is a whole pipeline or a layer; got the stage {type(space).__name__}. "
            "Put it into Pipeline(Load(...), ..., Evaluate())."
        )
    if "source" not in data:
        raise StudyError("This space is a network without data. Name the data: --data FILE.")
    return Pipeline(Load(**data), Train.space(model=space), Evaluate())


def _of_texts(first: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Fields of LoadTexts: the source are its labels."""
    if unfit := sorted(set(data) - {"source", "target", "kind", "metric"}):
        raise StudyError(
            f"--{unfit[0].replace('_', '-')} is of tables or images, and this space reads texts. "
            "Leave it out, or write a LoadTexts of your own."
        )
    given = {"labels" if name == "source" else name: value for name, value in data.items()}
    for name in ("texts", "labels"):
        if isinstance(known := getattr(first, name), str):
            given.setdefault(name, _absolute(known))
    return given


def data_fields(
    source: str | os.PathLike[str] | None, metric: str | None, **others: Any
) -> dict[str, Any]:
    """Fields of Load from what was given; what is None is left to the space."""
    fields = {name: value for name, value in others.items() if value is not None}
    if source is not None:
        fields["source"] = _absolute(os.fspath(source))
    if metric is not None:
        from vitruvius.catalogue import find
        from vitruvius.contracts import Metric

        measuring: Any = find(metric, Metric)
        fields["metric"] = measuring()
    return fields


def find_searcher(searcher: str | Searcher, seed: int) -> Searcher:
    """A searcher by its name in any spelling ("mcts", "RandomSearch", "random-search")."""
    if isinstance(searcher, Searcher):
        return searcher
    from vitruvius.catalogue import find

    found: Any = find(searcher, Searcher)
    if found.__name__.startswith("Optuna") and importlib.util.find_spec("optuna") is None:
        raise StudyError(
            f"{found.__name__} needs optuna, an extra: pip install 'vitruvius[baselines]'"
        )
    return found(seed=seed)


def find_limits(limits: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """Limits by cost; words of the command line are ``parameters=1e6``."""
    if isinstance(limits, Mapping):
        return dict(limits)
    found: dict[str, float] = {}
    for word in limits:
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise StudyError(f"A limit is COST=NUMBER, as parameters=1e6; got {word!r}.") from None
    return found


def find_device(device: str) -> str:
    """ "auto" is CUDA where there is one, else the CPU."""
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise StudyError(f"There is no device {device!r}. Give cpu, cuda, cuda:1 or auto.")
    if int(number or 0) >= torch.cuda.device_count():
        raise StudyError(
            f"There is no {device} here: PyTorch sees {torch.cuda.device_count()} CUDA devices. "
            "Give --device cpu."
        )
    return device


def find_precision(precision: str, device: str) -> str | None:
    """ "auto" is bfloat16 on CUDA and on CPUs that multiply it in hardware, else float32."""
    if precision != "auto":
        if precision not in ("float32", "bfloat16"):
            raise StudyError(
                f"There is no precision {precision!r}. Give float32, bfloat16 or auto."
            )
        return precision
    if device != "cpu":
        return None
    import torch

    return "bfloat16" if torch.cpu._is_amx_tile_supported() else "float32"


def fresh_folder(space: Any) -> Path:
    """A folder under runs/ that does not exist yet."""
    name = "study"
    if isinstance(space, str):
        name = Path(space.rpartition(".py")[0] or space).name
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


def _from_file(path: Path, name: str) -> Any:
    if not path.is_file():
        known = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = near(path.name, known) if known else "A space is a recipe's name or FILE.py:NAME."
        raise StudyError(f"{path} does not exist. {hint}")
    try:
        module = load_user_file(str(path))
    except Exception as error:
        raise StudyError(_blame(error, path)) from error
    if name not in vars(module):
        known = [n for n, v in vars(module).items() if _may_be_space(v)]
        raise StudyError(f"{path} has no {name!r}. {near(name, known)}")
    try:
        return _made(vars(module)[name], f"{name!r} in {path}")
    except StudyError:
        raise
    except Exception as error:
        raise StudyError(_blame(error, path)) from error


def _may_be_space(value: Any) -> bool:
    function = callable(value) and not isinstance(value, type)
    return isinstance(value, (Node, Open)) or (
        function and getattr(value, "__module__", None) == USER_MODULE
    )


def _blame(error: BaseException, path: Path) -> str:
    """One line: which line of a user's file went wrong, and how."""
    line, said = "", " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        line, said = f", line {error.lineno}" if error.lineno else "", error.msg
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    mend = "Mend the file and try again."
    if isinstance(error, ModuleNotFoundError):
        mend = "A space file stands alone, beside installed packages."
    stop = "" if said.endswith((".", "?", "!")) else "."
    return f"{path}{line}: {type(error).__name__}: {said}{stop} {mend}"


def _made(space: Any, what: str) -> Any:
    """A space, or what a function without arguments gives as one."""
    if callable(space) and not isinstance(space, (Node, Open)):
        if isinstance(space, type):
            raise StudyError(
                f"A space is a pipeline, a layer or a domain of them; {what} is the class "
                f"{space.__name__}. Make one: {space.__name__}.space()"
            )
        space = space()
    if not isinstance(space, (Node, Open)):
        raise StudyError(
            f"A space is a pipeline, a layer or a domain of them; {what} is of type "
            f"{type(space).__name__}."
        )
    return space


def _absolute(source: str) -> str:
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source
