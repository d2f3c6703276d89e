"""Labelled texts of every level: what is told by itself, what must be named, what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vitruvius.data import DataError, Loaded, description, open_labelled, open_texts, read_inputs

LONG = "a text that is long enough to be told from a name"


def put(root: Path, **files: str | bytes) -> Path:
    """Files by name; __ is a dot."""
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        path = root / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def written(path: Path, rows: list[dict[str, Any]], header: bool = True) -> Path:
    """Rows in the format that the suffix says."""
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if kind == "jsonl":
        content = "\n".join(map(json.dumps, rows))
    elif kind == "json":
        content = json.dumps(rows)
    else:
        comma = "," if kind == "csv" else "\t"
        lines = [comma.join(rows[0])] if header else []
        quote = (lambda v: '"' + str(v).replace('"', '""') + '"') if kind == "csv" else str
        lines += [comma.join(quote(v) for v in row.values()) for row in rows]
        content = "\n".join(lines) + "\n"
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def column(loaded: Loaded, name: str = "text") -> list[Any]:
    return list(loaded.documents.payload[name])


def labels(loaded: Loaded) -> list[Any]:
    label = loaded.documents.attributes["label"].tolist()
    return [loaded.task.labels[i] for i in label] if loaded.task.labels else label


ITEMS = [{"id": i, "comment": f'{LONG} {i}, "so"', "mood": "ab"[i % 2]} for i in range(20)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz", "jsonl.gz"])
def test_texts_with_a_label(tmp_path: Path, kind: str):
    loaded = open_labelled(written(tmp_path / f"x.{kind}", ITEMS))
    assert loaded.task.level == "item" and loaded.task.labels == ("a", "b")
    assert column(loaded) == [row["comment"] for row in ITEMS]
    assert labels(loaded) == [row["mood"] for row in ITEMS]
    assert list(loaded.documents.attributes) == ["label"] and loaded.medium == "text"
    again = open_labelled(tmp_path / f"x.{kind}")
    assert again.documents.digest == loaded.documents.digest
    other = open_labelled(tmp_path / f"x.{kind}", label="id", task="regression")
    assert labels(other) == list(range(20)) and other.task.labels == ()
    assert other.documents.digest != loaded.documents.digest


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_columns_without_names(tmp_path: Path, kind: str):
    rows = [{"t": f"{LONG} {i}", "coarse": "ab"[i % 2], "fine": "abc"[i % 3]} for i in range(20)]
    path = written(tmp_path / f"x.{kind}", rows, header=False)
    loaded = open_labelled(path)
    assert column(loaded) == [row["t"] for row in rows] and loaded.task.labels == ("a", "b")
    assert f"x.{kind}: column2 is read as the label ('column3' could be" in str(loaded.notes)
    assert open_labelled(path, label="column3").task.labels == ("a", "b", "c")


def test_quotes_in_tweets_are_a_part_of_them(tmp_path: Path):
    tweets = ['"Never" he said', '"', "no", 'a "quoted" one', '"open'] * 4
    rows = [{"text": t, "label": "ab"[i % 2]} for i, t in enumerate(tweets)]
    assert column(open_labelled(written(tmp_path / "x.tsv", rows))) == tweets
    (tmp_path / "y.tsv").write_text('text\tlabel\n"two\nlines"\ta\n"say ""so"""\tb\nc\ta\n')
    assert column(open_labelled(tmp_path / "y.tsv")) == ["two\nlines", 'say "so"', "c"]


def test_lines_of_a_label_and_a_text(tmp_path: Path):
    lines = [f"__label__{'ab'[i % 2]} short {i}" for i in range(20)]
    put(tmp_path, x__txt="\n".join([*lines[:10], "nothing", *lines[10:]]))
    loaded = open_labelled(tmp_path / "x.txt")
    assert column(loaded) == [f"short {i}" for i in range(20)]
    assert loaded.task.labels == ("__label__a", "__label__b")
    assert "1 line without a label or a text skipped (x.txt, line 11)." in loaded.notes
    put(tmp_path, new__txt="one\n\ntwo more\n")
    assert list(read_inputs(tmp_path / "new.txt", description(loaded)).payload["text"]) == [
        "one",
        "two more",
    ]


