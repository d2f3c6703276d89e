"""Corpora of every kind: what is read, what is skipped and counted, what is refused."""

import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vitruvius.data import DataError, encodings
from vitruvius.data.corpora import open_texts
from vitruvius.data.labels import label_texts
from vitruvius.data.loaded import Loaded, description
from vitruvius.data.text_inputs import read_text_inputs

LONG = "a text that is long enough to be told from a name"


def texts(loaded: Loaded) -> list[str]:
    return list(loaded.documents.payload["text"])


def sources(loaded: Loaded) -> list[str]:
    return loaded.documents.attributes["source"].tolist()


def put(root: Path, **files: str | bytes) -> Path:
    """Files by name; __ is a dot, _ of a name a folder."""
    for name, content in files.items():
        path = root / name.replace("__", ".").replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def test_a_folder_of_text_markdown_and_code(tmp_path: Path):
    put(
        tmp_path,
        b__md="# Two",
        a__txt="one\r\n",
        code_x__py="x = 1\n",
        z__txt__gz=gzip.compress(b"packed"),
        git_c__txt="",
    )
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.txt").write_text("no")
    loaded = open_texts(tmp_path)
    assert texts(loaded) == ["one\n", "# Two", "packed", "x = 1\n"]
    assert sources(loaded) == ["a.txt", "b.md", "z.txt.gz", "code/x.py"]
    assert loaded.task.labels == () and "label" not in loaded.documents.attributes
    assert any("1 without any text skipped (git/c.txt)" in note for note in loaded.notes)
    again = open_texts(tmp_path)
    assert again.documents.digest == loaded.documents.digest
    put(tmp_path, a__txt="changed")
    assert open_texts(tmp_path).documents.digest != loaded.documents.digest


def test_units(tmp_path: Path):
    put(tmp_path, a__txt="one\ntwo\n\n  \nthree\n\n\n", b__txt="four\n")
    assert texts(open_texts(tmp_path, unit="paragraph")) == ["one\ntwo", "three", "four"]
    assert texts(open_texts(tmp_path, unit="line")) == ["one", "two", "three", "four"]
    assert texts(open_texts(tmp_path / "a.txt")) == ["one\ntwo\n\n  \nthree\n\n\n"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_rows_of_tables(tmp_path: Path, kind: str, packed: bool):
    if kind == "parquet" and packed:
        pytest.skip("Parquet is compressed itself")
    rows = [
        {"id": str(i), "body": f'{LONG}, "{i}"\nand more', "topic": f"t{i % 2}", "date": f"202{i}"}
        for i in range(4)
    ]
    path = tmp_path / f"x.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        comma = "," if kind == "csv" else "\t"
        quoted = [[f'"{v}"'.replace('"', '""')[1:-1] for v in row.values()] for row in rows]
        lines = [comma.join(rows[0]), *(comma.join(row) for row in quoted)]
        path.write_text("\n".join(lines) + "\n")
    if packed:
        path.with_suffix(f".{kind}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = path.with_suffix(f".{kind}.gz")
    loaded = open_texts(path, label="topic", sources="id", keep=("id",))
    assert texts(loaded) == [row["body"] for row in rows]
    assert sources(loaded) == ["0", "1", "2", "3"]
    known = loaded.documents.attributes
    assert known["label"].tolist() == [0, 1, 0, 1] and loaded.task.labels == ("t0", "t1")
    assert known["time"].astype(str).tolist() == [f"202{i}-01-01T00:00:00" for i in range(4)]
    assert known["id"].tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        ("naïve".encode(), "naïve", ""),
        (b"\xef\xbb\xbfmark", "mark", ""),
        ("naïve".encode("latin-1"), "naïve", "1 file not in UTF-8: read as Latin-1"),
        (b"\x93quoted\x94\n", "\u201cquoted\u201d\n", "read as Latin-1"),
        ("naïve\n".encode() + "Straße\n".encode("latin-1"), "naïve\nStraße\n", "mixed"),
        ("日本語".encode("utf-16"), "日本語", "in UTF-16"),
        ("日本語".encode("utf-32"), "日本語", "in UTF-16 or UTF-32"),
        (b"a" * 9000 + b"\0b", "a" * 9000 + "b", "with zero bytes"),
    ],
)
def test_encodings_are_mended_or_told(tmp_path: Path, content: bytes, expected: str, note: str):
    (tmp_path / "x.txt").write_bytes(content)
    loaded = open_texts(tmp_path)
    assert texts(loaded) == [expected]
    assert note in " ".join(loaded.notes[1:]) and bool(note) == bool(loaded.notes[1:])


