"""The command line as a person meets it: what it does, and what it says where it cannot."""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.commands import Run, calling
from vitruvius import completion
from vitruvius.catalogue import catalogue
from vitruvius.search import Searcher
from vitruvius.space import Node
from vitruvius.study.journal import Journal

ROOT = Path(__file__).parents[1]
FILE = """
from dataclasses import dataclass

from torch import nn
from vitruvius.contracts import Layer
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.space import hyper, one_of
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import Affine, Flatten, Sequential


@dataclass(frozen=True)
class Power(Layer):
    exponent: float = hyper(2.0, one_of(1.0, 2.0), "of the absolute value")

    def build(self, x):
        return PowerModule(self.exponent)


class PowerModule(nn.Module):
    def __init__(self, exponent):
        super().__init__()
        self.exponent = exponent

    def forward(self, x):
        return x.abs() ** self.exponent


network = Sequential(Flatten(), Affine(one_of(4, 8, 16)), Power.space())
space = Pipeline(
    Load("digits"), Train(epochs=2, batch_size=128, model=network, head=Readout()), Evaluate()
)


def made():
    return network


def two():
    return Sequential(network, Affine(2))


def argued(width):
    return network


number = 3
"""


@pytest.fixture
def vitruvius(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, trials too, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VITRUVIUS_TRACEBACK", raising=False)
    return calling(monkeypatch, capsys)


def refused(result: tuple[int, str, str], *words: str, status: int = 2) -> None:
    """One line on standard error that holds these words, and nothing else."""
    code, out, err = result
    assert code == status, err
    assert err.startswith("vitruvius: ") and err.count("\n") == 1, err
    assert "Traceback" not in err and out == ""
    for word in words:
        assert word in err, err


@pytest.fixture(scope="module")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, space_file: Path) -> Path:
    """The folder of a study over a user's space file, which is gone since."""
    from vitruvius import running

    folder = tmp_path_factory.mktemp("ended")
    given = folder / "given.py"
    shutil.copyfile(space_file, given)
    running.search(f"{given}:space", trials=3, out=folder / "study")
    given.unlink()
    return folder / "study"


@pytest.fixture
def study(ended: Path, tmp_path: Path) -> Path:
    """A copy of that study to do things to."""
    return Path(shutil.copytree(ended, tmp_path / "study"))


# ------------------------------------------------------------------- what it does


def test_a_prior_is_in_the_journal_and_leads_the_search(
    vitruvius: Run, space_file: Path, tmp_path: Path
) -> None:
    argv = ("--prior", "exponent=1.0:1e6,2.0:1", "--trials", 1, "--out", "s", "-q")
    status, _, err = vitruvius("search", f"{space_file}:space", *argv)
    assert status == 0, err
    with Journal(tmp_path / "s" / "journal.sqlite", read_only=True) as journal:
        events = journal.read()
    assert events[0].body["searcher"]["node"].endswith(":Prior")
    points = [event.body["point"] for event in events if event.kind == "asked"]
    assert [value for a, value in points[0].items() if a.endswith("exponent")] == [1.0]


def test_search_ends_with_leaderboard_report_and_model(
    vitruvius: Run, space_file: Path, tmp_path: Path
) -> None:
    status, out, err = vitruvius("search", f"{space_file}:space", "--trials", 2, "--out", "s")
    assert status == 0 and "rank" in out and "test accuracy" in out
    assert "s/report.html" in out and "s/model" in out
    assert err.count("note: ") == 1 and "trial 2:" in err
    assert (tmp_path / "s/report.html").stat().st_size > 10_000
    assert (tmp_path / "s/space.py").read_text() == FILE
    assert (tmp_path / "s/model/model.py").exists()


def test_a_layer_and_options_of_the_data_reach_the_study(
    vitruvius: Run, space_file: Path, tmp_path: Path
) -> None:
    status, _, err = vitruvius(
        *("search", f"{space_file}:two", "--data", table(tmp_path / "t.csv"), "--target", "y"),
        *("--metric", "macro-f1", "--searcher", "random-search", "--trials", 1, "--seed", 3),
        *("--leave-out", "a", "--quiet", "--out", "s", "--max-parameters", 100_000),
    )
    assert (status, err) == (0, "")
    with Journal(tmp_path / "s/journal.sqlite", read_only=True) as journal:
        meta = journal.read()[0].body
    assert meta["metric"] == "macro_f1" and meta["seed"] == 3
    assert meta["searcher"]["node"].endswith("RandomSearch")
    assert meta["limits"]["max_parameters"] == 100_000
    assert str(tmp_path / "t.csv") in json.dumps(meta["space"])


