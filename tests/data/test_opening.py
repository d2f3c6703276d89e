"""What is opened by its name, and what an opened thing says of itself."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitruvius.data import DataError, description, open_data, read_inputs


def test_digits_are_built_in():
    loaded = open_data("digits")
    pixels = loaded.documents.payload["image"]
    assert loaded.medium == "image" and loaded.task.labels == tuple("0123456789")
    assert pixels.shape == (1797, 1, 8, 8) and pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255) and len(np.unique(pixels)) == 17
    assert np.bincount(loaded.documents.attributes["label"]).min() == 174
    assert np.array_equal(read_inputs("digits", description(loaded)).payload["image"], pixels)
    assert open_data("digits").documents.digest == loaded.documents.digest


def test_a_picture_of_a_digit_is_read_as_the_digits_were(tmp_path: Path):
    loaded = open_data("digits")
    pixels = loaded.documents.payload["image"]
    Image.fromarray(pixels[5, 0]).save(tmp_path / "five.png")
    like = json.loads(json.dumps(description(loaded)))
    assert np.array_equal(read_inputs(tmp_path / "five.png", like).payload["image"], pixels[5:6])


def test_digits_are_no_inputs_for_another_model(tmp_path: Path):
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (5, 5), (i, i, i)).save(tmp_path / name / "x.png")
    like = description(open_data(tmp_path))
    with pytest.raises(DataError, match=r"an image, a folder of them, .*; 'digits' is not like it"):
        read_inputs("digits", like)
    (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n")
    with pytest.raises(DataError, match=r"t.csv is of another kind than the model reads: an image"):
        read_inputs(tmp_path / "t.csv", like)
    table = description(open_data(tmp_path / "t.csv", "y"))
    with pytest.raises(DataError, match=r"reads: a table \(.csv, .tsv, .parquet\)"):
        read_inputs(tmp_path / "a", table)


def test_a_name_that_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"There is no 'digit' here. Did you mean 'digits'"):
        open_data("digit")
    with pytest.raises(DataError, match=r"There is no 'x.csv' in .*There is 'digits'"):
        open_data(os.fspath(tmp_path / "x.csv"))
    (tmp_path / "digits").mkdir()
    with pytest.raises(DataError, match="digits is empty"):  # a path of that name comes first
        open_data("digits")
