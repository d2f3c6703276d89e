"""The sketches in docs/decisions/0001-contracts.md fit the contracts: they run and type-check."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "decisions" / "0001-contracts.md"
PRELUDE, *BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

WRONG = {
    "verb missing": (
        "reportAbstractUsage",
        """
@dataclass(frozen=True)
class Silent(Metric):
    name: ClassVar[str] = "silent"
    better: ClassVar[Literal["higher", "lower"]] = "higher"

Silent()
""",
    ),
    "verb with another signature": (
        "reportIncompatibleMethodOverride",
        """
@dataclass(frozen=True)
class Deaf(Objective):
    def loss(self, model: Model, batch: Batch) -> Loss:
        return Loss(batch.fields["label"])
""",
    ),
    "verb with another result": (
        "reportIncompatibleMethodOverride",
        """
@dataclass(frozen=True)
class Vague(Metric):
    name: ClassVar[str] = "vague"
    better: ClassVar[Literal["higher", "lower"]] = "higher"

    def measure(self, predictions: Predictions) -> float:
        return 0.0
""",
    ),
    "part that nobody gives": (
        "reportAttributeAccessIssue",
        """
def ask(given: Given) -> object:
    return given.oracle
""",
    ),
    "record written to": (
        "reportAttributeAccessIssue",
        """
def relabel(batch: Batch) -> None:
    batch.rows = batch.fields["label"]
""",
    ),
    "wrong kind of part": (
        "reportArgumentType",
        """
def join(model: Model) -> Subject:
    return Subject(models=model)
""",
    ),
}


def complaints(folder: Path, sources: Mapping[str, str]) -> dict[str, set[str]]:
    """The rules that each of these breaks, as the type checker finds them."""
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(f"{PRELUDE}\n{text}")
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    checker = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.fail("basedpyright is not installed beside this Python: pip install -e '.[dev]'")
    command = [checker, "--outputjson", "--pythonpath", sys.executable, "--project", str(folder)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout)
    assert found["summary"]["filesAnalyzed"] == len(sources)
    broken: dict[str, set[str]] = {name: set() for name in sources}
    for complaint in found["generalDiagnostics"]:
        broken[Path(complaint["file"]).stem].add(complaint.get("rule", complaint["message"]))
    return broken


def test_the_page_sketches_twelve_methods() -> None:
    assert len(BLOCKS) == 12


@pytest.mark.slow
def test_every_sketch_type_checks(tmp_path: Path) -> None:
    sources = {f"sketch{i}": block for i, block in enumerate(BLOCKS)}
    assert complaints(tmp_path, sources) == {name: set() for name in sources}


@pytest.mark.slow
def test_a_wrong_sketch_is_refused(tmp_path: Path) -> None:
    found = complaints(tmp_path, {name: text for name, (_, text) in WRONG.items()})
    assert found == {name: {rule} for name, (rule, _) in WRONG.items()}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"class (\w+)\(", block)[0])
def test_every_sketch_runs(block: str, tmp_path: Path) -> None:
    (tmp_path / "sketch.py").write_text(f"{PRELUDE}\n{block}")
    assert runpy.run_path(str(tmp_path / "sketch.py"))
