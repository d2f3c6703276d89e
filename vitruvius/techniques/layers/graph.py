"""Graphs of layers with any number of inputs.

Source: Negrinho et al. 2019, "Towards modular and programmable architecture search",
arXiv:1909.13404, section 3.
Differs from the paper: nodes are named and ordered, so that wiring is a choice among names and no
graph is rewritten; what does not reach the output is not built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor, nn

from vitruvius.contracts import Join, Layer
from vitruvius.space import Node, hyper, one_of, same
from vitruvius.techniques.layers.combine import combination
from vitruvius.techniques.layers.identity import Identity
from vitruvius.techniques.layers.shapes import Composite, Unfit, grow, need_layers, need_option


@dataclass(frozen=True)
class Wire(Node):
    """A named node of a graph: a layer, and the names that it reads.

    A layer with one input reads several names combined; a Join reads them one by one.
    """

    name: str = hyper(..., None, "what others call it; also its label in addresses")
    layer: Layer = hyper(Identity(), None, "what it computes")
    inputs: tuple[str, ...] = hyper((), None, "names of inputs of the graph or earlier nodes")
    combine: str = hyper("sum", one_of("sum", "mean", "concat"), "how several inputs become one")

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.name)
        super().__post_init__()

    def __repr__(self) -> str:
        combine = "" if same(self.combine, "sum") else f", combine={self.combine!r}"
        return f"Wire({self.name!r}, {self.layer!r}, {self.inputs!r}{combine})"

    def check(self) -> None:
        need_layers(self, "layer")
        need_option(self, "combine", "sum", "mean", "concat")
        if not re.fullmatch(r"[^\W\d]\w*", self.name):
            raise ValueError(f"Wire.name must be a plain word such as 'left'; got {self.name!r}.")
        if not self.inputs:
            raise ValueError(
                f"Wire {self.name!r} reads nothing. Name at least one input, such as ('x',)."
            )

    def grow(self, inputs: tuple[Tensor, ...]) -> tuple[nn.Module, Tensor]:
        """The module for these inputs, and what comes out of it."""
        if isinstance(self.layer, Join) or len(inputs) == 1:
            return grow(self.layer, *inputs, address=self.name)
        try:
            combine = combination(self.combine, inputs)
        except ValueError as error:
            raise Unfit(self.name, str(error)) from error
        module, output = grow(self.layer, combine(*inputs), address=self.name)
        return _Combining(combine, module), output


@dataclass(frozen=True)
class Graph(Composite, Join):
    """Nodes in order, each reading inputs of the graph or nodes before it; one is the output.

    Costs what its layers cost. Names in ``inputs``, ``nodes`` and ``Wire.inputs`` may be choices:
    ``inputs=("x", optional("left"))`` searches over the wiring.
    """

    inputs: tuple[str, ...] = hyper(("x",), None, "names of what comes in, in order")
    nodes: tuple[Wire, ...] = hyper((), None, "nodes, none before what it reads")
    output: str = hyper("x", None, "name of the node that comes out")

    def check(self) -> None:
        known: list[str] = list(self.inputs)
        for node in self.nodes:
            if not isinstance(node, Wire):
                raise ValueError(f"Graph.nodes takes Wire(...); got {node!r:.60}.")
            for name in node.inputs:
                if name not in known:
                    raise ValueError(
                        f"Wire {node.name!r} reads {name!r}, which is no input of the graph and no "
                        f"node before it; there is {', '.join(known)}."
                    )
            known.append(node.name)
        twice = sorted({name for name in known if known.count(name) > 1})
        if twice:
            raise ValueError(f"Graph has the name {twice[0]!r} twice. Rename one.")
        if self.output not in known:
            raise ValueError(
                f"Graph.output {self.output!r} is no input and no node; there is "
                f"{', '.join(known)}."
            )

    def build(self, x: Tensor, *others: Tensor) -> nn.Module:
        return self.assemble(x, *others)[0]

    def assemble(self, x: Tensor, *others: Tensor) -> tuple[nn.Module, Tensor]:
        given = (x, *others)
        if len(given) != len(self.inputs):
            raise ValueError(
                f"Graph.inputs names {len(self.inputs)} inputs ({', '.join(self.inputs)}); got "
                f"{len(given)}. As a layer in a row a graph has one input."
            )
        values = dict(zip(self.inputs, given, strict=True))
        needed = self._needed()
        modules: list[nn.Module] = []
        wires: list[tuple[str, tuple[str, ...]]] = []
        for node in self.nodes:
            if node.name in needed:
                module, output = node.grow(tuple(values[name] for name in node.inputs))
                values[node.name] = output
                modules.append(module)
                wires.append((node.name, node.inputs))
        wired = _Wired(nn.ModuleList(modules), self.inputs, tuple(wires), self.output)
        return wired, values[self.output]

    def _needed(self) -> set[str]:
        """Names that reach the output."""
        needed = {self.output}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return needed


class _Combining(nn.Module):
    """A layer of one input that reads several, combined."""

    def __init__(self, combine: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.combine = combine
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layer(self.combine(*inputs))


class _Wired(nn.Module):
    """Layers and, for each, its name and the names it reads."""

    def __init__(
        self,
        layers: nn.ModuleList,
        inputs: tuple[str, ...],
        wires: tuple[tuple[str, tuple[str, ...]], ...],
        output: str,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.inputs = inputs
        self.wires = wires
        self.output = output

    def forward(self, *inputs: Tensor) -> Tensor:
        values = dict(zip(self.inputs, inputs, strict=True))
        for layer, (name, reads) in zip(self.layers, self.wires, strict=True):
            values[name] = layer(*(values[read] for read in reads))
        return values[self.output]
