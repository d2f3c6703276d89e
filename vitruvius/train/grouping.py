"""Which parameters are treated alike, and how they follow the width of a network.

Widths after Yang & Hu et al. 2022, "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
Hyperparameter Transfer", arXiv:2203.03466, table 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from vitruvius.contracts import Group, Kind

DECAYING = ("matrix", "embedding", "head", "kernel")


@dataclass(frozen=True)
class Widths:
    """How much wider a network is than the one that its learning rate was tuned on."""

    ratios: Mapping[str, float] = field(default_factory=dict)
    """Of matrices and kernels, by name: fan-in over that in the base."""
    outputs: tuple[str, ...] = ()
    """Those whose fan-out is that of the base while their fan-in is not."""

    def under(self, name: str) -> Widths:
        """The same where the network is a part of that name."""
        return Widths(
            {f"{name}.{n}": ratio for n, ratio in self.ratios.items()},
            tuple(f"{name}.{n}" for n in self.outputs),
        )


def group_parameters(module: nn.Module, widths: Widths | None = None) -> Sequence[Group]:
    """Parameters by kind: only matrices, embeddings, heads and kernels decay.

    A module may say otherwise of its own parameters in class facts ``parameter_kinds`` (name to
    kind), ``rates`` (name to factor) and ``decays`` (name to bool).
    """
    ratios = {} if widths is None else widths.ratios
    found: dict[tuple[Kind, float, float, bool], list[tuple[str, nn.Parameter]]] = {}
    for path, part, name, kind, parameter in _parameters(module):
        if not parameter.requires_grad:
            continue
        rate = getattr(part, "rates", {}).get(name, 1.0)
        decay = getattr(part, "decays", {}).get(name, kind in DECAYING)
        group = found.setdefault((kind, rate, ratios.get(path, 1.0), decay), [])
        group.append((path, parameter))
    return [
        Group(tuple(n for n, _ in group), tuple(p for _, p in group), kind, rate, ratio, decay)
        for (kind, rate, ratio, decay), group in found.items()
    ]


def widths_over(network: nn.Module, base: nn.Module) -> Widths:
    """How a network compares with one of the same parts that is narrower, or wider.

    Only shapes are read: both may be on meta. The first axis of a weight is its fan-out.
    """
    before = {path: tuple(p.shape) for path, _, _, _, p in _parameters(base)}
    ratios: dict[str, float] = {}
    outputs: list[str] = []
    for path, _, _, kind, parameter in _parameters(network):
        shape, old = tuple(parameter.shape), before.pop(path, None)
        if old is None or len(old) != len(shape):
            raise ValueError(
                f"the base has no {path} of {len(shape)} axes, and the network has. "
                "Give a base of the same parts that differs in widths alone."
            )
        if kind not in ("matrix", "head", "kernel") or len(shape) < 2:
            continue
        ratio = torch.Size(shape[1:]).numel() / torch.Size(old[1:]).numel()
        if ratio != 1:
            ratios[path] = ratio
            if shape[0] == old[0]:
                outputs.append(path)
    if before:
        raise ValueError(
            f"the base has {next(iter(before))}, and the network has not. "
            "Give a base of the same parts that differs in widths alone."
        )
    return Widths(ratios, tuple(outputs))


@torch.no_grad()
def shrink_outputs(network: nn.Module, widths: Widths) -> None:
    """Divide fresh output weights by sqrt(width ratio), beyond what their fan-in did.

    So the answers of a wide network begin as small as muP has them.
    """
    for path in widths.outputs:
        network.get_parameter(path).div_(widths.ratios[path] ** 0.5)


def _parameters(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, Kind, nn.Parameter]]:
    """Each parameter once: its path, its module, its name there, its kind, itself."""
    seen: set[int] = set()
    for path, part in module.named_modules():
        kinds = getattr(part, "parameter_kinds", {})
        for name, parameter in part.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            kind = kinds.get(name) or _kind(part, name, parameter)
            yield f"{path}.{name}" if path else name, part, name, kind, parameter


def _kind(part: nn.Module, name: str, parameter: nn.Parameter) -> Kind:
    if name == "bias":
        return "bias"
    if isinstance(part, nn.Embedding):
        return "embedding"
    if parameter.ndim < 2:
        return "norm"
    return "kernel" if parameter.ndim > 2 else "matrix"