PAIRS = [
    {"one": f"the first text of pair {i}", "two": f"and its second text {i}", "score": i / 4}
    for i in range(20)
]


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("sentence1", "sentence2"), {}),
        (("Premise", "Hypothesis"), {}),
        (("text_a", "text_b"), {}),
        (("left", "right"), {"text": "left", "other": "right"}),
        (("text", "reply"), {"other": "reply"}),
        (("question", "answer"), {}),
    ],
)
def test_two_texts_with_a_label(tmp_path: Path, names: tuple[str, str], given: dict[str, str]):
    rows = [dict(zip((*names, "score"), row.values(), strict=True)) for row in PAIRS]
    loaded = open_labelled(written(tmp_path / "x.csv", rows), **given)
    assert loaded.task.level == "pair" and loaded.task.labels == ()
    assert column(loaded) == [row["one"] for row in PAIRS]
    assert column(loaded, "other") == [row["two"] for row in PAIRS]
    assert labels(loaded) == [row["score"] for row in PAIRS]
    new = read_inputs(tmp_path / "x.csv", json.loads(json.dumps(description(loaded))))
    assert list(new.payload["other"]) == column(loaded, "other") and not new.attributes


def test_two_texts_without_names_of_columns(tmp_path: Path):
    path = written(tmp_path / "x.csv", PAIRS, header=False)
    loaded = open_labelled(path)
    assert loaded.task.level == "pair" and column(loaded, "other")[3] == PAIRS[3]["two"]
    like = description(loaded)
    assert list(read_inputs(path, like).payload["text"]) == column(loaded)
    bare = [{k: row[k] for k in ("one", "two")} for row in PAIRS]
    new = read_inputs(written(tmp_path / "new.csv", bare, header=False), like)
    assert list(new.payload["other"]) == column(loaded, "other")


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("query", "positive"), {}),
        (("docstring", "code"), {}),
        (("question", "passage"), {}),
        (("asked", "found"), {"text": "asked", "other": "found"}),
    ],
)
def test_queries_with_what_answers_them(tmp_path: Path, names: Any, given: dict[str, str]):
    rows = [
        {names[0]: f"where is {i}?", names[1]: f"{LONG} {i}", "group": i // 4} for i in range(20)
    ]
    loaded = open_labelled(written(tmp_path / "x.jsonl", rows), **given)
    assert loaded.task.level == "set" and loaded.task.labels == ()
    assert column(loaded, "query")[2] == "where is 2?" and column(loaded, "positive")[1][-1] == "1"
    assert loaded.documents.attributes["group"].tolist() == [i // 4 for i in range(20)]
    assert "label" not in loaded.documents.attributes and "repeat" not in str(loaded.notes)
    twice = open_labelled(written(tmp_path / "y.jsonl", [*rows, rows[0]]), **given)
    assert "1 positives repeat another: a query may have several." in twice.notes
    like = description(loaded)
    assert like["task"] == "retrieval"
    (tmp_path / "q.txt").write_text("where?\nwhat?\n")
    assert list(read_inputs(tmp_path / "q.txt", like).payload["query"]) == ["where?", "what?"]
    asked = written(tmp_path / "q.csv", [{names[0]: "a b", "n": 1}, {names[0]: "c", "n": 2}])
    assert list(read_inputs(asked, like).payload["query"]) == ["a b", "c"]


CONLL = "-DOCSTART- -X- O\n\nHe NN O\nsaw VB O\nJim Xyz B-PER\n\nIn IN O\nRome NN B-LOC\n"
EXPECTED = [("He", "saw", "Jim"), ("In", "Rome")]


@pytest.mark.parametrize("name", ["x.conll", "x.bio", "x.txt", "x.tsv", "x.conll.gz"])
def test_words_with_tags(tmp_path: Path, name: str):
    content = CONLL if "tsv" not in name else CONLL.replace(" ", "\t")
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    loaded = open_labelled(tmp_path / name)
    assert loaded.task.level == "token" and loaded.task.labels == ("O", "B-LOC", "B-PER")
    assert column(loaded, "words") == EXPECTED
    assert loaded.documents.attributes["label"].tolist() == [[0, 0, 2], [0, 1, 0]]
    assert loaded.documents.attributes["label"].dtype == "int64"
    like = json.loads(json.dumps(description(loaded)))
    assert list(read_inputs(tmp_path / name, like).payload["words"]) == EXPECTED


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "json"])
def test_lists_of_words_and_tags(tmp_path: Path, kind: str):
    rows = [
        {"tokens": ["He", "saw", "Jim"], "ner_tags": ["O", "O", "B-PER"]},
        {"tokens": ["In", "Rome"], "ner_tags": ["O", "B-LOC"]},
        {"tokens": ["a", "b"], "ner_tags": ["O"]},
    ]
    loaded = open_labelled(written(tmp_path / f"x.{kind}", rows))
    assert loaded.task.level == "token" and column(loaded, "words") == EXPECTED
    assert loaded.documents.attributes["label"].tolist() == [[0, 0, 2], [0, 1, 0]]
    assert "1 sentence whose words and tags are not as many skipped" in " ".join(loaded.notes)
    new = read_inputs(tmp_path / f"x.{kind}", description(loaded))
    assert list(new.payload["words"]) == [*EXPECTED, ("a", "b")]


