"""Whatever bytes a file holds: data, or one clear line."""

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from vitruvius.data import DataError, description, open_data, read_inputs
from vitruvius.data.cells import MISSING

text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)
tabular = st.text(st.sampled_from("ab1.,;|\t\n\"' -:?é"), max_size=60)


@given(st.binary(max_size=80) | tabular.map(str.encode), st.sampled_from(["a", None, "-1", "2"]))
@example(b'"', "-1")
@example(b'a,"b\n1,2', "-1")
@example(b"\xff\xfea", "-1")
@example(b"\x1f\x8b", "-1")
@example(b"a\n\n\n", "-1")
def test_any_bytes_as_a_table(content: bytes, target: str | None):
    for name in ("t.csv", "t.tsv", "t.parquet"):
        _opens_or_explains(name, content, target)


@given(st.binary(max_size=120))
@example(b"PK\x05\x06" + b"\0" * 18)
@example(b"\x93NUMPY\x01\0")
def test_any_bytes_as_an_array(content: bytes):
    _opens_or_explains("a.npz", content, None)


@given(st.binary(max_size=120))
@example(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
@example(b"GIF89a\1\0\1\0\0\0\0")
@example(b"P5 3 3 255\n12")
def test_any_bytes_as_an_image(content: bytes):
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a/1.png", "b/1.png"):
            (Path(folder) / name).parent.mkdir()
            (Path(folder) / name).write_bytes(content)
        try:
            assert len(open_data(folder).documents) == 2
        except DataError as e:
            assert "\n" not in str(e) and "a/1.png" in str(e)


def _opens_or_explains(name: str, content: bytes, target: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            loaded = open_data(path, target)
        except DataError as e:
            assert "\n" not in str(e) and name in str(e)
        else:
            assert len(loaded.documents) > 1 and loaded.documents.attributes["label"].ndim == 1


@given(st.lists(st.tuples(text, text, st.sampled_from("pq")), min_size=1, max_size=12))
def test_every_cell_comes_back_as_it_was_written(rows: list[tuple[str, str, str]]):
    rows = [*rows, ("word", "other", "p"), ("x y", "z", "q")]  # categories, and two classes
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([("first", "second", "y"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(written.getvalue().encode())
        loaded = open_data(path, "y", header=True)
        again = read_inputs(path, description(loaded))
    label = loaded.documents.attributes["label"]
    assert [loaded.task.labels[i] for i in label.tolist()] == [r[2] for r in rows]
    for place, name in enumerate(("first", "second")):
        trimmed = [r[place].strip() for r in rows]
        expected = [None if cell in MISSING else cell for cell in trimmed]
        assert loaded.documents.payload[name][:].tolist() == expected
        assert again.payload[name][:].tolist() == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=20))
def test_every_number_comes_back_bit_for_bit(numbers: list[float]):
    numbers = [*numbers, 1.5, -2.0]
    lines = [f"{x!r},{'pq'[i % 2]}" for i, x in enumerate(numbers)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("x,y\n" + "\n".join(lines))
        read = open_data(path, "y").documents.payload["x"][:]
    assert np.array_equal(read, np.array(numbers))
