"""Learn the shares of the candidates on the validation part, by gradient.

Source: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", arXiv:2203.05482, appendix ("Learned soup");
steps, start and rate are those of the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts import Batch, Candidate, Given, Merged, Merger, Tensors
from vitruvius.space import hyper, integers, log_uniform, one_of
from vitruvius.techniques.mergers.mixing import alone, averaged, check_alike, check_kin, wide


@dataclass(frozen=True)
class LearnedSoup(Merger):
    """theta = sum_i softmax(alpha)_i theta_i, with alpha and a temperature beta that minimise the
    cross-entropy of beta f(x; theta) on the validation part, in nats.

    alpha is of the model [k], or of each tensor [tensors k]; it starts equal, so that without a
    step this is the uniform soup. Of answers that are numbers the squared error is minimised,
    without beta. All candidates are in memory at once, in float32, and the validation part is
    learned from: its score flatters. Where alpha is of each tensor, the share that is told of a
    candidate is the mean over tensors, each by its size.
    """

    by_tensor: bool = hyper(
        True, one_of(True, False), "whether each tensor has shares of its own, or the whole model"
    )
    temperature: bool = hyper(
        True, one_of(True, False), "whether the factor beta of the logits is learned"
    )
    learning_rate: float = hyper(0.05, log_uniform(1e-3, 1e-1), "step of AdamW, without decay")
    epochs: int = hyper(5, integers(1, 10), "passes over the validation part")
    needs: ClassVar[tuple[str, ...]] = ("answers", "batches")

    def check(self) -> None:
        if self.epochs < 0 or self.learning_rate <= 0:
            raise ValueError(
                "LearnedSoup needs a rate above 0 and no negative number of epochs; "
                f"got learning_rate={self.learning_rate}, epochs={self.epochs}."
            )

    def merge(self, candidates: Sequence[Candidate], given: Given) -> Merged:
        check_kin(self, candidates)
        if len(candidates) == 1:
            return alone(candidates[0], 0, 1)
        first, stacked = self._stacked(candidates)
        rows = len(stacked) if self.by_tensor else 1
        device = next(iter(stacked.values())).device
        alpha = torch.full((rows, len(candidates)), 1 / len(candidates), device=device)
        beta = torch.ones((), device=device)
        learning = [alpha, beta] if self.temperature else [alpha]
        for tensor in learning:
            tensor.requires_grad_(True)
        optimizer = torch.optim.AdamW(learning, lr=self.learning_rate, weight_decay=0.0)
        with torch.enable_grad():
            for _ in range(self.epochs):
                for batch in given.batches():
                    optimizer.zero_grad()
                    mixture = mixed(first, stacked, alpha)
                    fit(given.answers(mixture, batch), batch, beta).backward()
                    optimizer.step()
        with torch.no_grad():
            tensors = mixed(first, stacked, alpha.detach())
            sizes = [one[0].numel() for one in stacked.values()] if self.by_tensor else [1]
            weights = torch.tensor(sizes, dtype=torch.float64, device=device)
            shares = alpha.double().softmax(1).mul(weights[:, None]).sum(0) / weights.sum()
        return Merged({n: t.detach() for n, t in tensors.items()}, tuple(shares.tolist()))

    def _stacked(self, candidates: Sequence[Candidate]) -> tuple[Tensors, dict[str, Tensor]]:
        """The first candidate, and of all those tensors [k ...] that are averaged."""
        first = candidates[0].tensors()
        stacked = {
            name: t.new_empty((len(candidates), *t.shape), dtype=wide(t))
            for name, t in first.items()
            if averaged(t)
        }
        if not stacked:
            raise ValueError(
                "LearnedSoup needs tensors that can be averaged; the candidates have none."
            )
        for number, candidate in enumerate(candidates):
            tensors = candidate.tensors()
            check_alike(self, first, tensors, number)
            for name, all_ in stacked.items():
                all_[number] = tensors[name].detach()
        return {name: t.detach() for name, t in first.items()}, stacked


def mixed(first: Tensors, stacked: Tensors, alpha: Tensor) -> dict[str, Tensor]:
    """sum_i softmax(alpha)_i theta_i, in the first one's types; alpha is [1 k] or [tensors k]."""
    shares = alpha.softmax(1)
    found = {name: t.clone() for name, t in first.items() if name not in stacked}
    for i, (name, theta) in enumerate(stacked.items()):
        share = shares[i if len(shares) > 1 else 0].to(theta.dtype)
        found[name] = torch.tensordot(share, theta, dims=1).to(first[name].dtype)
    return {name: found[name] for name in first}


def fit(answer: Tensor, batch: Batch, beta: Tensor) -> Tensor:
    """The loss: mean cross-entropy of beta times the logits [B C], or the squared error [B ...]."""
    label = batch.fields.get("label")
    if label is not None and label.is_floating_point() and label.shape == answer.shape:
        return nn.functional.mse_loss(answer.float(), label.float())
    if (
        label is None
        or label.is_floating_point()
        or (answer.dim(), label.dim()) != (2, 1)
        or len(answer) != len(label)
    ):
        told = "none" if label is None else f"{list(label.shape)} {label.dtype}"
        raise ValueError(
            "LearnedSoup learns from logits [B, C] with labels [B], or numbers of equal shape; got "
            f"{list(answer.shape)} and {told}. Take GreedySoup, which needs scores alone."
        )
    return nn.functional.cross_entropy(beta * answer.float(), label)
