"""Sentences that are cut into words already, with a tag for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitruvius.contracts import SPECIALS, Codec, Encoding
from vitruvius.data.mapped import Resident
from vitruvius.data.tokens import FLAG, Tokens


def encode_words(codec: Codec, words: Sequence[str]) -> Encoding:
    """The words with a space between them; ``Encoding.words`` counts the words as given.

    A piece belongs to the word of its last character, so that the space in front counts with its
    word. A word of which the tokenizer leaves nothing becomes <unk>.
    """
    text = " ".join(words)
    edges = np.cumsum([0, *(len(word) + 1 for word in words)])
    made = codec.encode(text)
    known = getattr(codec, "specials", None)
    unknown = SPECIALS.index("<unk>") if known is None else known.get("<unk>", 0)
    ids, offsets, owners = [], [], []

    def fill(upto: int) -> None:
        for word in range(owners[-1] + 1 if owners else 0, upto):
            ids.append(unknown)
            offsets.append((int(edges[word]), int(edges[word]) + len(words[word])))
            owners.append(word)

    for number, (start, stop) in zip(made.ids, made.offsets, strict=True):
        last = max(stop - 1, start)
        owner = min(int(np.searchsorted(edges, last, "right")) - 1, len(words) - 1)
        fill(owner)
        ids.append(number)
        offsets.append((start, stop))
        owners.append(max(owner, owners[-1] if owners else 0))
    fill(len(words))
    return Encoding(tuple(ids), tuple(offsets), tuple(owners))


def tokenise_words(sentences: Sequence[Sequence[str]], codec: Codec) -> Tokens:
    """Sentences as ids in memory, with a flag where each of the given words begins."""
    made = [encode_words(codec, words) for words in sentences]
    lengths = np.array([len(one.ids) for one in made], np.int64)
    stops = np.cumsum(lengths)
    ids = np.array([i for one in made for i in one.ids], np.int64)
    numbers = [np.diff(np.array(one.words, np.int64), prepend=-1) > 0 for one in made]
    begins = np.concatenate([np.zeros(0, bool), *numbers]).astype(FLAG)
    return Tokens(Resident(ids), stops - lengths, stops, codec.vocabulary, Resident(begins))


def word_labels(tags: Sequence[Sequence[str]], labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Class of each word [N W], 0 beyond the last, and how many words each sentence has [N]."""
    number = {label: i for i, label in enumerate(labels)}
    counts = torch.tensor([len(one) for one in tags], dtype=torch.long)
    found = torch.zeros(len(tags), max(map(len, tags), default=0), dtype=torch.long)
    for row, one in enumerate(tags):
        if unknown := sorted(set(one) - set(number)):
            raise ValueError(f"word_labels: the tag {unknown[0]!r} is not among {list(labels)}.")
        found[row, : len(one)] = torch.tensor([number[tag] for tag in one], dtype=torch.long)
    return found, counts
