"""From a decided layer to a network: first an outline on meta, then real weights.

The outline tells shapes, parameters and FLOPs before memory is spent; what does not fit raises
Infeasible there. Weights are then drawn under a seed, so that a design builds the same network in
every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Cost,
    Fitted,
    Given,
    Head,
    Initializer,
    Layer,
    Limits,
    Lineage,
    Meter,
    Model,
    Outputs,
    Prepared,
    Stream,
    Task,
)
from vitruvius.space import Infeasible
from vitruvius.techniques.layers.transformer import Transformer
from vitruvius.train.meter import training_flops

PROBE = 2  # items of the batch on meta: batch statistics need more than one


class Body(nn.Module):
    """A network of one tensor as the body of a stream."""

    def __init__(self, network: nn.Module, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network = network
        self.shape = None if shape is None else tuple(shape)  # of one item

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.network(stream.values))


class TokenBody(nn.Module):
    """A network that reads a layout too, as the body of a stream.

    Taps: "stem", and "layer.0" to the last, each before the network's own norm.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network = network
        self.shape = None if shape is None else tuple(shape)  # of one item

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        if not taps:
            return Outputs(self.network(stream.values, stream.layout))
        found: dict[str, Tensor] = dict.fromkeys(sorted(taps))  # type: ignore[assignment]
        hidden = self.network(stream.values, stream.layout, found)
        return Outputs(hidden, taps=found)


class Answering(nn.Module):
    """Body and head in one call: what is weighed, trained and saved together."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, stream: Stream) -> Tensor:
        return self.head(self.body(stream), None)


@dataclass(frozen=True, eq=False)
class Outline:
    """A network on meta. ``cost`` holds its parameters and the FLOPs of one item forward."""

    network: Answering
    shape: tuple[int, ...]
    """Of one input item."""
    cost: Cost

    def flops(self, items: int) -> float:
        """FLOPs of training on so many items."""
        return training_flops(self.cost.flops, items)


def outline(
    layer: Layer, head: Head, shape: tuple[int, ...], task: Task, meter: Meter, address: str = ""
) -> Outline:
    """The network for items of a shape, on meta. Raises Infeasible where its parts do not fit."""
    x = torch.empty((PROBE, *shape), device="meta")
    stream = Stream(x)
    try:
        with torch.device("meta"):
            body = _body(layer, x)
            network = Answering(body, head.build(body(stream).hidden, task))
        network.train()
        cost = meter.weigh(network, stream)
    except ValueError as error:  # composite layers say which of their parts does not fit
        place = ".".join(filter(None, (address, getattr(error, "address", ""))))
        raise Infeasible(place, getattr(error, "reason", str(error))) from error
    except RuntimeError as error:  # torch refuses shapes that no layer checked
        raise Infeasible(address, str(error).splitlines()[0]) from error
    per_item = Cost(cost.flops / PROBE, parameters=cost.parameters, memory_bytes=cost.memory_bytes)
    return Outline(network, shape, per_item)


def _body(layer: Layer, x: Tensor) -> nn.Module:
    """Of a network of one tensor, or of one whose stem makes tokens, and their layout, of it."""
    if not layer.reads_layout:
        return Body(layer.build(x), x.shape[1:])
    if not isinstance(layer, Transformer):
        raise ValueError(
            f"A network of items without tokens reads no layout; got {layer!r:.60}, which does. "
            "Put it into the blocks of an Encoder whose stem makes tokens, such as Patches()."
        )
    return TokenBody(layer.build(x), x.shape[1:])


def refuse(found: Outline, items: int, limits: Limits, address: str = "") -> None:
    """Raise Infeasible where a design exceeds the limits, before it is built."""
    flops = found.flops(items)
    if limits.max_parameters is not None and found.cost.parameters > limits.max_parameters:
        raise Infeasible(
            address,
            f"{found.cost.parameters:,} parameters exceed the limit of {limits.max_parameters:,}",
        )
    if limits.max_flops is not None and flops > limits.max_flops:
        raise Infeasible(
            address, f"{flops:.3g} FLOPs of training exceed the limit of {limits.max_flops:.3g}"
        )


def realise(
    found: Outline,
    device: torch.device,
    seed: int,
    *,
    initializer: Initializer | None = None,
    fitted: Fitted | None = None,
    prepared: tuple[Prepared, ...] = (),
    lineage: Lineage | None = None,
) -> Model:
    """Real weights for an outline, drawn on the CPU from the seed, then moved to the device."""
    network = found.network.to_empty(device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            reset(module)
    if fitted is not None:
        network.head.load_state_dict(dict(fitted.tensors), strict=False)
    model = Model(
        bodies={"input": network.body},
        heads={"task": network.head},
        lineage=lineage or Lineage(initial=""),
        prepared=prepared,
    )
    if initializer is not None:
        initializer.initialize(model, Given(rng=torch.Generator().manual_seed(seed)))
    network.to(device)
    return model


def reset(module: nn.Module) -> None:
    """Give a module's own parameters and buffers their initial values."""
    own: Any = getattr(module, "reset_parameters", None)
    if callable(own):
        own()
    elif any(True for _ in module.parameters(recurse=False)) or any(
        True for _ in module.buffers(recurse=False)
    ):
        raise TypeError(
            f"{type(module).__name__} holds parameters or buffers and has no reset_parameters(): "
            "a network is first made on meta, then filled. Write one that sets all of them."
        )


def network_of(model: Model) -> Answering:
    """Body and head of a model as one module (shared with the model, not copied)."""
    return Answering(model.bodies["input"], model.heads["task"])
