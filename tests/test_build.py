"""``vitruvius build`` and what uses its models, as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.commands import Run, calling
from tests.interop.tiny import folder as tiny_folder
from tests.pipeline import text_data
from vitruvius.study.study import reopen

SMALL = ("--trials", 1, "--flops", 2e8, "--precision", "float32", "--quiet")


@pytest.fixture
def vitruvius(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, trials too."""
    return calling(monkeypatch, capsys)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    for make in (text_data.labelled, text_data.pairs, text_data.tagged, text_data.corpus):
        make(folder)
    lines = [(text,) for text in text_data.docstrings("logging")[:5]]
    text_data.write(folder / "new.csv", ("text",), lines)
    return folder


def test_a_classifier_is_built_predicts_and_exports(
    vitruvius: Run, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    base = tiny_folder(tmp_path / "base", "bert")
    status, told, err = vitruvius(
        "build", "--labels", data / "labels.csv", "--base", base, "--out", out, *SMALL
    )
    assert status == 0, err
    assert "test macro_f1" in told
    design = json.loads((out / "model/design.json").read_text())["design"]
    assert "FullTuning" in json.dumps(design)  # what a person would try first
    status, told, err = vitruvius("predict", out, data / "new.csv")
    assert status == 0, err
    lines = told.strip().splitlines()
    assert lines[0] == "prediction,p(asyncio),p(email),p(unittest)" and len(lines) == 6
    assert vitruvius("predict", out / "model", data / "new.csv")[1] == told
    status, _, err = vitruvius("embed", out, data / "new.csv", "--out", tmp_path / "v.npy")
    assert status == 0, err
    assert np.allclose(np.linalg.norm(np.load(tmp_path / "v.npy"), axis=1), 1, atol=1e-5)
    status, _, err = vitruvius("query", out, "a question")
    assert status == 2 and "has no index to search" in err and err.count("\n") == 1
    from transformers import AutoModel, AutoTokenizer

    loaded = AutoModel.from_pretrained(str(out / "model/transformers"))
    assert type(loaded).__name__ == "BertModel"
    AutoTokenizer.from_pretrained(str(out / "model/transformers"))
    assert vitruvius("show", out)[0] == 0


def test_words_are_tagged_by_a_model_from_scratch(
    vitruvius: Run, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    given = ("--texts", data / "texts", "--labels", data / "tags.tsv", "--out", out)
    status, told, err = vitruvius("build", *given, *SMALL)
    assert status == 0 and "test span_f1" in told, err
    status, told, err = vitruvius("predict", out, data / "new.csv")
    assert status == 0, err
    assert told.splitlines()[0] == "sentence,word,prediction,p"
    assert len(told.strip().splitlines()) > 20


def test_queries_find_all_texts_of_the_data(vitruvius: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, told, err = vitruvius("build", "--labels", data / "pairs.csv", "--out", out, *SMALL)
    assert status == 0 and "mean_reciprocal_rank" in told, err
    halves = (data / "pairs.csv").read_text().splitlines()
    status, told, err = vitruvius("query", out, "Return the current event loop", "--k", 3)
    assert status == 0 and told.count("\n    ") == 3, err
    from vitruvius import text_models

    assert len(text_models.opened(out).index.documents) > 0.7 * (len(halves) - 1)


def test_a_corpus_without_labels_gives_an_encoder(
    vitruvius: Run, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    status, told, err = vitruvius("build", "--texts", data / "texts", "--out", out, *SMALL)
    assert status == 0 and "bits_per_character" in told, err
    status, _, err = vitruvius("predict", out, data / "new.csv")
    assert status == 2 and "Use: vitruvius embed" in err
    assert reopen(out).around.precision == "float32"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "Give --texts, --labels, or both"),
        (("--texts", "empty"), "holds no text"),
        (("--labels", "tiny.csv"), "each class needs at least 3"),
        (("--labels", "none.csv"), "There is no"),
        (("--labels", "labels.csv", "--target", "lable"), "Did you mean 'label'"),
        (("--labels", "labels.csv", "--base", "broken"), "config.json cannot be read"),
        (("--labels", "labels.csv", "--base", "remote"), "wants to run code of its own"),
        (("--labels", "labels.csv", "--unit", "page"), "LoadTexts.unit is one of"),
        (("--labels", "labels.csv", "--precision", "half"), "There is no precision 'half'"),
        (("--texts", "texts", "--labels", "keys.csv"), "labelled texts are not in"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    vitruvius: Run, data: Path, tmp_path: Path, given: tuple, words: str
) -> None:
    (data / "empty").mkdir(exist_ok=True)
    (data / "tiny.csv").write_text("text,label\na b c,x\nd e f,y\ng h i,x\n")
    (data / "keys.csv").write_text("file,label\nzz.txt,x\nyy.txt,y\n")
    for name, config in (
        ("broken", '{"model_type": "bert"'),
        ("remote", '{"model_type": "foo", "auto_map": {"AutoModel": "m.Foo"}}'),
    ):
        (data / name).mkdir(exist_ok=True)
        (data / name / "config.json").write_text(config)
    files = ("--texts", "--labels", "--base")
    placed = [
        data / value if i and given[i - 1] in files else value for i, value in enumerate(given)
    ]
    status, out, err = vitruvius("build", *placed, "--out", tmp_path / "run", "--trials", 1)
    assert status == 2 and out == "" and words in err, err
    assert err.startswith("vitruvius: ") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_texts_is_searched_like_any_other(
    vitruvius: Run, data: Path, tmp_path: Path
) -> None:
    space = tmp_path / "mine.py"
    space.write_text(
        "from vitruvius.recipes.domain_classifier import domain_classifier\n"
        "space = domain_classifier('labels.csv', flops=2e8)\n"
    )
    out = tmp_path / "run"
    status, told, err = vitruvius(
        "search", f"{space}:space", "--data", data / "labels.csv", "--target", "label",
        "--trials", 1, "--out", out, "--quiet",
    )  # fmt: skip
    assert status == 0 and "test macro_f1" in told, err
    refused = vitruvius("search", "domain_classifier", "--data", "x.csv", "--size", 8)
    assert refused[0] == 2 and "--size is of tables or images" in refused[2]
