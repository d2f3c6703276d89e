"""One small pass through a body, watched: who is called when, and who reads which tensor.

The pass leaves no trace: modes, hooks, buffers, gradients and generators are as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layout, Outputs, Stream
from vitruvius.techniques.adapters.structure import embeds

ROWS, TOKENS = 2, 4
SIDES = (8, 16, 28, 32, 64, 224)  # of images that a body of unknown size is tried with, in cells


@dataclass(eq=False)
class Call:
    """The first call of a module in a pass."""

    module: nn.Module
    reads: Tensor | None
    """The first tensor that it was given."""
    gives: Tensor | None = None
    """The first tensor that it returned."""
    last: Tensor | None = None
    """The same of its last call, where it is called again."""
    mixed: bool = False
    """Of a linear map: whether what it reads of a token depends on other tokens by more than what
    linear maps before have read."""

    def shares(self, other: Call) -> bool:
        """Whether both read the very same tensor."""
        return is_same(self.reads, other.reads)


@dataclass(eq=False)
class Watched:
    """What was seen: the calls in the order in which they began, and what the body gave."""

    calls: dict[nn.Module, Call] = field(default_factory=dict)
    hidden: Tensor | None = None


def watch(body: nn.Module) -> Watched:
    """A pass through a body of ids, images or rows; nothing is seen where no stream fits it.

    A linear map is ``mixed`` where attention or another mixer stands between it and the linear maps
    before it. To see that, the second row of each is made equal to the first, but for the first
    half of its tokens: where a linear map then reads other numbers in the second half, what lies
    between has mixed the tokens.
    """
    if any(parameter.is_meta for parameter in body.parameters()):
        raise ValueError(
            f"Places are found by a pass through the body, and {type(body).__name__} has no "
            "weights yet (it is on meta). Fill or load it first."
        )
    seen = Watched()
    text = _reads_ids(body)
    for stream in streams(body):
        seen = Watched()
        try:
            with _untouched(body), _hooked(body, seen):
                outputs = body(stream)
        except Exception:  # whatever a network raises on numbers of a wrong shape
            if text:
                raise
            continue
        found = outputs.hidden if isinstance(outputs, Outputs) else outputs
        seen.hidden = found if isinstance(found, Tensor) else None
        return seen
    return Watched()


def is_same(one: Tensor | None, two: Tensor | None) -> bool:
    """Whether they are the same numbers in memory, seen alike."""
    if one is None or two is None or one.shape != two.shape or not one.numel():
        return False
    return one.data_ptr() == two.data_ptr() and one.stride() == two.stride()


def streams(body: nn.Module) -> Iterator[Stream]:
    """Small streams that it may be able to read, the likeliest first.

    Of a body with a field ``shape`` (of one item), or whose first part has one, it is that.
    """
    first = next((p for p in body.parameters() if p.is_floating_point()), torch.empty(0))
    shape = _shape(body)
    if shape is not None:
        yield Stream(first.new_zeros((ROWS, *shape)))
        return
    if _reads_ids(body):
        ids = torch.zeros((ROWS, TOKENS), dtype=torch.long, device=first.device)
        places = torch.arange(TOKENS, device=first.device).expand(ROWS, TOKENS)
        yield Stream(ids, Layout(places, ids + 1))
        return
    leaf = next((part for part in body.modules() if part._parameters), body)
    channels = _channels(leaf)
    if isinstance(leaf, nn.Linear | nn.LayerNorm | nn.BatchNorm1d):
        yield Stream(first.new_zeros((ROWS, channels)))
        yield Stream(first.new_zeros((ROWS, TOKENS, channels)))
    elif isinstance(leaf, nn.Conv1d):
        yield Stream(first.new_zeros((ROWS, 4 * TOKENS, channels)))
    else:
        for side in SIDES:
            yield Stream(first.new_zeros((ROWS, channels, side, side)))


def _reads_ids(body: nn.Module) -> bool:
    """Whether the first thing in it with parameters is a table."""
    if _shape(body) is not None:
        return False
    first = next((part for part in body.modules() if part._parameters), body)
    return any(embeds(first, name) for name in first._parameters)


def _shape(body: nn.Module) -> tuple[int, ...] | None:
    """Of one item, where the body says so, or the first thing in it with parameters."""
    first = next((part for part in body.modules() if part._parameters), body)
    return getattr(body, "shape", None) or getattr(first, "shape", None)


def _channels(leaf: nn.Module) -> int:
    for name in ("in_features", "in_channels", "num_features", "num_channels"):
        if isinstance(found := getattr(leaf, name, None), int):
            return found
    weight = leaf._parameters.get("weight")
    return 1 if weight is None else weight.shape[-1]


@contextmanager
def _untouched(body: nn.Module) -> Iterator[None]:
    """Inside: in evaluation, without gradient. After: as it was."""
    modes = [(part, part.training) for part in body.modules()]
    buffers = [
        (part, name, held, held.clone())
        for part in body.modules()
        for name, held in part._buffers.items()
        if held is not None
    ]
    used = {p.device for p in body.parameters()}
    devices = [device for device in used if device.type == "cuda"]
    body.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
        with torch.no_grad():
            for part, name, held, before in buffers:
                if not torch.equal(held, before):
                    held.copy_(before)
                part._buffers[name] = held


@contextmanager
def _hooked(body: nn.Module, seen: Watched) -> Iterator[None]:
    def begins(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = module not in seen.calls
        x = _first_tensor((*args, *kwargs.values()))
        if first:
            seen.calls[module] = Call(module, x)
        if isinstance(module, nn.Linear) and x is not None and args and x is args[0]:
            made, mixed = _levelled(x)
            if first:
                seen.calls[module].mixed = mixed
            return (made, *args[1:]), kwargs
        return None

    def ends(module: nn.Module, args: Any, made: Any) -> None:
        call = seen.calls[module]
        call.last = _first_tensor((made,))
        if call.gives is None:
            call.gives = call.last

    hooks = []
    try:
        for part in body.modules():
            hooks.append(part.register_forward_pre_hook(begins, with_kwargs=True))
            hooks.append(part.register_forward_hook(ends))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _levelled(x: Tensor) -> tuple[Tensor, bool]:
    """With a second row like the first but for the first half of its tokens; and whether the second
    halves were different."""
    if x.dim() < 2 or not x.is_floating_point() or x.numel() % (ROWS * x.shape[-1]):
        return x, False
    rows = x.reshape(ROWS, -1, x.shape[-1])
    half = rows.shape[1] // 2
    if not half:
        return x, False
    one, two = rows
    near = max(8 * torch.finfo(x.dtype).eps, 1e-4)
    apart = (one[half:] - two[half:]).abs().max()
    mixed = bool(apart > near * one.abs().max())
    return torch.stack((one, torch.cat((1 - one[:half], one[half:])))).reshape(x.shape), mixed


def _first_tensor(values: Any) -> Tensor | None:
    """Of what is given or returned; records of transformers are mappings."""
    for value in values:
        if isinstance(value, Tensor):
            return value
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(inner, tuple | list) or isinstance(value, dict):
            found = _first_tensor(inner)
            if found is not None:
                return found
    return None
