"""2,240 small character language models, trained once and looked up ever after.

Text: the docstrings of the Python standard library, in lower case, 47 characters and one for the
rest; only the results are kept here. Each model sees 16 characters and predicts the next. Space:
what mixes the 16 (a window flattened, a causal convolution that merges 2 or 4 neighbours at a time,
or one layer of attention with 1 or 4 heads from the last place), width, layers behind it, dropout,
gradient descent with a momentum or Adam with a decay, 7 learning rates, held or falling to zero in
a line. Validation and test loss in bits for each character at 10 checkpoints, 36 steps apart.
"""

from __future__ import annotations

import ast
import itertools
import sysconfig
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from math import log, log2
from pathlib import Path
from typing import Any

import numpy as np
from _learning_curves import OPTIMIZERS, Adaptive, Momentum, Stacked, Table, make, stored

from vitruvius.space import Node, Point, hyper, one_of

TABLE = Path(__file__).parent / "tables" / "docstring_characters.npz"
RATES = tuple(float(f"{10 ** (-3.5 + 0.55 * i):.2g}") for i in range(7))
SCHEDULES = ("constant", "linear")
WIDTHS = (12, 32)
LAYERS = (1, 2)
DROPOUTS = (0.0, 0.1)
MERGED = (2, 4)
HEADS = (1, 4)
SYMBOLS, CONTEXT, EMBEDDING = 48, 16, 12
BATCH, CHECKPOINTS, APART = 32, 10, 36
EXAMPLES, HELD_OUT = 5120, 512


@dataclass(frozen=True)
class Window(Node):
    """The embeddings of all 16 characters side by side, and a linear layer."""


@dataclass(frozen=True)
class Convolution(Node):
    """Neighbours are merged by one linear layer after another, until one place is left."""

    merged: int = one_of(*MERGED)


@dataclass(frozen=True)
class Attention(Node):
    """The last place looks at all 16; head by head, a matrix of its own for queries and keys."""

    heads: int = one_of(*HEADS)


@dataclass(frozen=True)
class Characters(Node):
    learning_rate: float = one_of(*RATES)
    schedule: str = one_of(*SCHEDULES)
    mixer: Any = hyper(one_of(Window(), Convolution(), Attention()))
    width: int = one_of(*WIDTHS)
    layers: int = one_of(*LAYERS)
    dropout: float = one_of(*DROPOUTS)
    optimizer: Any = hyper(one_of(Momentum(), Adaptive()))


SPACE = Characters()
MIXERS: list[dict[str, Any]] = [
    {"mixer": "Window"},
    *({"mixer": "Convolution", "mixer=Convolution.merged": n} for n in MERGED),
    *({"mixer": "Attention", "mixer=Attention.heads": n} for n in HEADS),
]


def stacks() -> tuple[dict[str, list[int]], list[Point]]:
    """The designs of each shape by number, and the point of each design."""
    rows: dict[str, list[int]] = {}
    points: list[Point] = []
    for mixer, width, layers in itertools.product(MIXERS, WIDTHS, LAYERS):
        knob = next((str(v) for name, v in mixer.items() if name != "mixer"), "")
        held = rows.setdefault(f"{mixer['mixer']}{knob}-{width}-{layers}", [])
        for optimizer, rate, schedule, dropout in itertools.product(
            OPTIMIZERS, RATES, SCHEDULES, DROPOUTS
        ):
            held.append(len(points))
            settings = {"width": width, "layers": layers, "dropout": dropout}
            points.append(
                {"learning_rate": rate, "schedule": schedule, **mixer, **settings, **optimizer}
            )
    return rows, points


@cache
def load(path: Path = TABLE) -> Table:
    arrays = stored(path)
    bits = [arrays[part].astype(np.float64) for part in ("validation", "test")]
    return Table(
        "characters",
        SPACE,
        tuple(stacks()[1]),
        "lower",
        log2(SYMBOLS) / 100,  # from no loss to that of a guess
        bits[0],
        bits[1],
        arrays["seconds"],
    )


def make_table(path: Path = TABLE, stop: Any = lambda: False) -> bool:
    """Train all models. About five minutes on one core."""
    return make(path, *stacks(), partial(_train, _split()), {}, stop)


