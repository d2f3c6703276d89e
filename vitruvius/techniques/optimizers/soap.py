"""Adam in the slowly turning eigenbasis of each matrix's gradient covariances.

Source: Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam", arXiv:2409.11321,
algorithm 3; details as in the authors' code (nikhilvyas/SOAP).
Differs from the paper: axes of length 1 have no basis; state is kept in float32 at least, whatever
the type of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitruvius.contracts import Group, Optimizer
from vitruvius.space import hyper, log_uniform, one_of
from vitruvius.techniques.optimizers.parameter_groups import (
    need_not_negative,
    need_share,
    parameter_groups,
)

TINY = 1e-30


@dataclass(frozen=True)
class SOAP(Optimizer):
    """G' = L' G R; m, v: Adam's means of G' and G'^2; w -= rate (L (m / (sqrt(v) + epsilon)) R').

    L and R are eigenvectors of the running means of G G' and G' G, one pair for each matrix and one
    for each axis of a kernel, renewed every ``refresh`` steps by one power iteration and QR. The
    first step of a parameter only begins its bases and moves nothing. Weights decay afterwards.
    Keeps 2 (mn + m^2 + n^2) numbers for a matrix m by n, and needs some 6 mn (m + n) FLOPs more in
    a step than AdamW. Rates are divided by sqrt(width ratio): with Adam's power of 1 activations
    changed ever less in wider networks (measured, tests/train/test_grouping.py).
    """

    learning_rate: float = hyper(3e-3, log_uniform(3e-4, 3e-2), "step, in units of the weights")
    weight_decay: float = hyper(0.01, log_uniform(1e-5, 1e-1), "share lost per unit of rate")
    beta1: float = hyper(0.95, one_of(0.9, 0.95), "memory of the gradient")
    beta2: float = hyper(0.95, one_of(0.9, 0.95, 0.99), "memory of its square")
    factor_beta: float | None = hyper(None, doc="memory of the covariances; None: beta2")
    refresh: int = hyper(10, one_of(1, 5, 10, 25, 50, 100), "steps between two bases")
    largest_side: int = hyper(
        10_000, one_of(256, 1024, 4096, 10_000), "a longer axis has no basis and is not turned"
    )
    one_sided: bool = hyper(False, one_of(False, True), "turn the shortest axis alone")
    vectors: bool = hyper(False, one_of(False, True), "turn biases and norms too; else Adam")
    merge_axes: bool = hyper(False, doc="see neighbouring axes as one, up to the largest side")
    factored: bool = hyper(False, doc="v from its row and column means alone, as in Adafactor")
    normalize: bool = hyper(False, doc="steps of root mean square 1; helps where refresh >= 100")
    correct_bias: bool = hyper(True, doc="divide means by what their weights sum to")
    epsilon: float = hyper(1e-8, doc="added to the square root")

    def check(self) -> None:
        need_not_negative(
            self,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            epsilon=self.epsilon,
        )
        need_share(self, beta1=self.beta1, beta2=self.beta2)
        if self.factor_beta is not None:
            need_share(self, factor_beta=self.factor_beta)
        for name, number in (("refresh", self.refresh), ("largest_side", self.largest_side)):
            if number < 1:
                raise ValueError(f"SOAP.{name} must be at least 1; got {number}.")

    def build(self, groups: Sequence[Group]) -> torch.optim.Optimizer:
        for group in groups:
            for name, parameter in zip(group.names, group.parameters, strict=True):
                if not parameter.is_floating_point():
                    raise ValueError(
                        f"SOAP needs real parameters; {name} is {parameter.dtype}. Take AdamW."
                    )
        return _Turned(self, parameter_groups(groups, self.learning_rate, self.weight_decay, 0.5))


def seen_shape(shape: torch.Size, how: SOAP) -> tuple[int, ...]:
    """The shape that a parameter's gradient is looked at in."""
    if not how.merge_axes or len(shape) < 2:
        return tuple(shape)
    merged: list[int] = []
    length = 1
    for size in shape:
        if length * size <= how.largest_side:
            length *= size
            continue
        if length > 1:
            merged.append(length)
            length = size
        else:
            merged.append(size)
    return (*merged, length) if length > 1 or not merged else tuple(merged)


