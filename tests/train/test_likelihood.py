"""How surprised a model is by texts: sums over all of their tokens, whichever model it is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Lineage, Model
from vitruvius.techniques.layers import Attention, Block, Decoder, Encoder, Tokens
from vitruvius.techniques.objectives.token_head import TokenHead, table_of
from vitruvius.techniques.tokenizers import Bytes
from vitruvius.train.likelihood import surprises
from vitruvius.train.text_bodies import fill, outline_text

CPU, FULL = torch.device("cpu"), torch.float32
CODEC = Bytes().build(None)
TEXTS = ("a text", "another one that is longer than the others by some words", "b", "")


def documents(texts: tuple[str, ...] = TEXTS) -> Documents:
    column = np.empty(len(texts), object)
    column[:] = texts
    return Documents({"text": column})


def model(kind: type, name: str, longest: int = 64) -> Model:
    design = kind(Tokens(16, CODEC.vocabulary), (Block(Attention(2)),))
    body = fill(outline_text(design, 2, longest)[0], 0).eval()
    head = TokenHead(16, 16, CODEC.vocabulary, transform=False, bias=True)
    torch.nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    designs, tokenizer = {"input": design}, CODEC
    return Model({"input": body}, {name: head}, Lineage(""), designs, tokenizer, longest=longest)


@pytest.mark.parametrize(("kind", "name"), [(Encoder, "mlm"), (Decoder, "lm")])
def test_who_knows_nothing_is_surprised_by_the_logarithm_of_the_vocabulary(
    kind: type, name: str
) -> None:
    ignorant = model(kind, name)
    torch.nn.init.zeros_(table_of(ignorant.bodies["input"]))
    found = surprises(ignorant, documents(), CPU, FULL)
    assert found.targets is not None and found.targets.tolist() == [len(t) for t in TEXTS]
    each = math.log(CODEC.vocabulary)
    ends = 1 if name == "lm" else 0  # a decoder also says where a text ends
    expected = [each * (len(t) + ends) if t else 0.0 for t in TEXTS]
    assert torch.allclose(found.values, torch.tensor(expected, dtype=torch.float64), rtol=1e-5)


def test_a_decoder_is_surprised_as_the_chain_rule_says() -> None:
    causal: Any = model(Decoder, "lm")
    told = surprises(causal, documents(("hello",)), CPU, FULL).values
    ids = torch.tensor([[2, *CODEC.encode("hello").ids, 3]])
    from vitruvius.contracts import Layout, Stream

    places = torch.arange(ids.shape[1]).unsqueeze(0)
    with torch.no_grad():
        hidden = causal.bodies["input"](Stream(ids, Layout(places, torch.ones_like(ids)))).hidden
        logits = causal.heads["lm"](hidden, table_of(causal.bodies["input"]))
    losses = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum")
    assert told[0] == pytest.approx(float(losses), rel=1e-5)


def test_a_long_text_is_read_in_parts_and_neighbours_do_not_matter() -> None:
    short = model(Encoder, "mlm", longest=24)
    together = surprises(short, documents(), CPU, FULL).values
    alone = [surprises(short, documents((text,)), CPU, FULL).values[0] for text in TEXTS[:3]]
    assert torch.allclose(together[:3], torch.stack(alone), rtol=1e-4)


def test_a_model_without_a_head_for_tokens_is_refused() -> None:
    headless = replace(model(Encoder, "mlm"), heads={})
    with pytest.raises(ValueError, match="This model predicts no tokens"):
        surprises(headless, documents(), CPU, FULL)
