"""Small random models to attach adapters to, each with a head and a batch of texts."""

from __future__ import annotations

import copy
import functools
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

BASES = ("ours", "bert", "roberta", "modernbert", "llama", "vit")
WIDE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
DROPS = {"modernbert": {"mlp_dropout": 0.1}, "vit": {"hidden_dropout_prob": 0.1}}
PACKS = ("bert", "roberta", "llama")
TASK = Task("kind", "item", labels=("a", "b", "c"))
OURS = Encoder(
    Tokens(64, 32, dropout=0.1),
    (Block(Attention(4), FeedForward(2.0), dropout=0.1),) * 2,
    LearnedPositions(40),
)


def base(kind: str, seed: int = 0) -> Model:
    """In evaluation, as a stage gets it: two layers 64 wide of ours, or of others. A new one."""
    return copy.deepcopy(_made(kind, seed))


@functools.lru_cache
def _made(kind: str, seed: int) -> Model:
    if kind == "ours":
        body: nn.Module = fill(outline_text(OURS, 2, 8)[0], seed).eval()
    else:
        from tests.interop import tiny
        from vitruvius.interop.pretrained import PretrainedBody
        from vitruvius.interop.pretrained_images import PretrainedImageBody

        network = tiny.network(kind, seed, **WIDE, **DROPS.get(kind, {}))
        images = kind == "vit"
        body = PretrainedImageBody(network) if images else PretrainedBody(network, kind in PACKS)
        body.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = PooledReadout("mean").build(torch.zeros(2, 9, 64), TASK)
    return Model({"input": body}, {"task": head}, Lineage("start"))


def given(seed: int = 0) -> Given:
    return Given(rng=torch.Generator().manual_seed(seed))


def batch(lengths: Sequence[int] = (9, 4, 7), shape: tuple[int, ...] | None = None) -> Batch:
    """Texts of so many tokens, or as many images of a shape."""
    rng = torch.Generator().manual_seed(0)
    layout = layout_of([[length] for length in lengths])
    ids = torch.randint(5, 20, layout.segments.shape, generator=rng)
    stream = Stream(ids, layout)
    if shape is not None:
        stream = Stream(torch.randn((len(lengths), *shape), generator=rng))
    label = torch.arange(len(lengths)) % 3
    return Batch({"input": stream}, {"label": label}, torch.arange(len(lengths)))


def batch_for(model: Model) -> Batch:
    """What its body reads: texts, or images."""
    return batch(shape=getattr(model.bodies["input"], "shape", None))


def answers(model: Model, train: bool = False) -> Tensor:
    """Hidden states of the batch; the modes are as before."""
    body = model.bodies["input"]
    modes = [(part, part.training) for part in body.modules()]
    body.train(train)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        hidden = body(batch_for(model).streams["input"]).hidden
    for part, mode in modes:
        part.training = mode
    return hidden


def train(model: Model, optimizer: Optimizer | None = None, steps: int = 3) -> None:
    """As the loop does: all that requires a gradient, dropout on."""
    network = nn.ModuleDict({"network": network_of(model)})
    updater = (optimizer or AdamW(0.01, 0.1)).build(group_parameters(network))
    seen = batch_for(model)

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
