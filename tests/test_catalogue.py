"""Every technique is found, named, described, and listed in its folder."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import vitruvius.techniques
from vitruvius.catalogue import catalogue, describe, find, listed, role_of, written
from vitruvius.contracts import Head, Layer, Metric, Mixer, Optimizer, Schedule
from vitruvius.search import RandomSearch, Searcher
from vitruvius.space import Node
from vitruvius.techniques.metrics import Accuracy, MacroF1
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.schedules import Plateau

FOLDERS = [m.name for m in pkgutil.iter_modules(vitruvius.techniques.__path__) if m.ispkg]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_exports_exactly_what_the_catalogue_finds_in_it(folder: str) -> None:
    name = f"vitruvius.techniques.{folder}"
    package = importlib.import_module(name)
    exported = {
        cls
        for cls in (getattr(package, word) for word in package.__all__)
        if inspect.isclass(cls) and issubclass(cls, Node) and role_of(cls)
    }
    found = {cls for cls in catalogue(Node) if cls.__module__.startswith(f"{name}.")}
    assert found == {cls for cls in exported if not inspect.isabstract(cls)}
    assert found


def test_the_searchers_are_in_it() -> None:
    search = importlib.import_module("vitruvius.search")
    exported = {getattr(search, word) for word in search.__all__}
    searchers = {
        cls
        for cls in exported
        if inspect.isclass(cls) and issubclass(cls, Searcher) and not inspect.isabstract(cls)
    }
    assert set(catalogue(Searcher)) == searchers
    assert RandomSearch in searchers


def test_it_is_split_by_role_and_sorted() -> None:
    schedules = [cls.__name__ for cls in catalogue(Schedule)]
    assert schedules == sorted(schedules, key=str.lower)
    assert {"Constant", "Cosine", "Linear", "Plateau", "Power", "WSD"} <= set(schedules)
    assert all(issubclass(cls, Metric) for cls in catalogue(Metric))
    assert not set(catalogue(Head)) & set(catalogue(Layer))
    assert set(catalogue(Mixer)) <= set(catalogue(Layer))
    assert catalogue(Node) == tuple(
        sorted(catalogue(Node), key=lambda cls: (cls.__name__.lower(), cls.__module__))
    )


def test_neither_importing_it_nor_listing_searchers_needs_torch() -> None:
    code = (
        "import sys; from vitruvius.catalogue import catalogue, find, listed; "
        "from vitruvius.search import Searcher; "
        "listed(catalogue(Searcher)); find('random-search', Searcher); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["MacroF1", "macro_f1", "macro-f1", "macrof1", "MACRO F1"])
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    assert find(name) is MacroF1
    assert find(name, Metric) is MacroF1


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(ValueError, match=r"no technique 'Acuracy'. Did you mean 'Accuracy'"):
        find("Acuracy")
    with pytest.raises(ValueError, match=r"no optimizer 'Accuracy'\. There is AdamW, .*SGD"):
        find("Accuracy", Optimizer)


def test_a_name_with_two_meanings_asks_for_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = dataclasses.make_dataclass("Plateau", [], bases=(Accuracy,), frozen=True)
    monkeypatch.setattr("vitruvius.catalogue.catalogue", lambda role: (Plateau, twin))
    with pytest.raises(ValueError, match=r"'Plateau' is a Schedule \(.*\) and a Metric \(.*\)"):
        find("Plateau")


def test_a_description_tells_role_source_and_fields() -> None:
    told = describe(AdamW)
    assert (told.name, told.role) == ("AdamW", "Optimizer")
    assert told.module == "vitruvius.techniques.optimizers.adamw"
    assert told.sentence == "Adam with decoupled weight decay."
    assert told.text.startswith("w -= learning_rate")
    assert told.source.endswith("arXiv:1711.05101, algorithm 2.")
    assert told.differs.startswith("the decay is multiplied by the learning rate")
    rate = told.fields[0]
    assert dataclasses.astuple(rate) == (
        "learning_rate",
        "float",
        "0.001",
        "log_uniform(1e-05, 0.03)",
        "step, in units of the weights",
    )
    assert json.loads(json.dumps(dataclasses.asdict(told)))["fields"][0]["name"] == "learning_rate"


def test_a_description_is_written_within_the_width() -> None:
    for cls in catalogue(Node):
        text = written(describe(cls), width=80)
        assert text.startswith(cls.__name__)
        assert max(map(len, text.splitlines()[1:])) <= 80
    text = written(describe(Plateau))
    assert "patience: int = 4" in text
    assert "space: integers(1, 32, log=True)" in text
    assert "Source: Negrinho & Gordon 2017" in text


def test_the_list_has_every_name_under_its_role() -> None:
    lines = listed(catalogue(Node)).splitlines()
    for cls in catalogue(Node):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {cls.__name__} "))
        heading = next(line for line in reversed(lines[:at]) if line and line[0] != " ")
        assert heading == role_of(cls)
