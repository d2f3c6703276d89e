"""Tables as people have them: kinds of columns, targets, encodings, and what is wrong with them."""

import datetime
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from vitruvius.data import DataError, description, open_data, read_inputs


def write(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(count: int, line: str = "{i}.5,{word},{yes}") -> str:
    return "\n".join(
        line.format(i=i, word="abc"[i % 3], yes="yes" if i % 2 else "no") for i in range(count)
    )


def test_kinds_of_columns_are_told_from_all_cells(tmp_path: Path):
    path = write(
        tmp_path,
        "age,flag,city,born,moment,post,score,y\n"
        "39, true ,Ulm,1984-02-29,2020-01-01T00:00:00Z,01067,1e3,a\n"
        ",FALSE,NA,,2020-01-01 02:30:00+01:00,89073,-2,b\n"
        "17.5,,  Köln ,2001-12-31,,10115,,a\n"
        "?,true,Ulm,1999-01-01,2021-06-01,20095,inf,b\n".replace("inf", "0"),
    )
    loaded = open_data(path, "y")
    columns = loaded.documents.payload
    kinds = {c["name"]: c["kind"] for c in loaded.facts["columns"]}
    assert kinds == {
        "age": "number", "flag": "boolean", "city": "category", "born": "date", "moment": "date",
        "post": "category", "score": "number",
    }  # fmt: skip
    np.testing.assert_array_equal(columns["age"][:], [39.0, np.nan, 17.5, np.nan])
    assert columns["flag"][:].tolist() == [True, False, None, True]
    assert columns["city"][:].tolist() == ["Ulm", None, "Köln", "Ulm"]
    assert columns["post"][0] == "01067"
    assert columns["born"][:].tolist()[:2] == [datetime.datetime(1984, 2, 29), None]
    assert columns["moment"][:].tolist()[1] == datetime.datetime(2020, 1, 1, 1, 30)
    assert loaded.task.labels == ("a", "b")
    assert loaded.documents.attributes["label"].tolist() == [0, 1, 0, 1]
    assert loaded.documents.attributes["label"].dtype == np.int64
    json.dumps(description(loaded))


def test_quotes_delimiters_and_line_ends_inside_cells(tmp_path: Path):
    text = 'a,b,y\n"x, ""quoted""\nline",1,p\nz,2,q\n'
    loaded = open_data(write(tmp_path, text), "y")
    assert loaded.documents.payload["a"][0] == 'x, "quoted"\nline'
    for delimiter in (";", "\t", "|"):
        other = write(tmp_path, "a,b,y\nx,1,p\nz,2,q\n".replace(",", delimiter), "d.csv")
        assert open_data(other, "y").documents.payload["b"][:].tolist() == [1.0, 2.0]
    assert open_data(write(tmp_path, "a,b,y\r\nx,1,p\r\nz,2,q\r\n", "w.csv"), "y")
    assert open_data(write(tmp_path, "a,b,y\rx,1,p\rz,2,q\r", "m.csv"), "y")


def test_decimal_commas_where_another_character_parts_the_cells(tmp_path: Path):
    path = write(tmp_path, "1,5;2,25;a\n-3,5;0,5;b\n2;1,5;a\n")
    loaded = open_data(path, "-1")
    assert loaded.documents.payload["column1"][:].tolist() == [1.5, -3.5, 2.0]
    path = write(tmp_path, "x;y\n" + "\n".join(f"1,{i:03};{'ab'[i % 2]}" for i in range(30)))
    loaded = open_data(path, "y")
    assert loaded.facts["columns"] == [{"name": "x", "kind": "category"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str):
    path = write(tmp_path, "straße,y\nä,p\nö,q\n", encoding=encoding)
    assert open_data(path, "y").documents.payload["straße"][:].tolist() == ["ä", "ö"]


def test_latin_1_is_reported_with_the_line(tmp_path: Path):
    loaded = open_data(write(tmp_path, "a,y\nx,p\nÄ,q\n", encoding="latin-1"), "y")
    assert loaded.documents.payload["a"][:].tolist() == ["x", "Ä"]
    assert any("not UTF-8 (line 3)" in note for note in loaded.notes)


def test_gzip_tsv_and_parquet_give_the_same_columns(tmp_path: Path):
    text = "a,b,y\n1,x,p\n,y,q\n3,,p\n"
    plain = open_data(write(tmp_path, text), "y").documents.payload
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    write(tmp_path, text.replace(",", "\t"), "t.tsv")
    table = pa.table({"a": [1, None, 3], "b": ["x", "y", None], "y": ["p", "q", "p"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    for name in ("t.csv.gz", "t.tsv", "t.parquet"):
        other = open_data(tmp_path / name, "y").documents.payload
        assert list(other) == list(plain)
        np.testing.assert_array_equal(other["a"][:], plain["a"][:])
        assert other["b"][:].tolist() == plain["b"][:].tolist()


def test_parquet_types(tmp_path: Path):
    table = pa.table(
        {
            "whole": pa.array([1, 2, None], pa.int16()),
            "exact": pa.array(["1.10", "2.20", None]).cast(pa.decimal128(5, 2)),
            "flag": [True, None, False],
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "day": pa.array([datetime.date(2020, 1, 1), None, datetime.date(2021, 1, 1)]),
            "moment": pa.array([0, 1, None], pa.timestamp("ns", "Europe/Berlin")),
            "nested": [[1], [2, 3], []],
            "nothing": pa.nulls(3),
            "y": [0.5, 1.5, 2.5],
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    loaded = open_data(tmp_path / "t.parquet", "y")
    columns = loaded.documents.payload
    np.testing.assert_array_equal(columns["whole"][:], [1, 2, np.nan])
    np.testing.assert_array_equal(columns["exact"][:], [1.1, 2.2, np.nan])
    assert columns["flag"][:].tolist() == [True, None, False]
    assert columns["kind"][:].tolist() == ["u", "v", "u"]
    assert columns["day"].dtype == "<M8[us]" and np.isnat(columns["day"][1])
    assert columns["moment"][0] == np.datetime64(0, "us")
    assert "nested" not in columns and "nothing" not in columns
    assert sum("left out" in note for note in loaded.notes) == 2
    assert loaded.task.labels == ()
    assert loaded.documents.attributes["label"].dtype == np.float32


def test_classes_or_numbers(tmp_path: Path):
    few = write(tmp_path, "x,y\n" + "\n".join(f"{i * 0.5},{i % 4}" for i in range(40)))
    assert open_data(few, "y").task.labels == ("0", "1", "2", "3")
    numbers = open_data(few, "y", task="regression")
    assert numbers.task.labels == () and description(numbers)["task"] == "regression"
    many = write(tmp_path, "x,y\n" + "\n".join(f"{i * 0.5},{i}" for i in range(40)), "m.csv")
    assert open_data(many, "y").task.labels == ()
    fractions = write(
        tmp_path, "x,y\n" + "\n".join(f"{i},{i % 4 + 0.5}" for i in range(40)), "f.csv"
    )
    assert open_data(fractions, "y").task.labels == ()
    assert open_data(fractions, "y", task="classification").task.labels[0] == "0.5"
    truths = write(tmp_path, "x,y\n1,true\n2,false\n3,true\n4,false\n", "b.csv")
    assert open_data(truths, "y").task.labels == ("false", "true")
    negative = write(
        tmp_path, "x,y\n" + "\n".join(f"{i * 0.5},{(-1) ** i}" for i in range(40)), "n.csv"
    )
    loaded = open_data(negative, "y")
    assert loaded.task.labels == ("-1", "1")
    assert loaded.documents.attributes["label"][:2].tolist() == [1, 0]


def test_a_table_without_a_line_of_names(tmp_path: Path):
    path = write(tmp_path, rows_of(12))
    loaded = open_data(path, "-1")
    assert list(loaded.documents.payload) == ["column1", "column2"]
    assert loaded.facts["target"] == "column3" and len(loaded.documents) == 12
    assert any("no line of column names" in note for note in loaded.notes)
    assert open_data(path, "3").documents.digest == loaded.documents.digest
    words = write(tmp_path, "u,v\nu,w\nx,v\nx,w\n", "w.csv")
    assert len(open_data(words, "column2").documents) == 4
    with pytest.raises(DataError, match="header=True"):
        open_data(words, "w")
    assert len(open_data(words, "v", header=True).documents) == 3


def test_what_says_nothing_is_left_out_with_a_note(tmp_path: Path):
    lines = "\n".join(f"{i},{i * 7 % 11},same,,u{i},{'pq'[i % 2]}" for i in range(30))
    loaded = open_data(write(tmp_path, "id,x,constant,empty,name,y\n" + lines), "y")
    assert list(loaded.documents.payload) == ["x", "name"]
    notes = " ".join(loaded.notes)
    assert "'id' numbers the rows: left out" in notes
    assert "'constant' is the same in every row: left out" in notes
    assert "'empty' is empty: left out" in notes
    assert "'name' differs in nearly every row" in notes


def test_split_and_group_columns_and_leaving_out(tmp_path: Path):
    lines = "\n".join(
        f"{i * 3 % 7},{['train', 'Dev', 'TEST'][i % 3]},p{i // 3},{'ab'[i % 2]}" for i in range(30)
    )
    path = write(tmp_path, "x,split,patient,y\n" + lines)
    loaded = open_data(path, "y", group="patient")
    assert list(loaded.documents.payload) == ["x"]
    assert loaded.documents.attributes["split"][:3].tolist() == [0, 1, 2]
    assert loaded.documents.attributes["group"][:4].tolist() == [0, 0, 0, 1]
    assert loaded.task.group == "group"
    left = open_data(path, "y", leave_out=("patient",))
    assert list(left.documents.payload) == ["x"] and left.task.group is None
    ordinary = write(tmp_path, "x,split,y\n1,banana,a\n2,peach,b\n4,banana,a\n", "o.csv")
    assert list(open_data(ordinary, "y").documents.payload) == ["x", "split"]


def test_the_digest_follows_content_and_not_the_place(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    text = "x,y\n" + "\n".join(f"{i * 0.5},{i % 4}" for i in range(40))
    a = open_data(write(one, text), "y").documents.digest
    assert open_data(write(two, text), "y").documents.digest == a
    assert open_data(write(two, text), "y", task="regression").documents.digest != a
    assert open_data(write(two, text.replace("3.5", "3.6")), "y").documents.digest != a


WRONG = {
    "no such column": ("age,income\n1,a\n", "incme", "no column 'incme'. Did you mean 'income'"),
    "which target": ("age,income\n1,a\n2,b\n", None, "which column is the target.*'age', 'income'"),
    "one class": ("x,y\n1,a\n2,a\n", "y", "one class only, 'a', in all 2 rows"),
    "missing target": (
        "x,y\n1,a\n2,\n3,NaN\n4,b\n", "y", r"missing in 2 of 4 rows \(rows 2, 3\)"
    ),
    "missing number": ("x,y\n1,1.5\n2,nan\n3,2.5\n", "y", r"missing in 1 of 3 rows \(row 2\)"),
    "infinite target": ("x,y\n1,1.5\n2,inf\n3,2.5\n", "y", "infinite in row 2"),
    "constant number": ("x,y\n1,1.5\n2,1.5\n", "y", "1.5 in every row"),
    "empty target": ("x,y\n1,\n2,\n", "y", "is empty in every row"),
    "dates as target": ("x,y\n1,2020-01-01\n2,2020-01-02\n", "y", "holds dates"),
    "too many classes": (
        "x,y\n" + "\n".join(f"{i},n{i}" for i in range(9)), "y", "9 different values in 9 rows"
    ),
    "no rows": ("x,y\n", "y", "no rows below its names"),
    "nothing at all": ("", "y", "t.csv is empty"),
    "blank": ("\n\n", "y", "t.csv is empty"),
    "ragged": ("a,b,y\n1,2,p\n\n\"x\ny\",2,q\n3,q\n", "y", "line 6: 2 cells, where .* has 3"),
    "twice": ("a,b,a,y\n1,2,3,p\n", "y", r"2 columns are called 'a' \(columns 1, 3\)"),
    "infinite input": ("x,y\n1,a\ninf,b\n-inf,a\n", "y", "'x' is infinite in rows 2, 3"),
    "only the target": ("y\na\nb\n", "y", "no column to learn from"),
    "only constants": ("x,y\n1,a\n1,b\n", "y", "no column to learn from"),
    "a second label": ("label,x,y\n1,2,a\n2,3,b\n", "y", "leave_out=\\('label',\\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tables(tmp_path: Path, name: str):
    text, target, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        open_data(write(tmp_path, text), target, header=True if text.strip() else None)
    assert "\n" not in str(caught.value) and "t.csv" in str(caught.value)


def test_wrong_files(tmp_path: Path):
    path = write(tmp_path, "x,y\n1,a\n2,b\n")
    with pytest.raises(DataError, match=r"no 't.cvs' in .* Did you mean 't.csv'"):
        open_data(tmp_path / "t.cvs", "y")
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist"):
        open_data(tmp_path / "nowhere" / "t.csv", "y")
    with pytest.raises(DataError, match="no kind of data"):
        open_data(write(tmp_path, "x", "t.docx"), "y")
    with pytest.raises(DataError, match="holds zero bytes"):
        open_data(write(tmp_path, "a\0b,y\n1,2\n"), "y")
    with pytest.raises(DataError, match="broken gzip"):
        open_data(write(tmp_path, "\x1f", "z.csv.gz", "latin-1").parent / _gzip_torn(tmp_path), "y")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_data(write(tmp_path, "x,y\n1,a\n", "t.parquet"), "y")
    with pytest.raises(DataError, match="cannot be a regression"):
        open_data(write(tmp_path, "x,y\n1,a\n2,b\n"), "y", task="regression")
    with pytest.raises(DataError, match="'classification' or 'regression'; got 'ranking'"):
        open_data(path, "y", task="ranking")
    with pytest.raises(DataError, match="no column 'z'"):
        open_data(path, "y", group="z")
    missing = write(tmp_path, "x,g,y\n1,p,a\n2,,b\n", "g.csv")
    with pytest.raises(DataError, match="'g' is missing in row 2"):
        open_data(missing, "y", group="g")


def _gzip_torn(folder: Path) -> str:
    (folder / "torn.csv.gz").write_bytes(gzip.compress(b"x,y\n1,2\n" * 100)[:-20])
    return "torn.csv.gz"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path):
    path = write(tmp_path, "x,y\n1,a\n2,b\n")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        open_data(path, "y")


@pytest.fixture
def like(tmp_path: Path) -> dict:
    lines = "\n".join(
        f"{i * 0.5},{'ab'[i % 2]},{'true' if i % 3 else 'false'},2020-01-{i + 1:02},{'pq'[i % 2]}"
        for i in range(20)
    )
    return description(open_data(write(tmp_path, "x,word,flag,day,y\n" + lines, "seen.csv"), "y"))


def test_new_data_is_read_by_name_in_any_order_with_more_columns(tmp_path: Path, like: dict):
    path = write(tmp_path, "day,extra,word,flag,x\n2020-02-02,9,7,,3\n,8,new,TRUE,\n", "new.csv")
    read = read_inputs(path, like)
    assert list(read.payload) == ["x", "word", "flag", "day"]
    np.testing.assert_array_equal(read.payload["x"][:], [3.0, np.nan])
    assert read.payload["word"][:].tolist() == ["7", "new"]
    assert read.payload["flag"][:].tolist() == [None, True]
    assert np.isnat(read.payload["day"][1])
    assert not read.attributes


def test_new_data_may_be_one_row_or_lack_all_values_of_a_column(tmp_path: Path, like: dict):
    read = read_inputs(write(tmp_path, "x,word,flag,day\n,,,2020-01-01\n", "new.csv"), like)
    assert np.isnan(read.payload["x"][0]) and read.payload["word"][0] is None
    table = pa.table({"x": [1], "word": [5.0], "flag": pa.nulls(1), "day": pa.nulls(1)})
    parquet.write_table(table, tmp_path / "new.parquet")
    read = read_inputs(tmp_path / "new.parquet", like)
    assert read.payload["word"][0] == "5" and read.payload["flag"][0] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,wort,flag,day\n1,a,true,2020-01-01\n", "no column 'word'.*Did you mean 'wort'"),
        ("x,word,flag,day\n1,a,true,2020-01-01\nmany,a,true,\n", "'x', row 2: 'many' is not a num"),
        ("x,word,flag,day\n1,a,maybe,2020-01-01\n", "'flag', row 1: 'maybe' is not true or false"),
        ("x,word,flag,day\n1,a,true,soon\n", "'day', row 1: 'soon' is not a date"),
        ("x,word,flag,day\n", "no rows to predict"),
    ],
)
def test_wrong_new_data(tmp_path: Path, like: dict, text: str, message: str):
    with pytest.raises(DataError, match=message):
        read_inputs(write(tmp_path, text, "new.csv"), like)


def test_new_data_without_names_goes_by_position(tmp_path: Path):
    like = description(open_data(write(tmp_path, rows_of(12)), "-1"))
    with_target = read_inputs(write(tmp_path, rows_of(3), "new.csv"), like)
    without = read_inputs(write(tmp_path, rows_of(3, "{i}.5,{word}"), "new.csv"), like)
    for name in ("column1", "column2"):
        assert with_target.payload[name][:].tolist() == without.payload[name][:].tolist()
    with pytest.raises(DataError, match="has 4 columns; the model was made from 3"):
        read_inputs(write(tmp_path, "1,2,3,4\n", "new.csv"), like)
