"""Models as what a merger reads and writes: tensors by name, a judge, answers with gradient.

Names are those of ``base_parameters`` for bodies ("input.network.norm.weight": stream, then path),
with buffers beside, and "heads.task.weight" for heads; what is shared has one name.

Source: Wortsman et al. 2022, arXiv:2203.05482 (``functional_call`` for learned soups is what the
authors recommend in their code); statistics of batches as Izmailov et al. 2018, "Averaging
Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407, section 3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitruvius.contracts import (
    Adapted,
    Batch,
    Candidate,
    Lineage,
    Measurement,
    Model,
    Task,
    Tensors,
)
from vitruvius.space import Node, to_json
from vitruvius.train.checkpoint import digest_of

HEADS = "heads"


def tensors_of(model: Model) -> dict[str, Tensor]:
    """Parameters and buffers of bodies and heads, each once; the model's own, not copies."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for place, module in _modules(model).items():
        for path, tensor in [*module.named_parameters(), *_kept_buffers(module)]:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                found[f"{place}.{path}"] = tensor.detach()
    return found


def start_of(model: Model) -> str:
    """Digest of all weights of a model: of one that is about to be trained ``Lineage.initial``."""
    return digest_of(tensors_of(model))


def design_of(model: Model, *nodes: Node) -> str:
    """Digest of what a model is built of, whatever its weights: names, sizes and types of tensors,
    classes of modules, designs, and further nodes: ``Lineage.design``."""
    told = {
        "tensors": [[n, list(t.shape), str(t.dtype)] for n, t in tensors_of(model).items()],
        "modules": [
            f"{place}.{path} {type(part).__name__}"
            for place, module in _modules(model).items()
            for path, part in module.named_modules()
        ],
        "designs": {name: to_json(design) for name, design in model.designs.items()},
        "nodes": [to_json(node) for node in nodes],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def put(model: Model, tensors: Tensors) -> None:
    """Write tensors into a model, in place. Raises ValueError, with nothing written, where names,
    shapes or types are not the model's."""
    own = tensors_of(model)
    for name in sorted({*own, *tensors}):
        one, other = own.get(name), tensors.get(name)
        if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
            said = ["nothing" if t is None else f"{list(t.shape)} {t.dtype}" for t in (one, other)]
            raise ValueError(
                f"These tensors are not of this model: it has {name!r} as {said[0]}, and was given "
                f"{said[1]}. Give what was merged from models of its design."
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def of_model(model: Model, score: Measurement, trained: bool = True) -> Candidate:
    """A whole model as a candidate: weights, buffers and heads, read when they are asked for.

    Where adapters were merged into it, averaging it averages their products. Of edits that are
    still attached it would average the factors: take ``of_adapted``.
    """
    return Candidate(lambda: tensors_of(model), score, model.lineage, trained)


def of_adapted(adapted: Adapted, score: Measurement, base: Tensors | None = None) -> Candidate:
    """A model with edits as a candidate, as it is now: of its deltas alone, by name of the base's
    parameter; with ``base`` (those parameters, as they were) of base + delta, all of them.

    What is averaged are the products, such as B A of a low-rank update: the mean of two of rank r
    has rank 2 r, and is not the product of mean factors. Deltas alone can be merged where the
    candidates edit the same parameters. Heads are no edits and are left out: call ``merge`` and
    take ``of_model``.
    """
    deltas = {name: t.detach().clone() for name, t in adapted.deltas().items()}
    saved = adapted.save()[1]
    start = saved.base or ""
    lineage = Lineage(start, start, saved.design, saved.data, saved.stages)
    if base is None:
        return Candidate(lambda: deltas, score, lineage)
    unknown = sorted(deltas.keys() - base.keys())
    if unknown:
        raise ValueError(
            f"The base must hold every parameter that is edited; it has no {unknown[0]!r}. "
            "Give base_parameters(model) of the model before the adapter was attached."
        )

    def whole() -> Tensors:
        with torch.no_grad():
            return {n: t + deltas[n] if n in deltas else t.detach() for n, t in base.items()}

    return Candidate(whole, score, lineage)


def judge_of(
    model: Model, measure: Callable[[Model], Measurement], batches: Iterable[Batch] | None = None
) -> Callable[[Tensors], Measurement]:
    """``Given.judge``: puts tensors into the model and measures it.

    Where a network has statistics of batches, and ``batches`` of the training part are given, they
    are taken anew from those, which are iterated each time.
    """

    def judge(tensors: Tensors) -> Measurement:
        put(model, tensors)
        if batches is not None:
            restate(model, batches)
        return measure(model)

    return judge


def answers_of(model: Model, task: Task) -> Callable[[Tensors, Batch], Tensor]:
    """``Given.answers``: what the head "task" says of each item, with tensors in the model's place;
    the model itself is not changed."""
    whole = _Whole(model, task).eval()
    device = next(whole.parameters()).device

    def answers(tensors: Tensors, batch: Batch) -> Tensor:
        named = {f"parts.{name}": tensor.to(device) for name, tensor in tensors.items()}
        return torch.func.functional_call(whole, named, (batch,))

    return answers


def restate(model: Model, batches: Iterable[Batch]) -> None:
    """Take the statistics of batches anew, as means over these; a model without any is left alone.

    Averaged weights need that: the mean of two networks' statistics is not that of their mean.
    """
    modules = list(_modules(model).values())
    norms = [p for m in modules for p in m.modules() if isinstance(p, _BatchNorm)]
    norms = [norm for norm in dict.fromkeys(norms) if norm.running_mean is not None]
    if not norms:
        return
    before = [(norm.training, norm.momentum) for norm in norms]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for part, _ in modes:
        part.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean over all batches, each counted alike
    try:
        with torch.no_grad():
            for batch in batches:
                for stream, body in model.bodies.items():
                    if stream in batch.streams:
                        body(batch.streams[stream])
    finally:
        for part, training in modes:
            part.training = training
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum


class _Whole(nn.Module):
    """Bodies and heads in one module, so that ``functional_call`` reaches all of them."""

    def __init__(self, model: Model, task: Task) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(model.bodies))
        self.parts[HEADS] = nn.ModuleDict(dict(model.heads))
        self.pair = task.level == "pair"

    def forward(self, batch: Batch) -> Tensor:
        parts, streams = self.parts, batch.streams
        head = parts.get_submodule(f"{HEADS}.task")
        outputs = parts["input"](streams["input"])
        if self.pair and "text" in streams:
            other = parts["text" if "text" in parts else "input"](streams["text"])
            return head(outputs, batch, other)
        return head(outputs, batch)


def _modules(model: Model) -> dict[str, nn.Module]:
    return {**model.bodies, **{f"{HEADS}.{name}": head for name, head in model.heads.items()}}


def _kept_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Those that belong to the state: tables that are computed are left out."""
    kept = module.state_dict(keep_vars=True)
    return [(name, buffer) for name, buffer in module.named_buffers() if name in kept]
