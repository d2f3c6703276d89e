"""Small random models to attach adapters to, each with a head and a batch of texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tests.contracts.layouts import layout_of
from vitruvius.contracts import Batch, Given, Lineage, Model, Optimizer, Stream, Task
from vitruvius.techniques.heads import PooledReadout
from vitruvius.techniques.layers import (
    Attention,
    Block,
    Encoder,
    FeedForward,
    LearnedPositions,
    Tokens,
)
from vitruvius.techniques.optimizers import AdamW
from vitruvius.train.building import network_of
from vitruvius.train.grouping import group_parameters
from vitruvius.train.text_bodies import fill, outline_text

BASES = ("ours", "bert", "llama")
TASK = Task("kind", "item", labels=("a", "b", "c"))
OURS = Encoder(
    Tokens(64, 32, dropout=0.1),
    (Block(Attention(4), FeedForward(2.0), dropout=0.1),) * 2,
    LearnedPositions(40),
)


def base(kind: str, seed: int = 0) -> Model:
    """In evaluation, as a stage gets it: two layers 64 wide of ours, or a tiny one of others."""
    if kind == "ours":
        body: nn.Module = fill(outline_text(OURS, 2, 8)[0], seed).eval()
        width = 64
    else:
        from tests.interop import tiny
        from vitruvius.interop.pretrained import PretrainedBody

        body, width = PretrainedBody(tiny.network(kind, seed), packs=kind == "bert").eval(), 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = PooledReadout("mean").build(torch.zeros(2, 9, width), TASK)
    return Model({"input": body}, {"task": head}, Lineage("start"))


def given(seed: int = 0) -> Given:
    return Given(rng=torch.Generator().manual_seed(seed))


def batch(lengths: Sequence[int] = (9, 4, 7)) -> Batch:
    layout = layout_of([[length] for length in lengths])
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 20, layout.segments.shape, generator=rng)
    label = torch.arange(len(lengths)) % 3
    return Batch({"input": Stream(ids, layout)}, {"label": label}, torch.arange(len(lengths)))


def answers(model: Model, train: bool = False) -> Tensor:
    """Hidden states of the batch; the modes are as before."""
    body = model.bodies["input"]
    modes = [(part, part.training) for part in body.modules()]
    body.train(train)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        hidden = body(batch().streams["input"]).hidden
    for part, mode in modes:
        part.training = mode
    return hidden


def train(model: Model, optimizer: Optimizer | None = None, steps: int = 3) -> None:
    """As the loop does: all that requires a gradient, dropout on."""
    network = nn.ModuleDict({"network": network_of(model)})
    updater = (optimizer or AdamW(0.01, 0.1)).build(group_parameters(network))
    seen = batch()

    def closure() -> Tensor:
        updater.zero_grad()
        outputs = model.bodies["input"](seen.streams["input"])
        loss = nn.functional.cross_entropy(model.heads["task"](outputs, seen), seen.fields["label"])
        loss.backward()
        return loss.detach()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network.train()
        for _ in range(steps):
            updater.step(closure)  # pyright: ignore[reportArgumentType]
