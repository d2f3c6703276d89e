"""2,048 multilayer perceptrons on scikit-learn's digits, trained once and looked up ever after.

Card: the full factorial of 8 learning rates x 8 widths x 4 depths x 2 activations x 2 dropouts x 2
optimizers, 8 epochs each, with every learning curve (validation and test accuracy after each
epoch). Networks of one shape are trained together, their weights stacked, under ``vmap``. All
but ``seconds`` comes out the same whenever the table is made again with the same version of torch.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vitruvius.space import Point, one_of

TABLE = Path(__file__).parent / "tables" / "digits_mlp.npz"
LEARNING_RATES = tuple(float(f"{10 ** (-4 + 4 * i / 7):.3g}") for i in range(8))
WIDTHS = (8, 12, 18, 27, 40, 58, 86, 128)
DEPTHS = (1, 2, 3, 4)
ACTIVATIONS = ("relu", "tanh")
DROPOUTS = (0.0, 0.3)
OPTIMIZERS = ("sgd", "adam")
EPOCHS, BATCH = 8, 32
FAILED = 65535  # the network's outputs were not finite

SPACE: Any = (
    one_of(*LEARNING_RATES, label="learning_rate"),
    one_of(*WIDTHS, label="width"),
    one_of(*DEPTHS, label="depth"),
    one_of(*ACTIVATIONS, label="activation"),
    one_of(*DROPOUTS, label="dropout"),
    one_of(*OPTIMIZERS, label="optimizer"),
)
AXES = (LEARNING_RATES, WIDTHS, DEPTHS, ACTIVATIONS, DROPOUTS, OPTIMIZERS)
NAMES = tuple(domain.label for domain in SPACE)


@dataclass(frozen=True)
class Table:
    """Right answers after each epoch, [learning rate, width, depth, ..., epoch], and how many."""

    validation: np.ndarray
    test: np.ndarray
    seconds: np.ndarray
    of_validation: int
    of_test: int

    @cached_property
    def index(self) -> dict[tuple[Any, ...], int]:
        return {labels: i for i, labels in enumerate(itertools.product(*AXES))}

    @cached_property
    def scores(self) -> np.ndarray:
        """Validation accuracy after the last epoch, flat; NaN where the training failed."""
        last = self.validation[..., -1].reshape(-1)
        return np.where(last == FAILED, np.nan, last / self.of_validation)

    def score(self, point: Point) -> float:
        return float(self.scores[self.index[tuple(point[name] for name in NAMES)]])


@cache
def load(path: Path = TABLE) -> Table:
    with np.load(path, allow_pickle=False) as stored:
        return Table(
            stored["validation"],
            stored["test"],
            stored["seconds"],
            int(stored["of_validation"]),
            int(stored["of_test"]),
        )


def save(table: Table, path: Path = TABLE) -> None:
    path.parent.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {name: np.array(axis) for name, axis in zip(NAMES, AXES, strict=True)}
    for name in ("validation", "test", "seconds", "of_validation", "of_test"):
        arrays[name] = np.array(getattr(table, name))
    np.savez_compressed(path, **arrays)


def make(data: str = "digits") -> Table:
    """Train all networks. About three minutes on one core."""
    parts = _split(data)
    shape = tuple(map(len, AXES))
    validation = np.zeros((*shape, EPOCHS), np.uint16)
    test = np.zeros((*shape, EPOCHS), np.uint16)
    seconds = np.zeros(shape, np.float32)
    for w, d, a in itertools.product(range(len(WIDTHS)), range(len(DEPTHS)), range(2)):
        began = time.perf_counter()
        right = _train(parts, WIDTHS[w], DEPTHS[d], ACTIVATIONS[a], seed=64 * w + 16 * d + a)
        right = right.reshape(2, len(LEARNING_RATES), 2, 2, EPOCHS)
        validation[:, w, d, a], test[:, w, d, a] = right
        seconds[:, w, d, a] = (time.perf_counter() - began) / 32
        print(f"width {WIDTHS[w]:3} depth {DEPTHS[d]} {ACTIVATIONS[a]}: "
              f"best {right[0].max(where=right[0] != FAILED, initial=0)}", flush=True)  # fmt: skip
    return Table(validation, test, seconds, len(parts[3]), len(parts[5]))


def _split(data: str) -> tuple[Any, ...]:
    """Inputs and labels of the training, validation and test part (60, 20 and 20 per cent)."""
    import torch
    from sklearn import datasets

    if data == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        x = np.asarray(x) / 16.0
    else:  # another problem of the same size, on which the searchers' defaults were chosen
        x, y = datasets.make_classification(
            1800, 64, n_informative=24, n_redundant=8, n_classes=10, class_sep=2.5, random_state=1
        )
        x = np.asarray(x) / np.std(x)
    order = np.random.default_rng(0).permutation(len(x))
    cuts = np.split(order, [int(0.6 * len(x)), int(0.8 * len(x))])
    return tuple(
        part
        for cut in cuts
        for part in (
            torch.tensor(x[cut], dtype=torch.float32),
            torch.tensor(y[cut], dtype=torch.int64),
        )
    )


def _train(
    parts: tuple[Any, ...], width: int, depth: int, activation: str, seed: int
) -> np.ndarray:
    """Right answers [part, network, epoch] of the 32 networks of one shape: 8 learning rates x
    2 dropouts x 2 optimizers."""
    import torch
    from torch import nn
    from torch.func import functional_call, grad, stack_module_state, vmap
    from torch.nn import functional

    train_x, train_y, *held_out = parts
    settings = list(itertools.product(LEARNING_RATES, DROPOUTS, OPTIMIZERS))
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)

    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [train_x.shape[1], *[width] * depth, int(train_y.max()) + 1]
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

        def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            for layer, kept in zip(self.layers[:-1], keep, strict=True):
                x = getattr(torch, activation)(layer(x)) * kept
            return self.layers[-1](x)

    networks = [Perceptron() for _ in settings]
    weights, _ = stack_module_state(networks)
    weights = {name: w.detach() for name, w in weights.items()}
    rates = torch.tensor([rate for rate, _, _ in settings])
    keeping = torch.tensor([1 - dropout for _, dropout, _ in settings])
    adam = torch.tensor([optimizer == "adam" for _, _, optimizer in settings])
    mean = {name: torch.zeros_like(w) for name, w in weights.items()}
    square = {name: torch.zeros_like(w) for name, w in weights.items()}

    def loss(w: dict[str, Any], x: Any, y: Any, keep: Any) -> Any:
        return functional.cross_entropy(functional_call(networks[0], w, (x, keep)), y)

    gradients = vmap(grad(loss), in_dims=(0, None, None, 0))
    answer = vmap(
        lambda w, x: functional_call(networks[0], w, (x, torch.ones(depth))), in_dims=(0, None)
    )
    right = np.zeros((2, len(settings), EPOCHS), np.uint16)
    step = 0
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(train_x), generator=draw).split(BATCH):
            step += 1
            noise = torch.rand(len(settings), depth, len(rows), width, generator=draw)
            share = keeping[:, None, None, None]
            keep = (noise < share) / share
            for name, g in gradients(weights, train_x[rows], train_y[rows], keep).items():
                column = (-1, *[1] * (g.dim() - 1))
                is_adam, rate = adam.view(column), rates.view(column)
                mean[name] = 0.9 * mean[name] + torch.where(is_adam, 0.1, 1.0) * g
                square[name] = 0.999 * square[name] + 0.001 * g * g
                scaled = (mean[name] / (1 - 0.9**step)) / (
                    (square[name] / (1 - 0.999**step)).sqrt() + 1e-8
                )
                weights[name] = weights[name] - rate * torch.where(is_adam, scaled, mean[name])
        with torch.no_grad():
            for part in (0, 1):
                x, y = held_out[2 * part : 2 * part + 2]
                logits = answer(weights, x)
                hits = (logits.argmax(-1) == y).sum(-1)
                finite = logits.isfinite().flatten(1).all(1)
                right[part, :, epoch] = torch.where(finite, hits, FAILED).numpy()
    return right