def test_show_as_json_has_the_promised_shape(vitruvius: Run, study: Path) -> None:
    status, out, _ = vitruvius("show", study, "--json")
    told = json.loads(out)
    assert status == 0 and list(told) == ["best", "trials"]
    assert [t["number"] for t in told["trials"]] == [1, 2, 3]
    for trial in told["trials"]:
        assert list(trial) == ["number", "point", "scores", "status", "seconds"]
        assert trial["status"] == "finished" and 0 < trial["scores"]["accuracy"] < 1
    assert told["best"] in told["trials"]


def test_show_and_report(vitruvius: Run, study: Path) -> None:
    status, out, _ = vitruvius("show", study, "--top", 1)
    assert status == 0 and out.splitlines()[0].startswith("rank") and "Final: trial" in out
    (study / "report.html").unlink()
    status, out, _ = vitruvius("report", study)
    assert status == 0 and out.strip() == str(study / "report.html")
    assert (study / "report.html").exists()


def test_resume_of_an_ended_study_writes_again_what_is_gone(vitruvius: Run, study: Path) -> None:
    (study / "report.html").unlink()
    shutil.rmtree(study / "model")
    status, _, err = vitruvius("resume", study)
    assert status == 0, err
    assert (study / "report.html").exists() and (study / "model").exists()


def test_resume_with_a_larger_budget_needs_the_space_file_no_more(
    vitruvius: Run, study: Path
) -> None:
    status, out, err = vitruvius("resume", study, "--trials", 4)
    assert status == 0 and "trial 4:" in err and "Final" in out


def test_space(vitruvius: Run, space_file: Path) -> None:
    status, out, _ = vitruvius("space", f"{space_file}:network", "--count")
    assert (status, out) == (0, "6 designs\n")
    status, out, _ = vitruvius("space", f"{space_file}:made", "--sample", 2, "--seed", 1)
    assert status == 0 and len([json.loads(line) for line in out.splitlines()]) == 2
    assert vitruvius("space", f"{space_file}:made", "--sample", 2, "--seed", 1)[1] == out
    status, out, _ = vitruvius("space", "digits")
    assert status == 0 and out.startswith("Pipeline") and "Residual" in out


def test_export_and_predict(vitruvius: Run, study: Path, tmp_path: Path) -> None:
    status, out, _ = vitruvius("export", study, "model")
    assert status == 0 and "python model/model.py DATA" in out
    assert {p.name for p in Path("model").iterdir()} >= {"model.py", "model.safetensors"}
    here = vitruvius("predict", study, "digits")
    assert here[0] == 0 and len(here[1].splitlines()) == 1798
    status, out, _ = vitruvius("predict", study, "digits", "--out", "p.csv")
    assert status == 0 and out == "1797 predictions in p.csv\n"
    assert Path("p.csv").read_text() == here[1]


def test_techniques(vitruvius: Run) -> None:
    status, out, _ = vitruvius("techniques")
    assert status == 0 and "Optimizer" in out and "RandomSearch" in out
    status, out, _ = vitruvius("techniques", "adam-w")
    assert status == 0 and "Source: " in out and "learning_rate" in out


def test_completion_knows_every_name() -> None:
    def named(role: type) -> list[str]:
        return sorted(completion.dashed(cls.__name__) for cls in catalogue(role))

    from vitruvius.contracts import Metric

    assert sorted(completion.techniques("")) == named(Node)
    assert completion.searchers("") == named(Searcher)
    assert completion.metrics("") == named(Metric)
    assert completion.metrics("macro") == ["macro-f1"]
    assert completion.spaces("de") == ["deepconv"]


