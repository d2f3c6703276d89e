"""An answer from one vector of a text: what is put on a pretrained encoder.

Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, sections 3.2 and 4.1; pooling by the mean from
Reimers & Gurevych 2019, "Sentence-BERT", arXiv:1908.10084, section 3.
Differs from the paper: the layer before the answer is new, not the one of next-sentence training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vitruvius.contracts import Task
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.heads.item import ItemHead, Rescale
from vitruvius.techniques.heads.pooling import Pool, check_pool, present_of, width_of


@dataclass(frozen=True)
class PooledReadout(ItemHead):
    """W dropout(h) + b, with h the pooled hidden state, or tanh(V h + c) of it where ``dense``.

    For classes and numbers of a text, or of a pair of texts in one row. (d + 1) classes parameters,
    d (d + 1) more with ``dense``.
    """

    pool: str = hyper("cls", one_of("cls", "mean", "last"), "first token, mean, or last token")
    dense: bool = hyper(True, one_of(False, True), "a layer with tanh before the answer")
    dropout: float = hyper(0.1, uniform(0.0, 0.5), "share of the features set to zero in training")

    def check(self) -> None:
        check_pool(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"PooledReadout.dropout must be at least 0 and below 1; got {self.dropout}."
            )

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        width = width_of(self, hidden)
        dense = nn.Linear(width, width) if self.dense else None
        linear = nn.Linear(width, len(task.labels) or 1)
        rescale = None if task.labels else Rescale()
        return PooledAnswer(Pool(self.pool), dense, nn.Dropout(self.dropout), linear, rescale)


class PooledAnswer(nn.Module):
    """Pool, perhaps a layer with tanh, dropout, linear; numbers in the unit of the target."""

    def __init__(
        self,
        pool: nn.Module,
        dense: nn.Module | None,
        dropout: nn.Module,
        linear: nn.Module,
        rescale: nn.Module | None,
    ) -> None:
        super().__init__()
        self.pool, self.dense, self.dropout = pool, dense, dropout
        self.linear, self.rescale = linear, rescale

    def answer(self, hidden: Tensor, present: Tensor | None = None) -> Tensor:
        """``present`` [B T] is False at padding."""
        pooled = self.pool(hidden, present)
        if self.dense is not None:
            pooled = self.dense(pooled).tanh()
        answer = self.linear(self.dropout(pooled))
        return answer if self.rescale is None else self.rescale(answer.squeeze(-1))

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        return self.answer(outputs.hidden, present_of(outputs.hidden, batch))
