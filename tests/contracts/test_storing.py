"""Whatever a stage may hand on goes through the store and comes back equal to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.contracts.layouts import layout_of
from tests.contracts.test_layers import LAYERS, built, default, inputs_of, real
from tests.contracts.test_tokenizers import CODECS
from vitruvius.contracts import Cost, Layer, Lineage, Model, State, Stream, Tokenizer
from vitruvius.pipeline.store import Store

TEXT = "The quick brown naïve fox (some) jumps = f(y) 日本語"


def through(folder: Path, model: Model) -> Model:
    store = Store(folder, allow=("vitruvius", "tests"))
    store.put("k", State(model=model), stage="s", cost=Cost(), ingredients={})
    assert store.explain("k").unstorable is None
    found = store.get("k")
    assert found is not None and found.model is not None
    return found.model


def model_of(**bodies: nn.Module) -> Model:
    return Model(bodies=bodies, heads={}, lineage=Lineage("first"))


def same_tensors(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = ([*m.named_parameters(), *m.named_buffers()] for m in (a, b))
    return len(ours) == len(theirs) and all(
        m == n and torch.equal(p, q) and p.requires_grad == q.requires_grad
        for (m, p), (n, q) in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_every_layer(cls: type[Layer], tmp_path: Path) -> None:
    for shape, outline, _ in built(default(cls)):
        made = real(outline, seed=1)
        read = through(tmp_path, model_of(input=made)).bodies["input"]
        assert same_tensors(made, read) and repr(made) == repr(read)
        for mode in (True, False):
            answers = []
            for module in (made.train(mode), read.train(mode)):
                torch.manual_seed(3)
                answers.append(module(*inputs_of(default(cls), shape, "cpu")))
            assert torch.equal(*answers)


@pytest.mark.parametrize("of", CODECS, ids=lambda of: of.__name__)
def test_every_tokenizer(of: type[Tokenizer], tmp_path: Path) -> None:
    made: Any = CODECS[of]
    model = Model(bodies={}, heads={}, lineage=Lineage("first"), tokenizer=made)
    read = through(tmp_path, model).tokenizer
    assert read is not None and read.tokens() == made.tokens()
    assert read.encode(TEXT).ids == made.encode(TEXT).ids
    assert read.decode(read.encode(TEXT).ids) == made.decode(made.encode(TEXT).ids)


class Tied(nn.Module):
    """An output layer with the weights of the embedding, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.out.weight = self.embedding.weight
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.norm = nn.BatchNorm1d(3).eval()
        self.register_buffer("order", torch.arange(5), persistent=False)
        self.transposed = nn.Parameter(torch.randn(4, 6).t())


def test_ties_frozen_parts_modes_and_strides_stay(tmp_path: Path) -> None:
    made = Tied()
    read = through(tmp_path, model_of(input=made, text=made, other=Tied()))
    one = read.bodies["input"]
    assert isinstance(one, Tied) and one is read.bodies["text"] is not read.bodies["other"]
    assert one.out.weight is one.embedding.weight
    assert same_tensors(made, one) and not one.frozen.weight.requires_grad
    assert one.training and not one.norm.training
    assert torch.equal(one.order, torch.arange(5)) and "order" not in one.state_dict()
    assert one.transposed.stride() == made.transposed.stride() == (1, 6)


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 4, 2, bidirectional=True),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.MultiheadAttention(8, 2),
        nn.Sequential(nn.Conv1d(2, 3, 3), nn.GELU(), nn.GroupNorm(1, 3)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_modules_of_torch(module: nn.Module, tmp_path: Path) -> None:
    read = through(tmp_path, model_of(input=module)).bodies["input"]
    assert same_tensors(module, read)
    x = torch.randn(2, 5, 3) if isinstance(module, nn.LSTM) else torch.randn(2, 5, 8)
    inputs = (x, x, x) if isinstance(module, nn.MultiheadAttention) else (x,)
    if isinstance(module, nn.Sequential):
        inputs = (x[:, :2],)
    answers = [m.eval()(*inputs) for m in (module, read)]
    if isinstance(answers[0], tuple):
        answers = [a[0] for a in answers]
    assert torch.equal(*answers)


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_a_pretrained_model_with_its_tokenizer(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.interop import tiny
    from vitruvius.interop.foreign_tokenizer import ForeignTokenizer
    from vitruvius.interop.pretrained import PretrainedBody

    made = PretrainedBody(tiny.network(kind), packs=kind == "bert")
    codec = ForeignTokenizer(tiny.tokenizer())
    model = Model(bodies={"input": made}, heads={}, lineage=Lineage("x"), tokenizer=codec)
    read = through(tmp_path, model)
    body = read.bodies["input"]
    assert isinstance(body, PretrainedBody) and body.packs == made.packs
    assert same_tensors(made, body)
    stream = Stream(torch.randint(5, 20, (2, 7)), layout_of([[4, 3], [5]]))
    with torch.no_grad():
        assert torch.equal(made(stream).hidden, body(stream).hidden)
    assert read.tokenizer is not None
    ours, theirs = (c.encode("the heart of unknowns") for c in (codec, read.tokenizer))
    assert (ours.ids, ours.offsets, ours.words) == (theirs.ids, theirs.offsets, theirs.words)