def test_a_given_encoding_is_kept_to(tmp_path: Path):
    put(tmp_path, x__txt="日本語".encode("shift-jis"))
    assert texts(open_texts(tmp_path, encoding="shift-jis")) == ["日本語"]
    with pytest.raises(DataError, match=r"x.txt is not in utf-8: .* Leave encoding out"):
        open_texts(tmp_path, encoding="utf-8")
    with pytest.raises(DataError, match="There is no encoding 'utf-9'"):
        open_texts(tmp_path, encoding="utf-9")


def test_binary_files_among_texts_are_skipped_and_counted(tmp_path: Path):
    put(
        tmp_path,
        a__txt="one",
        i__png=b"\x89PNG\r\n\x1a\n" + b"x" * 50,
        z__zip=b"PK\x03\x04" + b"x" * 50,
        o__bin=bytes(range(256)),
        p__pdf=b"%PDF-1.4 text",
        t__txt__gz=gzip.compress(b"a" * 5000)[:-9],
        q__parquet=b"PAR1 is none",
        j__jsonl='{"name": "short"}\n',
    )
    loaded = open_texts(tmp_path)
    assert texts(loaded) == ["one"]
    said = " ".join(loaded.notes)
    assert "4 binary files skipped (first i.png)" in said
    assert "1 broken gzip file skipped (t.txt.gz)" in said
    assert "1 broken Parquet file skipped (q.parquet)" in said
    assert "1 file without a column of text skipped (j.jsonl)" in said


def test_broken_lines_are_skipped_and_counted(tmp_path: Path):
    good = json.dumps({"text": LONG})
    put(tmp_path, x__jsonl=f'{good}\n{{"text": \n{{"text": 5}}\n\n[1]\n{{"text": "a\\ud800b"}}\n')
    loaded = open_texts(tmp_path / "x.jsonl")
    assert texts(loaded) == [LONG, "a\ufffdb"]
    said = " ".join(loaded.notes)
    assert "2 broken JSON lines skipped (first x.jsonl, line 2)" in said
    assert "1 line whose text is missing or no string skipped" in said
    assert "1 line with halves of characters mended" in said
    put(tmp_path, y__csv=f"text,n\n{LONG},1\nbroken\n{LONG}!,2\n")
    loaded = open_texts(tmp_path / "y.csv")
    assert texts(loaded) == [LONG, f"{LONG}!"]
    assert "1 CSV line with too few cells skipped (y.csv, line 3)" in " ".join(loaded.notes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no text. It is empty"),
        ({"a__txt": "", "b__md": " \n"}, r"holds no text. 2 without any text skipped"),
        ({"a__png": b"\x89PNG..."}, "holds no text. 1 binary file skipped"),
        ({"a__jsonl": "no json\n"}, "holds no text. .*holds no JSON objects"),
    ],
)
def test_an_empty_corpus_is_refused(tmp_path: Path, files: dict[str, str], message: str):
    with pytest.raises(DataError, match=message):
        open_texts(put(tmp_path, **files))


def test_wrong_input_is_explained(tmp_path: Path):
    put(tmp_path, x__csv=f"body,topic\n{LONG},1\n{LONG}2,1\n", y__jsonl="no\n", folder_a__txt="a")
    with pytest.raises(DataError, match=r"There is no .*txets"):
        open_texts(tmp_path / "txets")
    with pytest.raises(DataError, match=r"x.csv has no column 'bdy'. Did you mean 'body'"):
        open_texts(tmp_path / "x.csv", text="bdy")
    with pytest.raises(DataError, match="has one class only"):
        open_texts(tmp_path / "x.csv", label="topic", task="classification")
    with pytest.raises(DataError, match="holds no JSON objects, one on each line"):
        open_texts(tmp_path / "y.jsonl")
    with pytest.raises(DataError, match="unit is 'file', 'paragraph' or 'line'; got 'word'"):
        open_texts(tmp_path, unit="word")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="label='folder' needs every file in a folder"):
        open_texts(tmp_path, label="folder")
    with pytest.raises(DataError, match="under these names already"):
        open_texts(tmp_path, keep=("source",))