def turned_axes(shape: torch.Size, how: SOAP) -> tuple[int, ...]:
    """Axes of the seen shape that have a basis."""
    seen = seen_shape(shape, how)
    if len(shape) < 2 and not how.vectors:
        return ()
    axes = tuple(i for i, size in enumerate(seen) if 1 < size <= how.largest_side)
    return (min(axes, key=lambda i: seen[i]),) if how.one_sided and axes else axes


def turned(x: Tensor, bases: Sequence[Tensor | None], back: bool = False) -> Tensor:
    """x in other bases, one for each axis, columns being its vectors; None leaves an axis."""
    for basis in bases:
        # each axis goes from first to last, so after all of them the order is as before
        x = x.movedim(0, -1)
        if basis is not None:
            x = x @ (basis.T if back else basis)
    return x


def covariance(x: Tensor, axis: int) -> Float[Tensor, "n n"]:
    """Products of x with itself along an axis, summed over all others: G G' for axis 0."""
    rows = x.movedim(axis, 0).flatten(1) if x.ndim > 1 else x[:, None]
    return rows @ rows.T


def eigenvectors(covariances: Float[Tensor, "k n n"]) -> Float[Tensor, "k n n"]:
    """Columns by falling eigenvalue; the unit matrix where no eigenvectors are found."""
    tiny = TINY * torch.eye(covariances.shape[-1], device=covariances.device)
    for dtype in (covariances.dtype, torch.float64):
        try:
            found = torch.linalg.eigh(covariances.to(dtype) + tiny.to(dtype)).eigenvectors
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            continue
        return found.flip(-1).to(covariances.dtype)
    if len(covariances) > 1:
        return torch.cat([eigenvectors(one) for one in covariances.split(1)])
    return torch.eye(*covariances.shape[1:]).to(covariances)[None]


def renewed(
    covariances: Float[Tensor, "k n n"], bases: Float[Tensor, "k n n"]
) -> tuple[Float[Tensor, "k n n"], Int[Tensor, "k n"]]:
    """Bases after one power iteration, and the order that their columns were sorted in before."""
    products = covariances @ bases
    order = torch.sort((bases * products).sum(-2), descending=True, stable=True).indices
    products = products.gather(-1, order[:, None, :].expand_as(products))
    return torch.linalg.qr(products).Q, order


def from_means(rows: Tensor, columns: Tensor) -> Tensor:
    """The matrix of rank 1 with these means of its rows [... m 1] and columns [... 1 n]."""
    return rows * columns / rows.mean(-2, keepdim=True).clamp_min(TINY)