def test_new_words_in_every_form(tmp_path: Path):
    put(
        tmp_path,
        x__conll=CONLL,
        one__conll="He\nsaw\nJim\n\nIn\nRome\n",
        one__txt="He\nsaw\nJim\n\nIn\nRome\n",
        lines__txt="He saw Jim\n\nIn Rome\n",
        t__csv="text\nHe saw Jim\nIn Rome\n",
    )
    like = description(open_labelled(tmp_path / "x.conll"))
    for name in ("one.conll", "one.txt", "lines.txt", "t.csv"):
        assert list(read_inputs(tmp_path / name, like).payload["words"]) == EXPECTED, name
    put(tmp_path / "folder", a__txt="He saw Jim", b__conll="In\nRome\n")
    assert list(read_inputs(tmp_path / "folder", like).payload["words"]) == EXPECTED


def test_long_sentences_are_cut(tmp_path: Path):
    put(tmp_path, x__conll="a B-X\n" + "b O\n" * 2500 + "\nc O\n")
    loaded = open_labelled(tmp_path / "x.conll")
    assert [len(w) for w in column(loaded, "words")] == [1000, 1000, 501, 1]
    assert loaded.documents.attributes["label"].sum(1).tolist() == [1, 0, 0, 0]
    assert "1 sentence of more than 1,000 words cut (sentence 1)." in loaded.notes


def test_files_for_the_parts(tmp_path: Path):
    for name, part in (("train", ITEMS[:12]), ("dev", ITEMS[12:16]), ("test", ITEMS[16:])):
        written(tmp_path / f"mood_{name}.jsonl.gz", part)
        written(tmp_path / f"other-{name}.csv", part)
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "picture.png").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match=r"several sets: 'mood', 'other'. Give one by its name"):
        open_labelled(tmp_path)
    for name in ("mood", "other"):
        loaded = open_labelled(tmp_path / name)
        assert loaded.documents.attributes["split"].tolist() == [0] * 12 + [1] * 4 + [2] * 4
        assert column(loaded) == [row["comment"] for row in ITEMS]
        assert "20 texts (train 12, validation 4, test 4)" in loaded.notes[0]
    assert loaded.task.name == "other"


def test_shards_of_a_part_are_joined(tmp_path: Path):
    for i in range(2):
        written(tmp_path / f"train-0000{i}-of-00002.parquet", ITEMS[8 * i : 8 * i + 8])
    written(tmp_path / "test-00000-of-00001.parquet", ITEMS[16:])
    loaded = open_labelled(tmp_path)
    assert column(loaded) == [row["comment"] for row in ITEMS]
    assert loaded.documents.attributes["split"].tolist() == [0] * 16 + [2] * 4


def test_a_column_or_an_object_may_name_the_parts(tmp_path: Path):
    rows = [{**row, "split": "dev" if i % 5 == 0 else "train"} for i, row in enumerate(ITEMS)]
    loaded = open_labelled(written(tmp_path / "x.csv", rows))
    assert loaded.documents.attributes["split"].tolist() == [int(i % 5 == 0) for i in range(20)]
    pairs = [[row["comment"], row["mood"]] for row in ITEMS]
    (tmp_path / "y.json").write_text(json.dumps({"train": pairs[:16], "x_val": pairs[16:]}))
    loaded = open_labelled(tmp_path / "y.json")
    assert loaded.documents.attributes["split"].tolist() == [0] * 16 + [1] * 4
    assert column(loaded) == [row["comment"] for row in ITEMS]


