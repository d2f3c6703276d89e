"""Real tables, where a data kit stands beside the checkout; skipped where it does not."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vitruvius.contracts import Given
from vitruvius.data import (
    Loaded,
    description,
    open_data,
    open_labelled,
    read_inputs,
    split,
    split_texts,
)
from vitruvius.techniques.encoders import Columns

KIT = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def kit(name: str) -> Path:
    path = KIT / name
    if not path.exists():
        pytest.skip(f"no data kit beside the checkout: {path.name}")
    return path


def encoded(loaded: Loaded) -> list[np.ndarray]:
    parts = split(loaded)
    given = Given(documents=parts["train"].documents)
    given = given.but(fitted=Columns().fit(given))
    made = [Columns().apply(parts[n].documents, given) for n in ("train", "validation")]
    return [a for d in made for a in (d.payload["input"][:], d.attributes["label"])]


def test_adult_can_be_learned():
    path = kit("tab_adult/adult_train.csv.gz")
    loaded = open_data(path, "-1")
    x, y, x_validation, y_validation = encoded(loaded)
    assert len(loaded.documents) == 32_561 and loaded.task.labels == ("<=50K", ">50K")
    kinds = [c["kind"] for c in loaded.facts["columns"]]
    assert kinds.count("number") == 6 and kinds.count("category") == 8
    missing = sum(w is None for w in loaded.documents.payload["column2"][:].tolist())
    assert missing == 1836
    assert np.isfinite(x).all() and x.shape[1] == x_validation.shape[1]
    learner = LogisticRegression(max_iter=300).fit(x[:6000], y[:6000])
    assert learner.score(x_validation, y_validation) > 0.84  # the majority: 0.76
    new = read_inputs(kit("tab_adult/adult_test.csv.gz"), description(loaded))
    assert len(new) == 16_281


@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [
        ("abalone.csv", 4177, 0),
        ("winequality-red.csv", 1599, 6),
        ("winequality-white.csv.gz", 4898, 7),
        ("phoneme.csv", 5404, 2),
        ("mammography.csv.gz", 11183, 2),
    ],
)
def test_small_tables(name: str, rows: int, classes: int):
    loaded = open_data(kit(f"tab_small/{name}"), "-1")
    assert len(loaded.documents) == rows and len(loaded.task.labels) == classes
    x, y, x_validation, _ = encoded(loaded)
    assert np.isfinite(x).all() and np.isfinite(x_validation).all() and len(x) == len(y)
    assert abs(x.mean()) < 1.0


@pytest.mark.parametrize(
    ("name", "level", "classes", "parts"),
    [
        ("cls_science/scicite", "item", 3, (7320, 916, 1861)),
        ("cls_science/acl_arc", "item", 6, (1688, 114, 139)),
        ("cls_science/chemprot", "item", 13, (4169, 2427, 3469)),
        ("cls_germeval2018", "item", 2, (5009, 0, 3532)),
        ("cls_clinc150/data_full.json.gz", "item", 151, (15100, 3100, 5500)),
        ("cls_sentence_suite/TREC.all", "item", 6, (5452, 0, 500)),
        ("cls_sentence_suite/stsa.fine", "item", 5, (8544, 1101, 2210)),
        ("cls_sentence_suite/mpqa.all.txt.gz", "item", 2, None),
        ("cls_medical_abstracts/medical_tc_test.csv.gz", "item", 5, None),
        ("sts_benchmark/stsb-de", "pair", 0, (5749, 1500, 1379)),
        ("ner_bc5cdr", "token", 5, (4560, 4581, 4797)),
        ("ner_wnut17", "token", 13, (3394, 1009, 1287)),
    ],
)
def test_labelled_texts(name: str, level: str, classes: int, parts: tuple[int, ...] | None):
    path = kit(name.split("/")[0]) / Path(*name.split("/")[1:])
    loaded = open_labelled(path)
    assert loaded.task.level == level and len(loaded.task.labels) == classes
    found = split_texts(loaded, near=None).splits
    if parts:
        own = loaded.documents.attributes["split"]
        assert tuple(np.bincount(own, minlength=3).tolist()) == parts
        assert len(found["test"].opened().documents) == parts[2]
    else:
        assert "split" not in loaded.documents.attributes
    assert all(len(part.opened().documents) for part in found.values())