def test_help_is_quick_fits_80_columns_and_has_examples() -> None:
    code = "import sys; from vitruvius import cli\ntry: cli.main()\nfinally: print(*sys.modules)"
    for command in ((), ("demo",), ("search",), ("resume",), ("show",), ("space",), ("export",)):
        ran = subprocess.run(
            [sys.executable, "-c", code, *command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "80"},
        )
        page, _, modules = ran.stdout.rstrip().rpartition("\n")
        assert max(len(line) for line in page.splitlines()) <= 80
        assert "vitruvius " + " ".join(command) in page.partition("\n\n")[2]
        assert not {"torch", "numpy", "rich"} & set(modules.split())


def test_alone_it_shows_its_help(vitruvius: Run) -> None:
    status, out, err = vitruvius()
    assert status == 0 and out.startswith("Usage: vitruvius ") and err == ""
    assert vitruvius("--version")[1].startswith("vitruvius ")


# -------------------------------------------------------------- what cannot be done


def table(path: Path, rows: int = 60, **columns: list) -> Path:
    """A table of two columns and a target of two classes."""
    rng = np.random.default_rng(0)
    found = {
        "a": rng.normal(size=rows).round(3).tolist(),
        "b": rng.normal(size=rows).round(3).tolist(),
        "y": ["yes" if i % 2 else "no" for i in range(rows)],
        **columns,
    }
    lines = [",".join(found)]
    lines += [",".join(str(v) for v in row) for row in zip(*found.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def holed(path: Path) -> Path:
    return table(path, y=[float("nan") if i == 7 else i * 1.5 for i in range(60)])


def images(path: Path) -> Path:
    from PIL import Image

    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(path / name / f"{i}.png")
    (path / "dog" / "3.png").write_bytes(b"\x89PNG no more")
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


def plain(path: Path) -> Path:
    path.write_text("a,b\n1,2\n")
    return path


DATA = {
    "no target column": (lambda p: table(p / "t.csv"), "--target=z", ("t.csv", "'z'", "'y'")),
    "one class": (lambda p: table(p / "t.csv", y=["no"] * 60), "--target=y", ("t.csv", "'no'")),
    "NaN targets": (lambda p: holed(p / "t.csv"), "--target=y", ("t.csv", "'y'", "row 8")),
    "an unreadable image": (lambda p: images(p / "i"), "--seed=0", ("dog/3.png",)),
    "an empty folder": (lambda p: empty(p / "e"), "--seed=0", ("/e",)),
    "no such file": (lambda p: p / "t.csv", "--target=y", ("'t.csv'",)),
    "no data": (lambda p: plain(p / "t.doc"), "--target=y", ("t.doc", ".csv")),
    "no such kind": (lambda p: table(p / "t.csv"), "--kind=ranking", ("ranking", "regression")),
    "another metric's task": (lambda p: table(p / "t.csv"), "--metric=r2", ("R2",)),
}


@pytest.mark.parametrize("make, option, words", DATA.values(), ids=DATA)
def test_wrong_data(
    vitruvius: Run,
    tmp_path: Path,
    make: Callable[[Path], Path],
    option: str,
    words: tuple[str, ...],
) -> None:
    target = () if option.startswith("--target") or "seed" in option else ("--target=y",)
    data = make(tmp_path)
    before = set(tmp_path.rglob("*"))
    refused(vitruvius("search", "mlp", "--data", data, option, *target, "--out", "s"), *words)
    assert set(tmp_path.rglob("*")) == before


SPACES = {
    "a mistake of syntax": ("x = 1\nspace = (\n", "space", ("line 2", "SyntaxError")),
    "an exception": ("\n\nspace = 1 / 0\n", "space", ("line 3", "division by zero")),
    "a wrong argument": (
        "from vitruvius.techniques.layers import Conv\n\nspace = Conv(filter=3)\n",
        "space",
        ("line 3", "filter"),
    ),
    "another file": ("import nothing_of_this_name\n", "space", ("line 1", "stands alone")),
    "a misspelt name": (FILE, "netwerk", ("'netwerk'", "'network'")),
    "a number": (FILE, "number", ("'number'", "int")),
    "a class": (FILE, "Power", ("class Power", "Power.space()")),
    "a function with arguments": (FILE, "argued", ("argued", "width")),
    "a network without data": (FILE, "network", ("--data",)),
}


@pytest.mark.parametrize("text, name, words", SPACES.values(), ids=SPACES)
def test_wrong_space_file(
    vitruvius: Run, tmp_path: Path, text: str, name: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(text)
    refused(vitruvius("search", f"wrong.py:{name}", "--out", "s"), *words)
    assert list(tmp_path.iterdir()) == [path]


WORDS = {
    "option": (("search", "digits", "--trails", "3"), ("--trails", "--trials")),
    "command": (("serch",), ("'serch'", "'search'")),
    "searcher": (("search", "digits", "--searcher", "mtcs"), ("'mtcs'", "'MCTS'")),
    "prior": (
        ("search", "digits", "--prior", "learning_rat=1"),
        ("'learning_rat'", "learning_rate"),
    ),
    "a prior": (
        ("search", "digits", "--prior", "learning_rate"),
        ("ADDRESS=VALUE", "learning_rate"),
    ),
    "metric": (("search", "digits", "--metric", "acuracy"), ("'acuracy'", "'Accuracy'")),
    "recipe": (("search", "digts"), ("'digts'", "'digits'")),
    "file": (("search", "gone.py:space"), ("gone.py", "does not exist")),
    "device": (("search", "digits", "--device", "gpu"), ("'gpu'", "cuda")),
    "technique": (("techniques", "adamv"), ("'adamv'", "'AdamW'")),
    "trials": (("search", "digits", "--trials", "none"), ("--trials", "integer")),
    "no trials": (("search", "digits", "--trials", "0"), ("--trials",)),
    "no seconds": (("search", "digits", "--seconds", "0"), ("seconds", "above 0")),
    "missing": (("show",), ("FOLDER",)),
}


@pytest.mark.parametrize("argv, words", WORDS.values(), ids=WORDS)
def test_wrong_words(
    vitruvius: Run, tmp_path: Path, argv: tuple[str, ...], words: tuple[str, ...]
) -> None:
    code, out, err = vitruvius(*argv)
    refused((code, out, err.replace("{folder}", "FOLDER").replace("'folder'", "FOLDER")), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("resume",), ("resume", "--repair"), ("show",), ("report",), ("export", "out")]
)
def test_a_folder_without_a_study(vitruvius: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "other").mkdir()
    name, *rest = command
    refused(vitruvius(name, "other", *rest), "other holds no study", "vitruvius search")
    assert list(tmp_path.rglob("*")) == [tmp_path / "other"]


def test_a_budget_that_is_too_small_for_one_trial(
    vitruvius: Run, space_file: Path, tmp_path: Path
) -> None:
    made = tmp_path / "there"
    made.mkdir()
    for out in (made, tmp_path / "new" / "deep"):
        result = vitruvius("search", f"{space_file}:space", "--seconds", 0.01, "--out", out)
        refused((*result[:2], result[2].splitlines(True)[-1]), "too small", "--seconds")
    assert list(tmp_path.rglob("*")) == [made]


def test_designs_that_are_all_too_large(vitruvius: Run, space_file: Path, tmp_path: Path) -> None:
    result = vitruvius(
        *("search", f"{space_file}:space", "--trials", 2, "--max-parameters", 3, "--quiet"),
        *("--out", "s"),
    )
    refused(result, "parameters")
    assert list(tmp_path.iterdir()) == []


def test_trials_that_all_fail_leave_what_tells_why(vitruvius: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        FILE.replace("self.exponent\n\n\nnet", "self.missing\n\n\nnet")
    )
    result = vitruvius("search", "mine.py:space", "--trials", 2, "--out", "s", "--quiet")
    note = Path("s/trials/0002/failure.txt")
    refused(result, "no attribute 'missing'", f"See {note}", status=1)
    assert "self.missing" in note.read_text()


@pytest.mark.parametrize("out", ["file/s", "file", "/proc/vitruvius"])
def test_a_folder_that_cannot_be_written(
    vitruvius: Run, space_file: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    refused(vitruvius("search", f"{space_file}:space", "--trials", 1, "--out", out), out, "--out")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_that_holds_another_study(vitruvius: Run, space_file: Path, study: Path) -> None:
    before = {p: p.read_bytes() for p in study.rglob("*") if p.is_file()}
    begin = ("search", f"{space_file}:space", "--out", study)
    refused(vitruvius(*begin, "--seed", 5), "another searcher", "--out", "resume")
    refused(vitruvius("search", "digits", "--out", study), "another space", "--out")
    edited = study.parent / "mine.py"
    edited.write_text(FILE.replace("x.abs()", "(2 * x).abs()"))
    refused(vitruvius("search", f"{edited}:space", "--out", study), "another text", "mine.py")
    assert {p: p.read_bytes() for p in study.rglob("*") if p.is_file() and p in before} == before


def test_data_that_changed_since(vitruvius: Run, space_file: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "t.csv")
    status, _, _ = vitruvius(
        *("search", f"{space_file}:two", "--data", data, "--target", "y", "--trials", 1),
        *("--out", "s", "--quiet"),
    )
    assert status == 0
    table(data, a=list(range(60)))
    refused(vitruvius("resume", "s", "--trials", 2), "other data", "t.csv")


def bitten(study: Path) -> None:
    """One byte of an event's text changes."""
    path = study / "journal.sqlite"
    content = bytearray(path.read_bytes())
    at = content.rfind(b'"status":"finished"')
    content[at + 11] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_journal_is_refused_and_repaired(vitruvius: Run, study: Path) -> None:
    bitten(study)
    for command in (("resume", study), ("show", study), ("report", study), ("export", study, "o")):
        refused(vitruvius(*command), "is damaged", "journal.sqlite", f"resume {study} --repair")
    status, out, err = vitruvius("resume", study, "--repair")
    assert status == 0 and "Kept the first" in err and "damaged-1" in err
    assert "Final" in out and (study / "journal.sqlite.damaged-1").exists()
    assert "is intact" in vitruvius("resume", study, "--repair")[2]


def test_a_journal_of_another_kind(vitruvius: Run, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s/journal.sqlite").write_text("dear diary")
    refused(vitruvius("show", "s"), "damaged", "journal.sqlite")
    sqlite3.connect(tmp_path / "s/other.sqlite").close()
    with Journal(tmp_path / "s/new.sqlite"):
        pass
    os.replace(tmp_path / "s/new.sqlite", tmp_path / "s/journal.sqlite")
    refused(vitruvius("show", "s"), "without a study")


def test_export_and_predict_refuse(vitruvius: Run, study: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    refused(vitruvius("export", study, "there"), "there exists", "new folder")
    refused(vitruvius("predict", "there", "digits"), "there holds no model")
    refused(vitruvius("predict", "nowhere", "digits"), "no folder nowhere")
    refused(vitruvius("predict", study, "gone.csv"), "gone.csv")
    refused(vitruvius("predict", study, table(tmp_path / "t.csv")), "t.csv")
    refused(vitruvius("predict", study, "digits", "--out", "there"), "there")
    (tmp_path / "file").write_text("in the way")
    refused(vitruvius("predict", study, "digits", "--out", "file/p.csv"), "file")
    damaged = study / "model" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    refused(vitruvius("predict", study, "digits"), "model.safetensors", "damaged")


def test_new_data_with_a_missing_column(vitruvius: Run, space_file: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "t.csv")
    status, _, _ = vitruvius(
        *("search", f"{space_file}:two", "--data", data, "--target", "y", "--trials", 1),
        *("--out", "s", "--quiet"),
    )
    assert status == 0
    (tmp_path / "new.csv").write_text("a,c\n1,2\n")
    refused(vitruvius("predict", "s", "new.csv"), "new.csv", "'b'")
    (tmp_path / "new.csv").write_text("b,a\n1,2\n")
    status, out, _ = vitruvius("predict", "s", "new.csv")
    assert status == 0 and len(out.splitlines()) == 2


@pytest.fixture
def little_room() -> Iterator[Callable[[int], None]]:
    """Files may not grow beyond so many bytes: the system refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_for_the_journal(
    vitruvius: Run, space_file: Path, tmp_path: Path, little_room: Callable[[int], None]
) -> None:
    little_room(4096)
    out = vitruvius("search", f"{space_file}:network", "--data", "digits", "--out", "s", "--quiet")
    refused(out, "s")
    assert list(tmp_path.iterdir()) == []


def test_no_room_while_the_study_runs(
    vitruvius: Run, study: Path, little_room: Callable[[int], None]
) -> None:
    whole = json.loads(vitruvius("show", study, "--json")[1])
    little_room((study / "journal.sqlite").stat().st_size)
    result = vitruvius("resume", study, "--trials", 30, "--quiet")
    refused(result, "journal.sqlite", "resume")
    little_room(1 << 30)
    kept = json.loads(vitruvius("show", study, "--json")[1])
    assert kept["trials"][:3] == whole["trials"]
    status, out, _ = vitruvius("resume", study, "--trials", 4, "--quiet")
    assert status == 0 and "Final" in out


def test_no_room_for_the_weights(
    vitruvius: Run, tmp_path: Path, little_room: Callable[[int], None]
) -> None:
    wide = FILE.replace("one_of(4, 8, 16)", "one_of(16, 4096)")
    (tmp_path / "mine.py").write_text(wide)
    search = ("search", "mine.py:space", "--searcher", "exhaustive", "--trials", 4, "--quiet")
    little_room(300_000)
    result = vitruvius(*search, "--out", "s")
    refused(result, "s cannot be written", "make room", "vitruvius resume s")
    little_room(1 << 30)
    before = json.loads(vitruvius("show", "s", "--json")[1])["trials"]
    assert {t["status"] for t in before} == {"finished", "running"}
    status, _, _ = vitruvius("resume", "s", "--quiet")
    after = json.loads(vitruvius("show", "s", "--json")[1])["trials"]
    assert status == 0 and [t["status"] for t in after] == ["finished"] * 4
    done = [t for t in before if t["status"] == "finished"]
    assert all(t in after for t in done)


# ------------------------------------------------------------------------- mistakes


def test_a_bug_shows_where_it_is(
    vitruvius: Run, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitruvius.running.load", lambda folder: int("no number"))
    status, _, err = vitruvius("show", study)
    assert status == 1 and "Traceback" in err and "ValueError: invalid literal" in err
    assert err.splitlines()[-1].startswith("vitruvius: This is a bug. Please report it")


def test_a_traceback_for_those_who_ask(vitruvius: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIUS_TRACEBACK", "1")
    status, _, err = vitruvius("show", "none")
    assert status == 2 and "Traceback" in err
    assert err.splitlines()[-1].startswith("vitruvius: none holds no study")


# ---------------------------------------------------------------- in processes, for real


def begun(space_file: Path, folder: Path, trials: int = 400) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*(sys.executable, "-m", "vitruvius.cli", "search", f"{space_file}:space"),
         *("--searcher", "random-search", "--trials", str(trials), "--out", str(folder))],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_an_interrupt_ends_with_one_line_and_resume_goes_on(
    space_file: Path, tmp_path: Path, vitruvius: Run
) -> None:
    folder = tmp_path / "s"
    wide = tmp_path / "wide.py"
    wide.write_text(FILE.replace("one_of(4, 8, 16)", "integers(2, 4000)").replace(
        "import hyper,", "import hyper, integers,"))  # fmt: skip
    with begun(wide, folder) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trial 2:" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 1
    assert rest.splitlines()[-1] == (
        f"vitruvius: Interrupted. Finished trials are kept; go on with: vitruvius resume {folder}"
    )
    assert "Traceback" not in rest and not (folder / "report.html").exists()
    before = json.loads(vitruvius("show", folder, "--json")[1])["trials"]
    done = [t for t in before if t["status"] == "finished"]
    status, _, _ = vitruvius("resume", folder, "--trials", len(before) + 1, "--quiet")
    after = json.loads(vitruvius("show", folder, "--json")[1])["trials"]
    assert status == 0 and len(done) >= 2 and after[: len(done)] == done
    assert len(after) == len(before) + 1


def test_a_wrong_word_in_a_shell() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "vitruvius.cli", "search", "digits", "--trails", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    refused((ran.returncode, ran.stdout, ran.stderr), "--trails", "--trials")