def test_folders_of_classes(tmp_path: Path):
    for part in ("train", "test"):
        for name in ("neg", "pos"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            (folder / "1.txt").write_text(f"{part} {name}")
    loaded = open_labelled(tmp_path)
    assert loaded.task.labels == ("neg", "pos")
    found = zip(column(loaded), labels(loaded), strict=True)
    assert all(text.endswith(name) for text, name in found)
    assert loaded.documents.attributes["split"].tolist() == [2, 2, 0, 0]
    assert labels(open_labelled(tmp_path / "train")) == ["neg", "pos"]


def test_a_table_that_names_texts_of_a_corpus(tmp_path: Path):
    corpus = open_texts(put(tmp_path / "corpus", a__txt="one", b__txt="two", c__txt="three"))
    rows = [{"file": f"a/long/path/to/{n}.txt", "label": n} for n in ("a", "b")]
    (tmp_path / "l.jsonl").write_text(
        "\n".join(json.dumps({**r, "file": r["file"][-5:]}) for r in rows)
    )
    loaded = open_labelled(tmp_path / "l.jsonl", corpus=corpus)
    assert column(loaded) == ["one", "two"] and labels(loaded) == ["a", "b"]
    put(tmp_path / "parts", train__csv="name,y\na,1.5\nb,2.5\n", test__csv="name,y\nc,0.5\n")
    loaded = open_labelled(tmp_path / "parts", corpus=corpus, key="name", task="regression")
    assert labels(loaded) == [1.5, 2.5, 0.5]
    assert loaded.documents.attributes["split"].tolist() == [0, 0, 2]
    with pytest.raises(DataError, match=r"key='name' names texts of a corpus. Give it"):
        open_labelled(tmp_path / "l.jsonl", key="name")
    with pytest.raises(DataError, match=r"l2.csv has no column of text; it has 'file', 'label'"):
        open_labelled(written(tmp_path / "l2.csv", rows))
    with pytest.raises(DataError, match=r"2 of 2 labelled texts are not in .* \('a/long"):
        open_labelled(tmp_path / "l2.csv", corpus=corpus)


def test_what_is_skipped_is_counted(tmp_path: Path):
    rows = [*ITEMS, {"id": 1, "comment": "", "mood": "a"}, {"id": 2, "comment": 5, "mood": "b"}]
    path = written(tmp_path / "x.jsonl", rows)
    path.write_text(path.read_text() + "\nno json\n")
    said = " ".join(open_labelled(path).notes)
    assert "1 without any text skipped" in said and "1 broken JSON line skipped" in said
    assert "1 line whose text is missing or no string skipped" in said
    latin = f"text\tlabel\nnaïv {LONG}\ta\nStraße\tb\nStraße\ta\n".encode("latin-1")
    (tmp_path / "y.tsv").write_bytes(latin)
    loaded = open_labelled(tmp_path / "y.tsv")
    assert column(loaded)[1] == "Straße" and "read as Latin-1 (y.tsv)" in " ".join(loaded.notes)


ROW = f"{LONG} 1,a\n{LONG} 2,b\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x__csv": ""}, "x.csv holds no rows. .*Give a table with some"),
        ({"x__csv": "text,label\n"}, "x.csv holds no rows"),
        ({"x__csv": f"text,label\n{LONG},a\n{LONG}2,a\n"}, "'label' has one class only, 'a'"),
        ({"x__csv": "text,label\n,a\n,b\n"}, "x.csv, column 'text' is empty. Fill in its texts"),
        ({"x__csv": "n,label\n1,a\n2,b\n"}, "x.csv has no column of text; it has 'n', 'label'"),
        ({"x__csv": f"text,a,b\n{LONG},x,y\n{LONG},y,x\n"}, "which column is the label. It has"),
        ({"x__csv": f"text,label\n{LONG},a\n{LONG},\n"}, "is missing in 1 of 2 rows .row 2."),
        ({"x__csv": b"text,label\n" + bytes(range(256))}, "x.csv is a binary file, no labelled"),
        ({"x__jsonl__gz": gzip.compress(b"a" * 999)[:-9]}, "is a broken gzip file, no labelled"),
        ({"x__parquet": b"PAR1 is none"}, "is a broken Parquet file, no labelled text"),
        ({"x__jsonl": "no\n"}, "x.jsonl holds no JSON objects, one on each line"),
        ({"x__json": "{"}, "x.json is no JSON: .* or write JSON lines"),
        ({"x__json": '{"a": 1}'}, "x.json holds no list of rows"),
        ({"x__jsonl": '{"text": "a b", "label": ["x"]}\n'}, r"holds \['x'\]. Give each text one"),
        ({"x__jsonl": '{"tokens": ["a"], "n": 1}\n'}, "holds lists of words, and none called tags"),
        ({"x__jsonl": '{"tokens": ["a"], "tags": ["O", "O"]}\n'}, "words and tags are not as many"),
        ({"x__jsonl": '{"tokens": ["a"], "tags": ["O"]}\n'}, r"has one tag only \('O'\)"),
        ({"x__conll": "He\nsaw\n\nJim\n"}, "x.conll, line 1: 'He' has one column. Each line needs"),
        ({"x__conll": "\n\n"}, "holds no labelled text"),
        ({"x__txt": "Once upon a time\nthere was one\n"}, "no labelled texts that can be told"),
        ({"test__csv": ROW}, r"holds no training part, only test \('test.csv'\). Add one called"),
        ({"README__md": "x"}, "holds no labelled data. Give a table, or a folder"),
        ({"a_train__csv": ROW, "a_train__tsv": ROW}, "more than one train part: 'a_train.csv', "),
        (
            {"train__csv": f"text,label\n{ROW}", "dev__csv": "body,label\na,b\n"},
            "dev.csv has no column 'text', as train.csv, column 'label' has",
        ),
        (
            {"train__csv": f"text,label\n{ROW}", "dev__conll": CONLL},
            "dev.conll is of another kind than train.csv",
        ),
    ],
)
def test_wrong_data_are_explained(tmp_path: Path, files: dict[str, Any], message: str):
    root = put(tmp_path / "data", **files)
    single = next(iter(files)).startswith("x")
    with pytest.raises(DataError, match=message) as told:
        open_labelled(next(root.iterdir()) if single else root)
    assert "\n" not in str(told.value)


