"""An answer from how the tokens of an item are distributed: their mean and second moments.

Source: Gao et al. 2023, "Tuning Pre-trained Model via Moment Probing", arXiv:2307.11342, sections
3.1 and 3.2 (multi-head convolutional cross-covariance).
Differs from the paper: heads are 32 wide by default, where theirs are 128, and moments may be taken
around the mean; padding is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from vitruvius.contracts import Task
from vitruvius.space import hyper, one_of
from vitruvius.techniques.heads.item import ItemHead, Rescale
from vitruvius.techniques.heads.pooling import Pool, present_of, width_of

FIRSTS = ("cls", "mean", "none")
PAIRINGS = ("near", "half", "all", "self")
NORMS = ("column", "frobenius", "root", "none")
DOWNS = ("conv2", "conv1", "pool", "none")
FUSES = ("mean", "learned", "concat")
KERNEL, STRIDE = 3, 2


@dataclass(frozen=True)
class Moments(ItemHead):
    """(W1 h + W2 s) / 2: h is the first token or the mean, s what is made of the second moments.

    Tokens are mapped to h heads of width e and normed there; of pairs of heads i and j the matrices
    Z_i' Z_j / N [e e] are normed and made smaller by two convolutions of 3 x 3, stride 2, with GELU
    between. Where h is the first token, the moments are those of the others.

    For P pairs, hidden width d and C classes (d + 1) h e + 2 e + 18 P^2 + (d + 1) C + (n + 1) C
    parameters, with n = P ((e - 7) / 4 + 1)^2, rounded down.
    """

    heads: int = hyper(4, one_of(2, 4, 8), "into how many parts a token is mapped")
    head_width: int = hyper(32, one_of(8, 16, 32, 64, 128), "width e of each")
    first: str = hyper("cls", one_of(*FIRSTS), "first moment: first token, mean, or none")
    pairing: str = hyper("near", one_of(*PAIRINGS), "i and i + 1, i + h / 2, all, or i itself")
    centred: bool = hyper(False, one_of(False, True), "moments around the mean of each feature")
    norm: str = hyper("column", one_of(*NORMS), "of matrices: columns, all, signed root, none")
    down: str = hyper("conv2", one_of(*DOWNS), "two or one convolutions, a mean of 2 x 2, none")
    fuse: str = hyper("mean", one_of(*FUSES), "how the two answers become one")

    def check(self) -> None:
        for field, there in (
            ("first", FIRSTS),
            ("pairing", PAIRINGS),
            ("norm", NORMS),
            ("down", DOWNS),
            ("fuse", FUSES),
        ):
            if (found := getattr(self, field)) not in there:
                raise ValueError(
                    f"Moments.{field} must be one of {', '.join(there)}; got {found!r}."
                )
        if self.heads < 2 or (self.pairing == "half" and self.heads % 2):
            raise ValueError(
                f"Moments.heads must be at least 2, and even to pair halves; got {self.heads}."
            )
        if smaller(self.head_width, self.down) < 1:
            raise ValueError(
                f"Moments.head_width must leave something after {self.down!r}; got "
                f"{self.head_width}. Take 7 or more, or less of it."
            )

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        answers = len(task.labels) or 1
        width, both = width_of(self, hidden), pairs(self.heads, self.pairing)
        features = len(both) * smaller(self.head_width, self.down) ** 2
        second = SecondMoments(
            nn.Linear(width, self.heads * self.head_width),
            nn.LayerNorm(self.head_width),
            both,
            self.centred,
            self.norm,
            _down(len(both), self.down),
        )
        first = None if self.first == "none" else Pool(self.first)
        joint = first is None or self.fuse == "concat"
        linear = nn.Linear(features + (0 if first is None else width), answers) if joint else None
        one = None if joint else nn.Linear(width, answers)
        two = None if joint else nn.Linear(features, answers)
        share = Share() if self.fuse == "learned" and not joint else None
        rescale = None if task.labels else Rescale()
        return MomentsAnswer(first, second, linear, one, two, share, rescale)


def pairs(heads: int, pairing: str) -> tuple[tuple[int, int], ...]:
    """Which heads' moments are taken together."""
    if pairing == "self":
        return tuple((i, i) for i in range(heads))
    if pairing == "all":
        return tuple(combinations(range(heads), 2))
    step = 1 if pairing == "near" else heads // 2
    return tuple((i, i + step) for i in range(heads - step))


