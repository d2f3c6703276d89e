"""An answer averaged with that of a linear model of the words.

Source: Wang & Manning 2012, "Baselines and Bigrams: Simple, Good Sentiment and Topic
Classification", ACL 2012, for what words and pairs of words alone can tell; the mean of the
probabilities of classifiers from Kittler et al. 1998, "On combining classifiers", IEEE TPAMI 20(3),
section 3.2 (sum rule). Words become places by Weinberger et al. 2009, "Feature hashing for large
scale multitask learning", arXiv:0902.2206.
Differs from the papers: logistic regression on TF-IDF in place of naive Bayes; no signs in the
hashing, since there are more places than words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.contracts import Codec, Fitted, Given, Head, Task
from vitruvius.space import hyper, log_uniform, uniform
from vitruvius.techniques.heads.item import ItemHead
from vitruvius.techniques.heads.pooled_readout import PooledReadout

PLACES = 2**18
VOCABULARY = 2**18  # ids beyond it share their facts with lower ones
STEP, PAIR, SPREAD = 1_000_003, 998_244_353, 2_654_435_761  # primes
ROWS = 64  # texts at a time
ITERATIONS = 1000


@dataclass(frozen=True)
class WithWords(ItemHead):
    """log((1 - share) p + share q): p is of the inner head, q of logistic regression on the words.

    Words of two letters and more, and pairs of neighbours, count 1 + ln(count) times inverse
    document frequency, in rows of length 1. Words are put together from their pieces, as far as the
    tokenizer marks where one begins. The regression is fitted once on the training part and is no
    part of the training: in it the answers are those of the inner head, so that this learns as if
    it were alone. For classes of single texts. 2^18 (classes + 3) numbers beside the inner head.
    """

    head: Head = hyper(PooledReadout(pool="mean", dense=False), None, "what is trained")
    share: float = hyper(0.5, uniform(0.1, 0.9), "weight of the words")
    strength: float = hyper(30.0, log_uniform(0.1, 100.0), "inverse weight of the penalty, C")
    needs: ClassVar[tuple[str, ...]] = ("task", "documents", "tokenizer")

    def check(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(
                f"WithWords.share must be above 0 and below 1; got {self.share}. "
                "For no words, take the inner head alone."
            )
        if self.strength <= 0:
            raise ValueError(f"WithWords.strength must be above 0; got {self.strength}.")

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        if not task.labels or task.level != "item":
            raise ValueError(
                f"WithWords answers with classes of single texts; the task is of level {task.level}"
                f"{'' if task.labels else ' with numbers'}. Take its inner head alone."
            )
        return WordsBeside(self.head.build(hidden, task), len(task.labels), self.share)

    def fit(self, given: Given) -> Fitted | None:
        """What tokens are, inverse document frequencies, and the weights of the regression."""
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression

        texts = given.documents.payload.get("text")
        if texts is None:
            raise ValueError("WithWords reads documents with a text each; these have none.")
        begins, letters = facts_of(given.tokenizer)
        rows, columns = [], []
        for row, (ids, own) in _read(texts[:], given.tokenizer):
            places, there = places_of(*words_of(ids, own, begins, letters))
            at = there.nonzero()
            rows.append(row + at[:, 0].numpy())
            columns.append(places[there > 0].numpy())
        where = np.concatenate(rows), np.concatenate(columns)
        matrix = csr_matrix((np.ones(len(where[0])), where), (len(texts), PLACES))
        holding = np.asarray(matrix.getnnz(0))
        known = np.flatnonzero(holding)
        rarity = np.zeros(PLACES)
        rarity[known] = 1 + np.log((1 + len(texts)) / (1 + holding[known]))
        matrix.data = 1 + np.log(matrix.data)
        matrix = matrix.tocsc()[:, known].multiply(rarity[known][None]).tocsr()
        length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)))
        matrix = matrix.multiply(1 / np.maximum(length, 1e-12)).tocsr()
        label = np.asarray(given.documents.attributes["label"])
        seen, classes = np.unique(label), len(given.task.labels)
        weight, bias = np.zeros((classes, PLACES)), np.full(classes, -30.0)  # of what was not seen
        bias[seen] = 0.0
        if len(seen) > 1:
            made = LogisticRegression(C=self.strength, max_iter=ITERATIONS, tol=1e-3).fit(
                matrix, label
            )
            of = seen[1:] if len(seen) == 2 else seen  # of two, the second has all the weights
            weight[np.ix_(of, known)], bias[of] = made.coef_, made.intercept_
        inner = self.head.fit(given)
        return Fitted(
            {
                **{f"inner.{n}": t for n, t in (inner.tensors if inner else {}).items()},
                "begins": begins,
                "letters": letters,
                "rarity": torch.from_numpy(rarity).float(),
                "weight": torch.from_numpy(weight).float(),
                "bias": torch.from_numpy(bias).float(),
            }
        )


class WordsBeside(nn.Module):
    """The inner head, and in evaluation the regression beside it."""

    begins: Tensor
    letters: Tensor
    rarity: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, inner: nn.Module, classes: int, share: float) -> None:
        super().__init__()
        self.inner, self.classes, self.share = inner, classes, share
        self.register_buffer("begins", torch.zeros(VOCABULARY, dtype=torch.bool))
        self.register_buffer("letters", torch.zeros(VOCABULARY, dtype=torch.uint8))
        self.register_buffer("rarity", torch.zeros(PLACES))
        self.register_buffer("weight", torch.zeros(classes, PLACES))
        self.register_buffer("bias", torch.zeros(classes))

    def reset_parameters(self) -> None:
        for buffer in self.buffers(recurse=False):
            buffer.zero_()

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        """Logits [B classes]; of a batch whose hidden states were kept, without its ids, those of
        the inner head."""
        answer = self.inner(outputs, batch)
        if self.training or batch is None:
            return answer
        stream = batch.streams["input"]
        if stream.values.is_floating_point():
            return answer
        own = stream.layout.segments > 0
        if stream.layout.fixed is not None:
            own = own & ~stream.layout.fixed
        with torch.autocast(answer.device.type, enabled=False):
            told = torch.cat(
                [self.words(i, o) for i, o in zip(stream.values, own, strict=True)]
            ).log_softmax(-1)
            inner = answer.float().log_softmax(-1) + float(np.log(1 - self.share))
            return torch.logaddexp(inner, told + float(np.log(self.share)))

    def words(self, ids: Tensor, own: Tensor) -> Tensor:
        """Logits [1 classes] of one row of ids [T], where ``own`` [T] are pieces of the text."""
        kept, number = words_of(ids[None], own[None], self.begins, self.letters)
        places, weights = places_of(kept, number)
        places, times = places[weights > 0].unique(return_counts=True)
        value = (1 + times.float().log()) * self.rarity[places]
        value = value / value.norm().clamp(min=1e-12)
        return (self.weight[:, places] @ value + self.bias)[None]


def facts_of(tokenizer: Codec) -> tuple[Tensor, Tensor]:
    """Of each id [vocabulary]: whether a word begins there; its letters and figures, to 255."""
    tokens = tokenizer.tokens()
    pieces = any(token.startswith("##") for token in tokens)
    begins = torch.zeros(VOCABULARY, dtype=torch.bool)
    letters = torch.zeros(VOCABULARY, dtype=torch.uint8)
    for i, token in enumerate(tokens):
        begins[i % VOCABULARY] = (
            not token.startswith("##") if pieces else token.startswith(("Ġ", "▁", " "))
        )
        letters[i % VOCABULARY] = min(255, sum(c.isalnum() and c not in "Ġ▁" for c in token))
    return begins, letters


def words_of(ids: Tensor, own: Tensor, begins: Tensor, letters: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers that stand for the words of each row [B T], those of two letters and more, in order;
    and how many there are [B]."""
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    first = own & ~functional.pad(own, (1, 0))[:, :-1]
    begin = (begins[ids % VOCABULARY] & own) | first
    word = (begin.cumsum(1) - 1).clamp(min=0)
    since = (places - (places * begin).cummax(1).values).clamp(max=15)
    factor = torch.tensor([pow(STEP, k, 2**31) for k in range(16)], device=ids.device)
    number = torch.zeros_like(ids).scatter_add(1, word, (ids + 1) * factor[since] * own)
    long = torch.zeros_like(ids).scatter_add(1, word, letters[ids % VOCABULARY].long() * own)
    keep = long >= 2
    at = (keep.cumsum(1) - 1).clamp(min=0)
    kept = torch.zeros_like(ids).scatter_add(1, at, number * keep)
    return kept, keep.sum(1)


def places_of(kept: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Places of words and pairs of neighbours [B 2 T - 1]; 1 where there is one, else 0."""
    there = torch.arange(kept.shape[1], device=kept.device) < number[:, None]
    pairs = kept[:, :-1] % 2**31 * PAIR % 2**31 + kept[:, 1:] % 2**31 + 1
    both = torch.cat((kept % 2**31, pairs % 2**31), 1)
    return both * SPREAD % (2**31 - 1) % PLACES, torch.cat((there, there[:, 1:]), 1).long()


def _read(texts: Any, tokenizer: Codec) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """The first row, ids of some texts [B T], and where they are theirs."""
    found = [torch.tensor(tokenizer.encode(str(text)).ids, dtype=torch.long) for text in texts]
    for first in range(0, len(found), ROWS):
        some = found[first : first + ROWS]
        ids = nn.utils.rnn.pad_sequence([*some, torch.zeros(2, dtype=torch.long)], True)[:-1]
        lengths = torch.tensor([len(one) for one in some])[:, None]
        yield first, (ids, torch.arange(ids.shape[1]) < lengths)