def _split() -> tuple[Any, ...]:
    """Windows [example, 17] of three stretches of the text: 80, 10 and 10 per cent of it."""
    import torch

    told = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text(errors="replace"))
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef
        told += [
            ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)
        ]
    text = "\n".join(one for one in told if one).lower()
    common = [symbol for symbol, _ in Counter(text).most_common(SYMBOLS - 1)]
    number = {symbol: i for i, symbol in enumerate(common)}
    coded = np.array([number.get(symbol, SYMBOLS - 1) for symbol in text])
    draw = np.random.default_rng(0)
    parts = np.split(coded, [int(0.8 * len(coded)), int(0.9 * len(coded))])
    return tuple(
        torch.tensor(part[draw.integers(len(part) - CONTEXT, size=size)[:, None] + span])
        for part, size in zip(parts, (EXAMPLES, HELD_OUT, HELD_OUT), strict=True)
        for span in (np.arange(CONTEXT + 1),)
    )


def _model(mixer: str, knob: int, width: int, layers: int) -> Any:
    """A class of networks: logits [batch, symbol] of what follows [batch, 16] characters."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Characters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Parameter(torch.randn(SYMBOLS, EMBEDDING))
            self.place = nn.Parameter(0.1 * torch.randn(CONTEXT, EMBEDDING))
            if mixer == "Window":
                sizes = [(CONTEXT * EMBEDDING, width)]
            elif mixer == "Convolution":
                levels = round(log(CONTEXT, knob))
                sizes = [(knob * (width if i else EMBEDDING), width) for i in range(levels)]
            else:
                sizes = [(EMBEDDING, knob * EMBEDDING), (knob * EMBEDDING, width)]
            self.mixing: Any = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
            self.behind = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
            self.head = nn.Linear(width, SYMBOLS)

        def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            x = x @ self.embedding + self.place
            if mixer == "Attention":
                # queries and keys meet in one matrix for each head; values are taken after mixing
                query = self.mixing[0](x[:, -1]).reshape(len(x), knob, EMBEDDING)
                weights = (query @ x.transpose(1, 2) / EMBEDDING**0.5).softmax(-1)
                x = self.mixing[1]((weights @ x).reshape(len(x), -1)).relu()
            else:
                for layer in self.mixing:
                    step = layer.in_features // x.shape[-1]
                    x = layer(x.reshape(len(x), -1, step * x.shape[-1])).relu()
                x = x[:, 0]
            for layer in self.behind:
                x = x + functional.relu(layer(x * keep))
            return self.head(x)

    return Characters


def _train(parts: tuple[Any, ...], points: list[Point], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits for each character of validation and test, [network, checkpoint], of one shape."""
    import torch
    from torch.func import functional_call, grad, vmap
    from torch.nn import functional

    train, *held_out = parts
    one = points[0]
    knob = one.get("mixer=Convolution.merged", one.get("mixer=Attention.heads", 0))
    width = one["width"]
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    model = _model(one["mixer"], knob, width, one["layers"])
    networks = [model() for _ in points]
    descent = Stacked.of(networks, points)
    falls = torch.tensor([point["schedule"] == "linear" for point in points])
    share = torch.tensor([1 - point["dropout"] for point in points])[:, None, None]

    def loss(w: dict[str, Any], x: Any, y: Any, keep: Any) -> Any:
        return functional.cross_entropy(functional_call(networks[0], w, (x, keep)), y)

    def split(windows: Any) -> tuple[Any, Any]:
        return functional.one_hot(windows[:, :-1], SYMBOLS).float(), windows[:, -1]

    gradients = vmap(grad(loss), in_dims=(0, None, None, 0))
    losses = vmap(loss, in_dims=(0, None, None, None))
    found = np.full((2, len(points), CHECKPOINTS), np.nan, np.float32)
    steps, step = CHECKPOINTS * APART, 0
    order = itertools.chain.from_iterable(
        torch.randperm(EXAMPLES, generator=draw).split(BATCH) for _ in itertools.count()
    )
    for checkpoint in range(CHECKPOINTS):
        for rows in itertools.islice(order, APART):
            x, y = split(train[rows])
            keep = (torch.rand(len(rows), width, generator=draw) < share) / share
            left = torch.where(falls, 1 - step / steps, 1.0)
            descent.step(gradients(descent.weights, x, y, keep), left)
            step += 1
        with torch.no_grad():
            for part, windows in enumerate(held_out):
                pieces = [
                    losses(descent.weights, *split(some), torch.ones(len(some), width))
                    for some in windows.split(64)
                ]
                bits = torch.stack(pieces).mean(0) / log(2)
                found[part, :, checkpoint] = torch.where(bits.isfinite(), bits, torch.nan).numpy()
    return found[0], found[1]