def smaller(side: int, down: str) -> int:
    """Rows of a matrix after it was made smaller; 0 or less where nothing is left."""
    if down == "pool":
        return side // 2
    for _ in range({"conv2": 2, "conv1": 1, "none": 0}[down]):
        side = (side - KERNEL) // STRIDE + 1
    return side


def second_moments(
    z: Float[Tensor, "B T h e"],
    present: Bool[Tensor, "B T"],
    both: tuple[tuple[int, int], ...],
    centred: bool,
) -> Float[Tensor, "B P e e"]:
    """Z_i' Z_j / N over the N tokens that are there, in float32."""
    weight = present.to(torch.float32)[..., None, None]
    count = weight.sum(1, keepdim=True).clamp(min=1)
    z = z.float()
    if centred:
        z = z - (z * weight).sum(1, keepdim=True) / count
    z = z * weight
    one = z[:, :, [i for i, _ in both]].permute(0, 2, 3, 1)
    two = z[:, :, [j for _, j in both]].permute(0, 2, 1, 3)
    return one @ two / count.squeeze(1).unsqueeze(1)


class SecondMoments(nn.Module):
    """Features [B n] of tokens [B T d]."""

    def __init__(
        self,
        project: nn.Module,
        each: nn.Module,
        both: tuple[tuple[int, int], ...],
        centred: bool,
        norm: str,
        down: nn.Module,
    ) -> None:
        super().__init__()
        self.project, self.each, self.down = project, each, down
        self.both, self.centred, self.norm = both, centred, norm

    def forward(self, hidden: Tensor, present: Tensor) -> Tensor:
        width: Any = self.each
        z = self.each(self.project(hidden).unflatten(-1, (-1, width.normalized_shape[0])))
        made = second_moments(z, present, self.both, self.centred)
        if self.norm == "column":
            made = functional.normalize(made, dim=-2)
        elif self.norm == "frobenius":
            made = functional.normalize(made.flatten(2), dim=-1).view_as(made)
        elif self.norm == "root":
            made = made.sign() * (made.abs() + 1e-6).sqrt()
        return self.down(made).flatten(1)


class Share(nn.Module):
    """s one + (1 - s) two, with s = sigmoid of a number that trains from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.logit)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        share = self.logit.sigmoid()
        return share * one + (1 - share) * two


class MomentsAnswer(nn.Module):
    """Answers of the first and of the second moments as one; numbers in the unit of the target."""

    def __init__(
        self,
        first: nn.Module | None,
        second: nn.Module,
        linear: nn.Module | None,
        one: nn.Module | None,
        two: nn.Module | None,
        share: nn.Module | None,
        rescale: nn.Module | None,
    ) -> None:
        super().__init__()
        self.first, self.second, self.linear = first, second, linear
        self.one, self.two, self.share, self.rescale = one, two, share, rescale

    def answer(self, hidden: Tensor, present: Tensor | None = None) -> Tensor:
        """``present`` [B T] is False at padding."""
        if hidden.dim() != 3:
            hidden = hidden.flatten(2).mT if hidden.dim() > 3 else hidden.unsqueeze(1)
        if present is None:
            present = torch.ones_like(hidden[..., 0], dtype=torch.bool)
        answer = self._joined(hidden, present)
        return answer if self.rescale is None else self.rescale(answer.squeeze(-1))

    def _joined(self, hidden: Tensor, present: Tensor) -> Tensor:
        pool: Any = self.first
        others = present
        if pool is not None and pool.kind == "cls" and hidden.shape[1] > 1:
            others = present & (present.cumsum(1) > 1)
        second = self.second(hidden, others).to(hidden.dtype)
        first = None if pool is None else pool(hidden, present)
        if self.linear is not None:
            return self.linear(second if first is None else torch.cat((first, second), 1))
        assert self.one is not None and self.two is not None
        one, two = self.one(first), self.two(second)
        return (one + two) / 2 if self.share is None else self.share(one, two)

    def forward(self, outputs: Any, batch: Any = None) -> Tensor:
        return self.answer(outputs.hidden, present_of(outputs.hidden, batch))


def _down(channels: int, down: str) -> nn.Module:
    """What makes the matrices smaller, one channel for each pair."""
    if down == "none":
        return nn.Identity()
    if down == "pool":
        return nn.AvgPool2d(2)

    def conv() -> nn.Module:
        return nn.Conv2d(channels, channels, KERNEL, STRIDE, bias=False)

    return conv() if down == "conv1" else nn.Sequential(conv(), nn.GELU(), conv())
