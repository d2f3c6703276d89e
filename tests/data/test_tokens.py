"""Tokens in files: whole, verified, or made again."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitruvius.contracts import Documents, Encoding
from vitruvius.data import DataError, texts
from vitruvius.data import tokens as module
from vitruvius.data.mapped import Mapped
from vitruvius.data.texts import Spool, Texts
from vitruvius.data.tokens import open_tokens, tokenise
from vitruvius.techniques.tokenizers import Bytes
from vitruvius.techniques.tokenizers.characters import CharactersCodec

SOME = ["one two", "", "drei, vier", "日本語 🙂", "x" * 500, "last\n"]
CODEC = Bytes().build(None)


def documents(items: list[str] = SOME) -> Documents:
    return Documents({"text": Texts.of(items)})


def decoded(found: module.Tokens) -> list[str]:
    return [CODEC.decode(found.document(i).tolist()) for i in range(len(found))]


@pytest.mark.parametrize("words", [False, True])
def test_in_a_folder_as_in_memory(tmp_path: Path, words: bool):
    here = tokenise(documents(), CODEC, words=words)
    there = tokenise(documents(), CODEC, tmp_path / "cache", words=words)
    assert isinstance(there.ids, Mapped) and there.ids.array.dtype == np.uint16
    assert decoded(here) == decoded(there) == SOME
    assert there.lengths.tolist() == [len(t.encode()) for t in SOME] == here.lengths.tolist()
    if words:
        assert here.begins is not None and there.begins is not None
        assert here.begins.array.tolist() == there.begins.array.tolist()
        start = int(there.starts[2])
        assert there.begins.part(start, start + 10).tolist() == [1, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert decoded(there.take(np.array([4, 0]))) == [SOME[4], SOME[0]]
    assert os.listdir(tmp_path) == ["cache"]


def test_what_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tokenise(documents(), CODEC, tmp_path / "cache")
    monkeypatch.setattr(module, "_write", lambda *_: pytest.fail("made again"))
    assert decoded(tokenise(documents(), CODEC, tmp_path / "cache")) == SOME
    monkeypatch.undo()
    changed = tokenise(documents([*SOME, "new"]), CODEC, tmp_path / "cache")
    assert decoded(changed) == [*SOME, "new"]
    other = CharactersCodec([ord(c) for c in "abc"])
    assert tokenise(documents(), other, tmp_path / "cache").vocabulary == 10


@pytest.mark.parametrize("name", ["ids.npy", "ends.npy", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_what_is_damaged_is_refused_and_made_again(tmp_path: Path, name: str, harm: str):
    folder = tmp_path / "cache"
    tokenise(documents(), CODEC, folder)
    content = (folder / name).read_bytes()
    if harm == "cut":
        (folder / name).write_bytes(content[:-3])
    elif harm == "gone":
        (folder / name).unlink()
    else:
        flipped = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        (folder / name).write_bytes(flipped)
    if name != "manifest.json" or harm != "flipped":
        with pytest.raises(DataError, match=r"Delete|Tokenise"):
            open_tokens(folder)
    assert decoded(tokenise(documents(), CODEC, folder)) == SOME
    assert decoded(open_tokens(folder)) == SOME


def test_an_interrupted_writing_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_digest", broken)
    with pytest.raises(KeyboardInterrupt):
        tokenise(documents(), CODEC, tmp_path / "cache")
    assert os.listdir(tmp_path) == []
    with pytest.raises(DataError, match="holds no tokens"):
        open_tokens(tmp_path / "cache")


class Foreign:
    """A codec that encodes one text at a time, and tells words only if asked to."""

    vocabulary = 2**17

    def __init__(self, words: bool) -> None:
        self.words = words

    def encode(self, text: str) -> Encoding:
        ids = tuple(ord(c) for c in text)
        words = tuple(i // 2 for i in range(len(ids))) if self.words else None
        return Encoding(ids, tuple((i, i + 1) for i in range(len(ids))), words)

    def decode(self, ids: object) -> str:
        raise NotImplementedError

    def tokens(self) -> tuple[str, ...]:
        return tuple(map(str, range(5)))


def test_any_codec_will_do(tmp_path: Path):
    found = tokenise(documents(), Foreign(True), tmp_path / "a", words=True)
    assert found.ids.array.dtype == np.uint32
    assert found.document(0).tolist() == [ord(c) for c in "one two"]
    assert found.begins is not None and found.begins.part(0, 7).tolist() == [1, 0, 1, 0, 1, 0, 1]
    with pytest.raises(DataError, match="Foreign tells no words"):
        tokenise(documents(), Foreign(False), words=True)


@given(st.lists(st.text(max_size=20)))
def test_texts_come_back(items: list[str]):
    column = Texts.of(items)
    assert list(column) == items and len(column) == len(items)
    assert list(column[::-1]) == items[::-1]
    rows = np.arange(len(items))[::2]
    assert list(column[rows]) == items[::2]
    assert np.asarray(column).tolist() == items
    assert column.sizes.tolist() == [len(t.encode("utf-8", "surrogatepass")) for t in items]


def test_many_texts_go_to_a_file_and_read_the_same(monkeypatch: pytest.MonkeyPatch):
    items = [f"text {i} " * (i % 7) for i in range(500)]
    here = Texts.of(items)
    monkeypatch.setattr(texts, "RESIDENT_BYTES", 100)
    with Spool() as spool:
        for item in items:
            spool.add(item)
            assert spool.held <= 100
        there = spool.column()
    assert isinstance(there.block, Mapped) and not isinstance(here.block, Mapped)
    assert list(there) == list(here) == items
    assert spool.digest == _digest(items) != _digest(items[::-1])


def _digest(items: list[str]) -> str:
    with Spool() as spool:
        for item in items:
            spool.add(item)
        return spool.digest
