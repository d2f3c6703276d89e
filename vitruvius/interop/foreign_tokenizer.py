"""The tokenizer of a pretrained model as a codec."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitruvius.contracts import Array, Encoding, Layout, Stream
from vitruvius.interop.foreign_files import PretrainedError, silenced

NAMES = {
    "<pad>": "pad_token_id",
    "<unk>": "unk_token_id",
    "<cls>": "cls_token_id",
    "<sep>": "sep_token_id",
    "<mask>": "mask_token_id",
    "<bos>": "bos_token_id",
    "<eos>": "eos_token_id",
}
NO_WORD = -1
OLDER = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


class ForeignTokenizer:
    """Texts to the ids of a pretrained model, and back.

    ``encode`` adds no specials and takes none from a text: "[MASK]" in a text is encoded like any
    other text. ``frame`` says what the model expects around one text, ``pair_frame`` around two.
    """

    lossless = False

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        """As transformers has it: what is saved."""
        self.backend = copy.deepcopy(tokenizer.backend_tokenizer)
        self.backend.no_truncation()
        self.backend.no_padding()
        self.backend.encode_special_tokens = True
        self.specials: Mapping[str, int] = {
            name: number
            for name, theirs in NAMES.items()
            if (number := getattr(tokenizer, theirs, None)) is not None
        }
        """Ids by our names; those that the model has."""
        self.frame = self._around(self.backend.encode("a"), 1)
        """Ids before and after a text."""
        self.pair_frame = self._around(self.backend.encode("a", "a"), 2)
        """Ids before, between and after two texts."""

    @classmethod
    def load(cls, folder: str | Path) -> ForeignTokenizer:
        """The tokenizer in a model's folder. Raises PretrainedError."""
        from transformers import AutoTokenizer

        if not any((Path(folder) / name).exists() for name in ("tokenizer.json", *OLDER)):
            raise PretrainedError(
                f"{folder} holds no tokenizer (tokenizer.json is missing). Save the tokenizer "
                "that the model was trained with into this folder."
            )
        try:
            with silenced():
                found = AutoTokenizer.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
        except Exception as error:  # the libraries raise Exception itself
            remote = "trust_remote_code" in str(error)
            why = "it wants to run code of its own" if remote else _first_line(error)
            raise PretrainedError(
                f"The tokenizer in {folder} cannot be loaded: {why}. "
                "Give a folder with a tokenizer.json that AutoTokenizer loads."
            ) from error
        if not getattr(found, "is_fast", False):
            raise PretrainedError(
                f"The tokenizer in {folder} is {type(found).__name__}, which tells no offsets. "
                "Save it as tokenizer.json (a fast tokenizer) first."
            )
        return cls(found)

    def describe(self) -> dict[str, Any]:
        """What a store keeps: the files that AutoTokenizer reads."""
        with tempfile.TemporaryDirectory() as folder:
            self.save(folder)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}

    @classmethod
    def rebuild(cls, written: Mapping[str, bytes]) -> ForeignTokenizer:
        """The same tokenizer."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in written.items():
                (Path(folder) / Path(name).name).write_bytes(content)
            return cls.load(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return ForeignTokenizer, (self.tokenizer,)

    def save(self, folder: str | Path) -> None:
        """In the format that AutoTokenizer reads."""
        with silenced():
            self.tokenizer.save_pretrained(str(folder))

    @property
    def digest(self) -> str:
        """Of all that decides what it encodes."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @property
    def vocabulary(self) -> int:
        """One more than the highest id. The model may have room for more."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    def tokens(self) -> tuple[str, ...]:
        """The pieces as their tokenizer writes them; empty where an id has none."""
        named = {i: piece for piece, i in self.backend.get_vocab(with_added_tokens=True).items()}
        return tuple(named.get(i, "") for i in range(self.vocabulary))

    def encode(self, text: str) -> Encoding:
        made = self.backend.encode(text, add_special_tokens=False)
        words = tuple(NO_WORD if word is None else word for word in made.word_ids)
        return Encoding(tuple(made.ids), tuple(made.offsets), words)

    def encode_many(
        self, texts: Sequence[str], words: bool = False
    ) -> list[tuple[Array, Array | None]]:
        """Ids, and where words begin if asked for, of each text."""
        found: list[tuple[Array, Array | None]] = []
        for made in self.backend.encode_batch(list(texts), add_special_tokens=False):
            numbers = np.array([NO_WORD if w is None else w for w in made.word_ids], np.int64)
            starts = np.diff(numbers, prepend=-2) != 0 if words else None
            ids = np.array(made.ids, np.uint32)
            found.append((ids, None if starts is None else starts.astype(np.uint8)))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Without specials."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=True)

    def stream(self, texts: Sequence[str], longest: int | None = None) -> Stream:
        """Texts in their frames, padded on the right to the longest of them, as a body reads them.

        ``longest`` counts tokens, frame included; what is beyond it is cut off.
        """
        before, after = self.frame
        room = None if longest is None else longest - len(before) - len(after)
        if room is not None and room < 1:
            raise ValueError(
                f"ForeignTokenizer.stream: longest must leave room for text beside the "
                f"{len(before) + len(after)} specials of this model; got {longest}."
            )
        rows = []
        for made in self.backend.encode_batch(list(texts), add_special_tokens=False):
            words = [NO_WORD if w is None else w for w in made.word_ids[:room]]
            rows.append((made.ids[:room], words))
        return padded(rows, self.specials.get("<pad>", 0), before, after)

    def pairs(
        self, first: Sequence[str], second: Sequence[str], longest: int | None = None
    ) -> Stream:
        """Two texts in one row each; of a row that is too long, the longer text is cut."""
        before, between, after = self.pair_frame
        room = None if longest is None else longest - len(before) - len(between) - len(after)
        rows = []
        for one, two in zip(self.encode_many(first), self.encode_many(second), strict=True):
            a, b = one[0].tolist(), two[0].tolist()
            if room is not None and len(a) + len(b) > room:
                half = max(room - min(len(a), len(b)), (room + 1) // 2)
                a, b = (a[:half], b[: room - len(a[:half])])
            rows.append(([*a, *between, *b], [NO_WORD] * (len(a) + len(between) + len(b))))
        return padded(rows, self.specials.get("<pad>", 0), before, after)

    def _around(self, made: Any, texts: int) -> tuple[tuple[int, ...], ...]:
        """The specials of a frame, cut where a text stands."""
        owner = made.sequence_ids
        ends = [max(i for i, one in enumerate(owner) if one == k) for k in range(texts)]
        parts: list[list[int]] = [[] for _ in range(texts + 1)]
        for i, number in enumerate(made.ids):
            if owner[i] is None:
                parts[sum(end < i for end in ends)].append(number)
        return tuple(map(tuple, parts))


def padded(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    pad: int,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> Stream:
    """Ids and words of each row, with specials around them, as one stream [B T]."""
    width = max((len(ids) for ids, _ in rows), default=0) + len(before) + len(after)
    shape = (len(rows), width)
    values = torch.full(shape, pad, dtype=torch.long)
    segments = torch.zeros(shape, dtype=torch.long)
    words = torch.full(shape, NO_WORD, dtype=torch.long)
    fixed = torch.ones(shape, dtype=torch.bool)
    for row, (ids, numbers) in enumerate(rows):
        whole = torch.tensor([*before, *ids, *after], dtype=torch.long)
        inner = slice(len(before), len(before) + len(ids))
        values[row, : len(whole)] = whole
        segments[row, : len(whole)] = 1
        words[row, inner] = torch.tensor(list(numbers), dtype=torch.long)
        fixed[row, inner] = False
    positions = torch.arange(width).expand(shape) * segments
    return Stream(values, Layout(positions, segments, words, fixed))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