def test_folders_as_classes(tmp_path: Path):
    put(tmp_path, cats_1__txt="meow", cats_2__txt="purr", dogs_1__txt="woof", dogs_x_2__txt="bark")
    loaded = open_texts(tmp_path, label="folder")
    assert loaded.task.labels == ("cats", "dogs")
    assert loaded.documents.attributes["label"].tolist() == [0, 0, 1, 1]


def test_labels_beside_a_corpus(tmp_path: Path):
    corpus = put(tmp_path / "corpus", a__txt="one", b_c__txt="two", d__md="three", e__md="four")
    loaded = open_texts(corpus)
    (tmp_path / "l.csv").write_text("file,label\nd.md,x\na,y\nb/c.txt,x\nlost.txt,y\n")
    labelled = label_texts(loaded, tmp_path / "l.csv")
    assert texts(labelled) == ["one", "three", "two"]
    assert labelled.documents.attributes["label"].tolist() == [1, 0, 0]
    assert labelled.task.labels == ("x", "y")
    assert (
        "1 labels whose text is not in" in labelled.notes[-1] and "lost.txt" in labelled.notes[-1]
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\nq.txt,x\nr.txt,y\na.txt,x\n", r"2 of 3 labelled texts are not in .*'q.txt'"),
        ("file,label\nq.txt,x\n", "1 of 1 labelled texts are not in"),
        ("file,label\na.txt,x\na.txt,y\n", "gives different labels to 'a.txt'"),
        ("file,label\na.txt,x\nb.txt,\n", "is missing in 1 of 2 rows"),
        ("file,colour\na.txt,x\n", "has no column called target or label or class"),
        ("where,label\na.txt,x\n", "has no column called file or path"),
    ],
)
def test_labels_that_do_not_fit_are_explained(tmp_path: Path, table: str, message: str):
    loaded = open_texts(put(tmp_path / "corpus", a__txt="one", b__txt="two"))
    (tmp_path / "l.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        label_texts(loaded, tmp_path / "l.csv")


def test_long_files_come_in_blocks_that_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(encodings, "BLOCK", 50)
    monkeypatch.setattr(encodings, "HEAD", 10)
    whole = "".join(f"Zeile {i} für 日本語\n" for i in range(40)) + "é" * 200 + "\nend"
    put(tmp_path, x__txt=whole)
    loaded = open_texts(tmp_path)
    assert "".join(texts(loaded)) == whole and len(loaded.documents) > 5
    assert "1 file longer than 16 MB cut into several documents (x.txt)" in " ".join(loaded.notes)
    lines = open_texts(tmp_path, unit="line")
    assert texts(lines)[:40] == whole.split("\n")[:40]


def test_times_of_every_kind(tmp_path: Path):
    times = ["2020-05-01", "2020-05-01T10:00:00+02:00", 1588291200, "1999", "never", None]
    rows = [{"text": LONG, "time": t} for t in times]
    put(tmp_path, x__jsonl="\n".join(map(json.dumps, rows)))
    loaded = open_texts(tmp_path / "x.jsonl")
    known = loaded.documents.attributes["time"]
    assert known[:4].astype(str).tolist() == [
        "2020-05-01T00:00:00",
        "2020-05-01T08:00:00",
        "2020-05-01T00:00:00",
        "1999-01-01T00:00:00",
    ]
    assert np.isnat(known[4:]).all()
    assert "2 lines without a time that can be read" in " ".join(loaded.notes)


def test_new_texts_are_read_as_those_were(tmp_path: Path):
    put(tmp_path, x__csv=f"body,topic\n{LONG},1\n{LONG}2,2\n", y__csv=f"body\n{LONG}3\n")
    loaded = open_texts(tmp_path / "x.csv", text="body")
    like = json.loads(json.dumps(description(loaded)))
    found = read_text_inputs(tmp_path / "y.csv", like)
    assert list(found.payload["text"]) == [f"{LONG}3"]


@given(st.binary(max_size=200), st.sampled_from(["x.txt", "x.jsonl", "x.csv", "x.parquet", "x.gz"]))
@example(b"\xff\xfe\x00", "x.txt")
@example(b"\x1f\x8b", "x.txt")
@example(b"\xe6\x97", "x.txt")
@example(b'"', "x.csv")
@settings(max_examples=150)
def test_any_bytes_are_read_or_explained(content: bytes, name: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        for place in (path, folder):
            try:
                loaded = open_texts(place)
            except DataError as e:
                assert "\n" not in str(e)
            else:
                assert len(loaded.documents) > 0 and all(texts(loaded))
