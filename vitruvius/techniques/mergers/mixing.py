"""What all mergers do: refuse strangers, order by score, average one model at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitruvius.contracts import Candidate, Measurement, Merged, Merger, Tensors

PARTS = ("start", "base", "design")  # of Lineage.family, in its order


def check_kin(merger: Merger, candidates: Sequence[Candidate]) -> None:
    """Raise ValueError where there is nothing to merge, or not all are of one lineage.

    No tensor is read for that.
    """
    name = type(merger).__name__
    if not candidates:
        raise ValueError(f"{name} needs at least one candidate; got none.")
    first = candidates[0].lineage.family
    for i, candidate in enumerate(candidates):
        other = candidate.lineage.family
        if not other[0] and len(candidates) > 1:
            raise ValueError(
                f"{name} mixes models that began with the same weights; of candidate {i} the start "
                "is not known. Give Lineage.initial the digest of the weights at its start."
            )
        for part, mine, theirs in zip(PARTS, first, other, strict=True):
            if mine != theirs:
                raise ValueError(
                    f"{name} mixes models of one lineage; candidate {i} has another {part} "
                    f"({theirs or 'none':.12}) than candidate 0 ({mine or 'none':.12}). "
                    "Group them by Lineage.family first."
                )


def check_alike(
    merger: Merger, first: Tensors, tensors: Tensors, number: int, against: int = 0
) -> None:
    """Raise ValueError where names, shapes or types are not those of the candidate ``against``."""
    for name in sorted({*first, *tensors}):
        one, other = first.get(name), tensors.get(name)
        if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
            raise ValueError(
                f"{type(merger).__name__} mixes tensors of equal names, shapes and types; "
                f"candidate {number} has {name!r} as {_told(other)}, and candidate {against} "
                f"as {_told(one)}. Give candidates of one network."
            )


def ordered(merger: Merger, candidates: Sequence[Candidate]) -> list[int]:
    """Positions by score, best first; of equals the first one given.

    Raises ValueError where the scores cannot be ranked against each other.
    """
    first = candidates[0].score
    for i, candidate in enumerate(candidates):
        score = candidate.score
        if score.better is None:
            raise ValueError(
                f"{type(merger).__name__} takes candidates by score; that of candidate {i} "
                f"({score.name}) ranks nothing. Give a Measurement with better='higher' or 'lower'."
            )
        if (score.name, score.better, score.comparable) != (
            first.name,
            first.better,
            first.comparable,
        ):
            raise ValueError(
                f"{type(merger).__name__} compares scores of one kind; candidate {i} has "
                f"{score.name} {score.comparable}, and candidate 0 {first.name} "
                f"{first.comparable}. Measure all alike.".replace(" ,", ",").replace(" .", ".")
            )
    return sorted(range(len(candidates)), key=lambda i: -upward(candidates[i].score))


def upward(score: Measurement) -> float:
    """The value, turned so that higher is better."""
    return float(-score.value if score.better == "lower" else score.value)


def alone(candidate: Candidate, at: int, of: int) -> Merged:
    """One candidate as it is, bit for bit."""
    return Merged(dict(candidate.tensors()), tuple(float(i == at) for i in range(of)))


def wide(tensor: Tensor) -> torch.dtype:
    """What a tensor is summed in: float32, or its own type where that is wider."""
    return torch.promote_types(tensor.dtype, torch.float32)


def averaged(tensor: Tensor) -> bool:
    """Whether it is averaged; whole numbers and truth values are copied from the first."""
    return tensor.is_floating_point() or tensor.is_complex()


class Mean:
    """The running mean of candidates' tensors: their sum, in float32, and how many it holds.

    Beside it there is one candidate at a time, so that the memory is that of two models.
    """

    def __init__(self, merger: Merger, tensors: Tensors, number: int = 0) -> None:
        self.merger, self.first, self.count = merger, number, 1
        self.sizes = {name: t.to("meta") for name, t in tensors.items()}
        self.sums = {
            name: t.detach().to(wide(t), copy=True) if averaged(t) else t.detach().clone()
            for name, t in tensors.items()
        }

    def add(self, tensors: Tensors, number: int) -> None:
        """One more, that of a candidate's number."""
        check_alike(self.merger, self.sizes, tensors, number, self.first)
        for name, tensor in tensors.items():
            if averaged(tensor):
                self.sums[name] += tensor.detach()
        self.count += 1

    def with_(self, tensors: Tensors, number: int) -> dict[str, Tensor]:
        """What the mean would be with one more: (n mean + theta) / (n + 1).

        Tensor by tensor takes the place of the candidate's.
        """
        check_alike(self.merger, self.sizes, tensors, number, self.first)
        found = dict(tensors)
        del tensors
        for name in self.sums:
            own = found.pop(name).detach()
            total = self.sums[name]
            found[name] = (
                ((total + own) / (self.count + 1)).to(own.dtype) if averaged(own) else total
            )
        return found

    def value(self) -> dict[str, Tensor]:
        """The mean, in the candidates' types. The sums are given up."""
        found = {}
        for name, size in self.sizes.items():
            total = self.sums.pop(name)
            found[name] = total.div_(self.count).to(size.dtype) if averaged(size) else total
        return found


def _told(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{list(tensor.shape)} {tensor.dtype}"
