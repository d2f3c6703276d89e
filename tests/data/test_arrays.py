"""Arrays in .npz files, and what is wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from vitruvius.data import DataError, description, open_data, read_inputs, split

RNG = np.random.default_rng(0)
LABELS = np.arange(20) % 2


def save(folder: Path, name: str = "a.npz", **arrays) -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((20,), (20, 1)),
        ((20, 7), (20, 7)),
        ((20, 5, 6), (20, 1, 5, 6)),
        ((20, 3, 5, 6), (20, 3, 5, 6)),
        ((20, 5, 6, 3), (20, 3, 5, 6)),
        ((20, 2, 4, 5, 6), (20, 2, 4, 5, 6)),
    ],
)
def test_shapes(tmp_path: Path, shape: tuple[int, ...], read: tuple[int, ...]):
    x = RNG.normal(size=shape).astype(np.float32)
    loaded = open_data(save(tmp_path, x=x, y=LABELS))
    payload = loaded.documents.payload["array"]
    assert payload.shape == read and payload.dtype == np.float32
    expected = np.moveaxis(x, -1, 1) if shape == (20, 5, 6, 3) else x.reshape(read)
    np.testing.assert_array_equal(payload, expected)
    like = json.loads(json.dumps(description(loaded)))
    again = read_inputs(save(tmp_path, "new.npz", x=x[:3]), like)
    np.testing.assert_array_equal(again.payload["array"], payload[:3])


@pytest.mark.parametrize("names", [("X", "Y"), ("inputs", "labels"), ("data", "target")])
def test_names_of_the_arrays(tmp_path: Path, names: tuple[str, str]):
    path = save(tmp_path, **{names[0]: np.ones((20, 2)), names[1]: LABELS, "other": np.ones(3)})
    assert open_data(path).task.labels == ("0", "1")
    path = save(tmp_path, x=np.ones((20, 2)), quality=LABELS * 0.7)
    assert open_data(path, "quality").documents.attributes["label"].max() == np.float32(0.7)


def test_kinds_of_labels(tmp_path: Path):
    x = np.ones((20, 2))
    for y, names in (
        (np.array(["b", "a"] * 10), ("a", "b")),
        (LABELS.astype(bool), ("false", "true")),
        (LABELS[:, None] + 3, ("3", "4")),
        (np.eye(2)[LABELS], ("0", "1")),
        (LABELS.astype(np.uint8), ("0", "1")),
    ):
        loaded = open_data(save(tmp_path, x=x, y=y))
        assert loaded.task.labels == names
        label = loaded.documents.attributes["label"]
        assert label.dtype == np.int64 and set(label.tolist()) == {0, 1}
    assert open_data(save(tmp_path, x=x, y=LABELS), task="regression").task.labels == ()


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [("uint8", "uint8"), ("bool", "uint8"), ("uint16", "int32"), (">i2", "int16"),
     (">f4", "float32"), ("float16", "float32"), ("uint64", "float64"), ("float64", "float64")],
)  # fmt: skip
def test_number_types(tmp_path: Path, dtype: str, kept: str):
    payload = open_data(save(tmp_path, x=np.ones((20, 2), dtype), y=LABELS)).documents.payload
    assert payload["array"].dtype == np.dtype(kept) and payload["array"].dtype.isnative


def test_given_parts_are_kept(tmp_path: Path):
    x = np.arange(40.0).reshape(20, 2)
    path = save(tmp_path, x_train=x[:14], y_train=LABELS[:14], x_test=x[14:], y_test=LABELS[14:])
    parts = split(open_data(path), validation=0.3)
    np.testing.assert_array_equal(parts["test"].opened().documents.payload["array"], x[14:])
    assert len(parts["train"].documents) == 10 and len(parts["validation"].documents) == 4
    words = np.array(["train"] * 10 + ["valid"] * 4 + ["test"] * 6)
    parts = split(open_data(save(tmp_path, x=x, y=LABELS, split=words)))
    assert [len(parts[n].opened().documents) for n in parts] == [10, 4, 6]


def test_groups(tmp_path: Path):
    path = save(tmp_path, x=np.ones((20, 2)), y=LABELS, who=np.array(list("abcde") * 4))
    loaded = open_data(path, group="who")
    assert loaded.documents.attributes["group"][:6].tolist() == [0, 1, 2, 3, 4, 0]
    assert loaded.task.group == "group"


def _bad(values, position=(3, 1), value=np.nan):
    values = values.copy()
    values[position] = value
    return values


X = np.ones((20, 2))
WRONG = {
    "no labels": ({"x": X}, r"no labels: it needs an array 'y'.* has 'x'"),
    "no inputs": ({"y": LABELS}, r"no inputs: it needs arrays 'x' and 'y'"),
    "nothing": ({}, "holds no array at all"),
    "lengths": ({"x": X, "y": LABELS[:5]}, "'y' has 5 rows, but 'x' has 20"),
    "nan": ({"x": _bad(X), "y": LABELS}, r"NaN or infinity in 1 of 20 items \(item 4\)"),
    "infinite": ({"x": _bad(X, value=np.inf), "y": LABELS}, r"\(item 4\)"),
    "objects": ({"x": X, "y": np.array([{}] * 20, object)}, "'y' cannot be read without pickle"),
    "complex": ({"x": X * 1j, "y": LABELS}, "'x' holds complex128, where numbers"),
    "strings": ({"x": np.array(["a"] * 20), "y": LABELS}, "'x' holds <U1"),
    "scalar": ({"x": np.float64(3), "y": LABELS}, "'x' is a single number"),
    "hollow": ({"x": np.ones((20, 0)), "y": LABELS}, r"items of shape \(0,\)"),
    "one class": ({"x": X, "y": LABELS * 0}, "one class only, '0'"),
    "nan labels": ({"x": X, "y": _bad(LABELS * 1.0, 2)}, r"labels is missing in 1 .*\(row 3\)"),
    "empty label": ({"x": X, "y": np.array(["a", ""] * 10)}, "missing in 10 of 20 rows"),
    "several": ({"x": X, "y": RNG.normal(size=(20, 3))}, r"labels have shape \(20, 3\)"),
    "no rows": ({"x": X[:0], "y": LABELS[:0]}, "no rows"),
    "parts differ": (
        {"x_train": X, "y_train": LABELS, "x_test": X[:, :1], "y_test": LABELS}, "differ in shape"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays(tmp_path: Path, name: str):
    arrays, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        open_data(save(tmp_path, **arrays))
    assert "\n" not in str(caught.value) and "a.npz" in str(caught.value)


def test_wrong_files(tmp_path: Path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(DataError, match=r"broken.npz is not a readable .npz file"):
        open_data(tmp_path / "broken.npz")
    (tmp_path / "text.npz").write_text("x,y\n")
    with pytest.raises(DataError, match=r"text.npz is not a readable"):
        open_data(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(DataError, match="holds one array"):
        open_data(tmp_path / "one.npy")
    with pytest.raises(DataError, match="no array 'labl' for labels"):
        open_data(save(tmp_path, x=X, label=LABELS), "labl")
    with pytest.raises(DataError, match="no array 'who'"):
        open_data(save(tmp_path, x=X, y=LABELS), group="who")


def test_an_array_that_would_run_code_is_never_unpickled(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    trap = np.empty(20, object)
    trap[:] = [Bomb() for _ in range(20)]
    with pytest.raises(DataError, match="may run foreign code"):
        open_data(save(tmp_path, x=trap, y=LABELS))
    assert not (tmp_path / "ran").exists()


def test_wrong_new_arrays(tmp_path: Path):
    like = description(open_data(save(tmp_path, x=X, y=LABELS)))
    for arrays, message in (
        ({"x": np.ones((3, 4))}, r"items of shape \[4\]; the model reads \[2\]"),
        ({"x": np.ones((0, 2))}, "no rows to predict"),
        ({"a": X, "b": X}, "no array 'x'. It has 'a', 'b'"),
        ({"x": _bad(X)}, "NaN or infinity"),
    ):
        with pytest.raises(DataError, match=message):
            read_inputs(save(tmp_path, "new.npz", **arrays), like)
    assert len(read_inputs(save(tmp_path, "new.npz", something=X[:3]), like)) == 3
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"another kind than the model reads: an .npz file"):
        read_inputs(tmp_path / "t.csv", like)
