"""Keys: the code behind a design, and every ingredient of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Lab, Stage, State
from vitruvius.pipeline import code
from vitruvius.pipeline.code import code_digest, files_behind, syntax_digest
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.keys import Setting, ingredients, keys_of, rung_key, stage_key
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import Infeasible, Node, neighbours, one_of, optional, replay, sample
from vitruvius.techniques.layers import Affine, Conv, Dropout, Flatten, ReLU, Sequential
from vitruvius.techniques.metrics import Accuracy, MacroF1

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
LINEAR = Sequential(Flatten(), Affine(10))

FILE = '''"""A module."""
from vitruvius.space import Node
from dataclasses import dataclass
from {package}.mathematics import twice

FACTOR = 3


@dataclass(frozen=True)
class Part(Node):
    """What it is."""

    size: int = 1
    """How large."""

    def result(self):
        """Computes."""
        return twice(self.size) * FACTOR  # at once
'''
MATHEMATICS = """from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from {package}.other import Other


def twice(x):
    return 2 * x
"""


@pytest.fixture
def package(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    name = f"own_{abs(hash(request.node.name)) % 10**8}"
    folder = tmp_path / name
    folder.mkdir()
    for module, text in (
        ("__init__", "from {package}.part import Part\nfrom {package}.other import Other\n"),
        ("part", FILE),
        ("mathematics", MATHEMATICS),
        ("other", "class Other:\n    pass\n"),
    ):
        (folder / f"{module}.py").write_text(text.format(package=name))
    sys.path.insert(0, str(tmp_path))
    yield folder
    sys.path.remove(str(tmp_path))
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[module]


def forget() -> None:
    """What a process remembers of files, which it reads once."""
    for cached in (code._digest_of, code._tree, code._syntax, code._imported, code._file):
        cached.cache_clear()


def digest(package: Path) -> str:
    forget()
    part = importlib.import_module(f"{package.name}.part").Part
    return code_digest([part])


def test_the_files_behind_a_class_are_found_through_what_hands_names_on(package: Path) -> None:
    digest(package)
    found = set(files_behind([f"{package.name}.part"]))
    assert {f"{package.name}.part", f"{package.name}.mathematics"} <= found
    assert "vitruvius.space.node" in found  # through vitruvius.space, which is not counted itself
    assert "vitruvius.space" not in found
    assert f"{package.name}.other" not in found  # for type checkers alone
    assert not any(m.partition(".")[0] in ("torch", "dataclasses", "typing") for m in found)


def test_code_changes_the_digest_and_words_do_not(package: Path) -> None:
    first = digest(package)
    part, mathematics = package / "part.py", package / "mathematics.py"
    whole = part.read_text()
    in_lines = "return (\n            twice(self.size) * FACTOR\n        )"
    part.write_text(
        whole.replace('"""Computes."""', '"""Otherwise."""\n')
        .replace("  # at once", "")
        .replace('    """How large."""\n', "")
        .replace("return twice(self.size) * FACTOR", in_lines)
    )
    assert part.read_text() != whole and digest(package) == first
    (package / "other.py").write_text("class Other:\n    size = 1\n")
    assert digest(package) == first
    part.write_text(whole.replace("FACTOR = 3", "FACTOR = 4"))
    assert digest(package) != first
    part.write_text(whole)
    assert digest(package) == first
    mathematics.write_text(mathematics.read_text().replace("2 * x", "x + x"))
    assert digest(package) != first  # what it imports counts too


def test_bases_count(package: Path) -> None:
    forget()
    base = importlib.import_module(f"{package.name}.part").Part
    derived = type("Derived", (base,), {"__module__": __name__})
    assert code_digest([derived]) != code_digest(
        [type("Derived", (Node,), {"__module__": __name__})]
    )


def test_syntax_digest() -> None:
    assert syntax_digest("def f():\n    'x'\n") == syntax_digest("def f():\n    pass # y\n")
    assert syntax_digest("x = 'a'") != syntax_digest("x = 'b'")


def test_a_layer_that_is_not_in_the_design_does_not_count() -> None:
    behind = files_behind({base.__module__ for base in Conv.__mro__})
    assert "vitruvius.techniques.layers.shapes" in behind
    assert "vitruvius.techniques.layers.dropout" not in behind


SPACE = Pipeline(
    Load("digits", validation=one_of(0.2, 0.3)),
    Train.space(
        model=Sequential(
            one_of(Conv.space(), Affine.space()), ReLU(), optional(Dropout.space()), Affine(10)
        )
    ),
    Evaluate(one_of(Accuracy(), MacroF1())),
)


@given(st.integers(0, 2**32))
def test_every_decision_changes_the_key(seed: int) -> None:
    point = sample(SPACE, Random(seed))
    key = keys_of(replay(SPACE, point), {}, SETTING)[-1]
    for other in neighbours(SPACE, point, Random(seed)):
        if other != point:
            try:
                changed = keys_of(replay(SPACE, other), {}, SETTING)[-1]
            except Infeasible:
                continue
            assert changed.key != key.key and changed.root != key.root


@dataclass(frozen=True)
class Source(Node):
    """Names a file, needs a library, and has a field that changes nothing."""

    path: str = ""
    workers: int = 1
    opens: ClassVar[tuple[str, ...]] = ("path",)
    unkeyed: ClassVar[tuple[str, ...]] = ("workers",)
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow",)


@dataclass(frozen=True)
class Joined(Stage):
    """A stage of many inputs."""

    source: Source = field(default_factory=Source)
    teacher: Pipeline = field(default_factory=lambda: Pipeline(Load("digits")))
    soup: tuple[Pipeline, ...] = ()

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        return State(fitted={}, digest=" ".join(sorted(inputs)))


def test_nodes_inside_say_what_they_open_need_and_leave_out(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("same")
    second.write_text("same")
    key = stage_key(Joined(Source(str(first))), {}, SETTING)
    assert stage_key(Joined(Source(str(second), workers=4)), {}, SETTING) == key
    assert stage_key(Joined(Source(str(second), label="mine")), {}, SETTING) == key
    assert "pyarrow" in ingredients(Joined(), {}, SETTING)["libraries"]
    second.write_text("other")
    assert stage_key(Joined(Source(str(second))), {}, SETTING) != key


def test_pipelines_in_fields_come_in_by_role() -> None:
    def key(**fields: object) -> str:
        return keys_of(Joined().replace(**fields), {}, SETTING)[-1].key

    one, two = Pipeline(Load("digits")), Pipeline(Load("digits", split_seed=1))
    keys = [key(), key(teacher=two), key(soup=(one,)), key(soup=(one, two)), key(soup=(two, one))]
    assert len(set(keys)) == len(keys)
    (found,) = keys_of(Joined(soup=(one, two)), {"before": "b", "other": "o"}, SETTING)
    assert set(found.inputs) == {"before", "other", "teacher", "soup.0", "soup.1"}
    assert found.inputs["teacher"] == found.inputs["soup.0"] == keys_of(one, {}, SETTING)[-1].state


def test_versions_and_code_are_in_the_key_and_not_in_the_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    design = Pipeline(Load("digits"), Train(model=LINEAR))
    before = keys_of(design, {}, SETTING)[-1]
    for name, value in (("version", lambda _: "0"), ("code_digest", lambda *_: "0")):
        with monkeypatch.context() as changed:
            changed.setattr(f"vitruvius.pipeline.keys.{name}", value)
            after = keys_of(design, {}, SETTING)[-1]
            assert after.key != before.key and after.root == before.root
    for other in (replace(SETTING, seed=1), replace(SETTING, threads=2)):
        after = keys_of(design, {}, other)[-1]
        assert after.key != before.key and after.root != before.root


def test_a_key_of_a_stage_holds_those_before_it() -> None:
    def last(**fields: object) -> str:
        load = Load("digits").replace(**fields)
        return keys_of(Pipeline(load, Train(model=LINEAR), Evaluate()), {}, SETTING)[-1].state

    assert last() != last(split_seed=1)
    assert last() == last(label="data")


def test_the_horizon_is_in_the_key_and_until_is_not() -> None:
    def key(epochs: int, until: int | None = None) -> tuple[str, str]:
        (found,) = keys_of(Train(model=LINEAR, epochs=epochs, until=until), {}, SETTING)
        return found.key, found.state

    whole, first = key(9), key(9, 1)
    assert whole[0] == first[0] == whole[1] and first[1] == rung_key(whole[0], 1)
    assert key(9, 3)[1] not in (first[1], whole[1])
    assert key(9, 9) == whole and key(3)[0] != whole[0]


def test_the_code_is_that_of_the_classes_in_the_design() -> None:
    design = Train(model=Sequential(Conv(2), Flatten(), Affine(10)))
    without = ingredients(Train(model=LINEAR), {}, SETTING)["code"]
    assert ingredients(design, {}, SETTING)["code"] != without