def test_wrong_names_are_explained(tmp_path: Path):
    path = written(tmp_path / "x.csv", ITEMS)
    with pytest.raises(DataError, match=r"x.csv has no column 'moood'. Did you mean 'mood'"):
        open_labelled(path, label="moood")
    with pytest.raises(DataError, match="'mood' is given for two things"):
        open_labelled(path, label="mood", text="mood")
    with pytest.raises(DataError, match=r"There is no .*/y.csv. Did you mean 'x.csv'"):
        open_labelled(tmp_path / "y.csv")
    with pytest.raises(DataError, match="column 'id' holds no text"):
        open_labelled(written(tmp_path / "y.jsonl", ITEMS), text="id", label="mood")


def test_a_test_part_without_answers_is_left_out(tmp_path: Path):
    put(tmp_path, train__csv=f"text,label\n{ROW}", test__csv=f"text\n{LONG}\n{LONG}\n")
    loaded = open_labelled(tmp_path)
    assert len(loaded.documents) == 2 and "test.csv has no 'label': left out." in loaded.notes


def test_a_broken_sentence_is_skipped_and_counted(tmp_path: Path):
    put(tmp_path, x__conll="a O\nb B-X\n\nc\nd O\n\ne O\n")
    loaded = open_labelled(tmp_path / "x.conll")
    assert column(loaded, "words") == [("a", "b"), ("e",)]
    assert "1 sentence whose words and tags are not as many skipped (x.conll, line 4)." in (
        loaded.notes
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "n.csv",
            f"remark,mood\n{LONG},a\n",
            "n.csv has no column 'comment', which",
        ),
        ("n.csv", "comment,n\nx,1\n,2\n", "column 'comment' has no text in row 2. Fill it in"),
        ("n.csv", "comment,n\nx,1\nx,y,2\n", "n.csv, line 3: the line has other cells than"),
        ("n.csv", "comment\n", "n.csv has no rows to predict"),
        ("n.parquet", "PAR1", "n.parquet is a broken Parquet file, no text"),
        ("n.txt", "", "n.txt holds no text"),
    ],
)
def test_new_texts_that_do_not_fit_are_explained(
    tmp_path: Path, name: str, content: str, message: str
):
    like = description(open_labelled(written(tmp_path / "x.csv", ITEMS)))
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_inputs(tmp_path / name, like)


def test_new_pairs_and_words_that_do_not_fit_are_explained(tmp_path: Path):
    rows = [dict(zip(("text_a", "text_b", "label"), r.values(), strict=True)) for r in PAIRS]
    like = description(open_labelled(written(tmp_path / "x.csv", rows)))
    (tmp_path / "n.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"n.txt is no table. Give a table with both texts"):
        read_inputs(tmp_path / "n.txt", like)
    put(tmp_path, x__conll=CONLL, n__conll="\n", n__csv="tokens,n\n,1\nb,2\n")
    like = description(open_labelled(tmp_path / "x.conll"))
    with pytest.raises(DataError, match=r"n.conll has no words. Give words with blank lines"):
        read_inputs(tmp_path / "n.conll", like)
    with pytest.raises(DataError, match=r"n.csv has no column 'text'|has no words in row 1"):
        read_inputs(tmp_path / "n.csv", like)
