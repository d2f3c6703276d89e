"""Train any entries of the model, as many as a budget says.

Source: Su et al. 2023, "Exploring the impact of model scaling on parameter-efficient tuning",
arXiv:2306.02320, section 3 (APET: arbitrary positions under a budget).
Differs from the paper: entries may also be the largest, or those with the largest gradient, as in
Sung, Nair & Raffel 2021, "Training neural networks with fixed sparse masks", arXiv:2111.09839.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from torch import nn

from vitruvius.contracts import Choose, Given, Model, Tensors
from vitruvius.space import hyper, one_of
from vitruvius.techniques.adapters.structure import candidates

RULES = ("uniform", "weight", "gradient")


@dataclass(frozen=True)
class RandomEntries(Choose):
    """w itself trains for ``budget`` entries w of all weights: exactly so many.

    "uniform" draws them, from the seed alone; "weight" takes the largest |w|; "gradient" the
    largest |d loss / d w| of some labelled batches, which must be given, under a trained head. What
    any method with as many numbers has to beat.
    """

    budget: int = hyper(2500, one_of(250, 2500, 25000, 250000), "numbers that train")
    by: str = hyper("uniform", one_of("uniform", "weight"), "how entries are chosen")
    seed: int = hyper(0, None, "decides which entries are drawn")
    batches: int = hyper(4, None, "batches whose gradients count, by 'gradient'")

    knob: ClassVar[str] = "budget"

    def check(self) -> None:
        for name in ("budget", "batches"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"RandomEntries.{name} must be at least 1; got {getattr(self, name)}. "
                    "To train the head alone, take LinearProbe."
                )
        if self.by not in RULES:
            raise ValueError(
                f"RandomEntries.by must be one of {', '.join(RULES)}; got {self.by!r}."
            )

    def choose(self, model: Model, given: Given) -> Tensors:
        parameters = candidates(model)
        sizes = [parameter.numel() for parameter in parameters.values()]
        budget = min(self.budget, sum(sizes))
        if self.by == "uniform":
            rng = torch.Generator().manual_seed(self.seed)
            places = torch.randperm(sum(sizes), generator=rng)[:budget]
        else:
            scores: Tensors = parameters
            if self.by == "gradient":
                scores = slopes(model, parameters, given, self.batches)
            every = torch.cat([score.detach().abs().flatten().cpu() for score in scores.values()])
            places = every.sort(descending=True, stable=True).indices[:budget]
        chosen = torch.zeros(sum(sizes), dtype=torch.bool)
        chosen[places] = True
        return {
            name: mask.view(parameter.shape).to(parameter.device)
            for (name, parameter), mask in zip(parameters.items(), chosen.split(sizes), strict=True)
            if bool(mask.any())
        }


def slopes(model: Model, parameters: Tensors, given: Given, batches: int) -> Tensors:
    """Gradients of the loss of the task, added over the first batches that are given.

    The modes are as they are, and no gradient stays behind.
    """
    if "batches" not in vars(given) or "task" not in vars(given) or "task" not in model.heads:
        raise ValueError(
            "RandomEntries by 'gradient' needs labelled batches, a task and its head. "
            "Take by='uniform' or by='weight'."
        )
    flags = [(parameter, parameter.requires_grad) for parameter in parameters.values()]
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for parameter, _ in flags:
        parameter.requires_grad_(True)
    with torch.enable_grad():
        for batch in islice(given.batches(), batches):
            answer = model.heads["task"](model.bodies["input"](batch.streams["input"]), batch)
            label = batch.fields["label"]
            measure = nn.functional.cross_entropy if given.task.labels else nn.functional.mse_loss
            found = torch.autograd.grad(
                measure(answer, label), list(parameters.values()), allow_unused=True
            )
            for name, slope in zip(parameters, found, strict=True):
                if slope is not None:
                    total[name] += slope
    for parameter, flag in flags:
        parameter.requires_grad_(flag)
    return total
