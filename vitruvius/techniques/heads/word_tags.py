"""A class for each word, from its first piece.

Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, section 5.3 (named entities: the first piece
of a word stands for it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Given, Head, Model, Predictions, Task
from vitruvius.space import hyper, uniform

OUTSIDE = "O"


@dataclass(frozen=True)
class WordTags(Head):
    """W dropout(hidden) + b at each piece; the first piece of a word answers for it.

    (d + 1) classes parameters. Batches hold ``layout.words`` (the word of each piece, from 0 in
    each row) and, where known, the fields "label" [B W] (of word w in column w) and "words" [B]
    (how many a row has). Predictions are of words, with the row of each in ``rows``. A word that
    was cut off its row is said to be "O".
    """

    dropout: float = hyper(0.1, uniform(0.0, 0.5), "share of the features set to zero in training")

    def check(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"WordTags.dropout must be at least 0 and below 1; got {self.dropout}."
            )

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        if hidden.dim() != 3 or not task.labels:
            what = f"hidden {list(hidden.shape)}" if task.labels else "a task without classes"
            raise ValueError(
                f"WordTags needs hidden [B, T, d] and a task with classes; got {what}. "
                "For one answer an item, take PooledReadout()."
            )
        return TagAnswer(nn.Dropout(self.dropout), nn.Linear(hidden.shape[-1], len(task.labels)))

    def predict(self, model: Model, batch: Batch, given: Given) -> Predictions:
        """Probabilities [words classes], in the order of rows and words."""
        stream = batch.streams["input"]
        first = stream.layout.first_pieces
        words: Any = stream.layout.words
        logits = model.heads["task"](model.bodies["input"](stream), batch).float()
        row, piece = first.nonzero(as_tuple=True)
        number = words[row, piece]
        here = torch.zeros(len(words), dtype=torch.long, device=words.device)
        here.index_put_((row,), torch.ones_like(row), accumulate=True)
        counts = batch.fields.get("words", here)
        starts = counts.cumsum(0) - counts
        values = logits.new_zeros(int(counts.sum()), logits.shape[-1])
        labels = given.task.labels
        values[:, labels.index(OUTSIDE) if OUTSIDE in labels else 0] = 1
        values[starts[row] + number] = logits[row, piece].softmax(-1)
        within = torch.arange(len(values), device=words.device)
        owner = torch.repeat_interleave(torch.arange(len(words), device=words.device), counts)
        label = batch.fields.get("label")
        targets = None if label is None else label[owner, within - starts[owner]]
        return Predictions(values, targets, batch.rows.to(words.device)[owner])


class TagAnswer(nn.Module):
    """Logits [B T classes] of all pieces."""

    def __init__(self, dropout: nn.Module, linear: nn.Module) -> None:
        super().__init__()
        self.dropout, self.linear = dropout, linear

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        return self.linear(self.dropout(outputs.hidden))