class _Turned(torch.optim.Optimizer):
    """The running part of SOAP. A parameter's state lies in float32 or float64:

    "mean" and "square" (or "square.rows" and "square.columns") in its bases, "factor.i" and
    "basis.i" for each turned axis i, "step" as a plain number. No step waits for the device but the
    first, where eigenvectors may be refused.
    """

    def __init__(self, how: SOAP, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})
        self.how = how
        self.memory = how.beta2 if how.factor_beta is None else how.factor_beta

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        begun, due = [], []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                gradient = p.grad.reshape(seen_shape(p.shape, self.how)).to(_wide(p.dtype))
                if state:
                    self._move(p, gradient, state, group)
                else:
                    self._begin(p, gradient, state)
                    begun.append(state)
                for axis in _axes(state):
                    change = covariance(gradient, axis)
                    state[f"factor.{axis}"].lerp_(change, 1 - self.memory)
                if state["step"] and state["step"] % self.how.refresh == 0:
                    due.append(state)
        for states, axes, factors in _stacks(begun):
            for state, axis, basis in zip(states, axes, eigenvectors(factors), strict=True):
                state[f"basis.{axis}"] = basis.contiguous()
        self._renew(due)
        return loss

    def _begin(self, p: nn.Parameter, gradient: Tensor, state: dict[str, Any]) -> None:
        state["step"] = 0
        state["mean"] = torch.zeros_like(gradient)
        if self.how.factored and gradient.ndim > 1:
            state["square.rows"] = torch.zeros_like(gradient[..., :1])
            state["square.columns"] = torch.zeros_like(gradient[..., :1, :])
        else:
            state["square"] = torch.zeros_like(gradient)
        for axis in turned_axes(p.shape, self.how):
            size = gradient.shape[axis]
            state[f"factor.{axis}"] = gradient.new_zeros(size, size)

    def _move(
        self, p: nn.Parameter, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]
    ) -> None:
        how, bases = self.how, _bases(state)
        state["step"] += 1
        inside = turned(gradient, bases)
        state["mean"].lerp_(inside, 1 - how.beta1)
        square = inside.square()
        if "square" in state:
            square = state["square"].lerp_(square, 1 - how.beta2)
        else:
            rows, columns = state["square.rows"], state["square.columns"]
            rows.lerp_(square.mean(-1, keepdim=True), 1 - how.beta2)
            columns.lerp_(square.mean(-2, keepdim=True), 1 - how.beta2)
            square = from_means(rows, columns)
        change = turned(state["mean"] / (square.sqrt() + how.epsilon), bases, back=True)
        if how.normalize:
            change = change / (change.square().mean().sqrt() + TINY)
        rate = group["lr"]
        if how.correct_bias:
            rate *= (1 - how.beta2 ** state["step"]) ** 0.5 / (1 - how.beta1 ** state["step"])
        p.add_(change.reshape(p.shape).to(p.dtype), alpha=-rate)
        if group["weight_decay"]:
            p.mul_(1 - group["lr"] * group["weight_decay"])

    def _renew(self, due: list[dict[str, Any]]) -> None:
        """New bases; what lies in the old ones moves along."""
        for state in due:
            state["mean"] = turned(state["mean"], _bases(state), back=True)
        for states, axes, factors in _stacks(due):
            old = torch.stack([s[f"basis.{a}"] for s, a in zip(states, axes, strict=True)])
            bases, orders = renewed(factors, old)
            for state, axis, basis, order in zip(states, axes, bases, orders, strict=True):
                state[f"basis.{axis}"] = basis.contiguous()
                for name in ("square", "square.rows", "square.columns"):
                    if name in state and state[name].shape[axis] > 1:
                        state[name] = state[name].index_select(axis, order)
        for state in due:
            state["mean"] = turned(state["mean"], _bases(state)).contiguous()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(dict(state_dict))
        parameters = [p for group in self.param_groups for p in group["params"]]
        numbers = [i for group in state_dict["param_groups"] for i in group["params"]]
        for number, p in zip(numbers, parameters, strict=True):
            saved = state_dict["state"].get(
                number, {}
            )  # PyTorch would cast it to the weights' type
            for name, value in saved.items():
                if isinstance(value, Tensor):
                    self.state[p][name] = value.to(p.device, _wide(p.dtype), copy=True)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def _axes(state: Mapping[str, Any]) -> list[int]:
    return [axis for axis in range(state["mean"].ndim) if f"factor.{axis}" in state]


def _bases(state: Mapping[str, Any]) -> list[Tensor | None]:
    return [state.get(f"basis.{axis}") for axis in range(state["mean"].ndim)]


def _stacks(
    states: Sequence[dict[str, Any]],
) -> Iterator[tuple[list[dict[str, Any]], list[int], Tensor]]:
    """Covariances of all axes of all states, those of one size stacked: solved at once."""
    alike: dict[tuple[Any, ...], list[tuple[dict[str, Any], int]]] = {}
    for state in states:
        for axis in _axes(state):
            found = state[f"factor.{axis}"]
            alike.setdefault((found.shape, found.dtype, found.device), []).append((state, axis))
    for pairs in alike.values():
        yield (
            [state for state, _ in pairs],
            [axis for _, axis in pairs],
            torch.stack([state[f"factor.{axis}"] for state, axis in pairs]),
        )
