"""Images as rows of patches: which pixels each token reads, and networks that begin with them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contracts.layouts import plain
from vitruvius.contracts import Batch, Stream, Task
from vitruvius.space import Infeasible
from vitruvius.techniques.heads import PooledReadout
from vitruvius.techniques.layers import Attention, Block, Encoder, Patches
from vitruvius.train.building import TokenBody, outline, realise
from vitruvius.train.meter import FlopMeter

TASK = Task("kind", "item", labels=("a", "b", "c"))
DESIGN = Encoder(Patches(32, 2), (Block(Attention(4)), Block(Attention(4))), positions=None)


def stem(layer: Patches, x: Tensor) -> Any:
    torch.manual_seed(0)
    return layer.build(x)


@pytest.mark.parametrize("class_token", [True, False])
def test_a_token_is_a_linear_map_of_its_patch_and_its_place(class_token: bool) -> None:
    images = torch.randn(3, 2, 4, 6)
    module = stem(Patches(5, 2, class_token), images)
    tokens, layout = module(images, plain(images))
    first = int(class_token)
    assert tokens.shape == (3, 6 + first, 5)
    weight, bias, places = module.pixels.weight, module.pixels.bias, module.positions
    for row in range(2):
        for column in range(3):
            patch = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            by_hand = patch.flatten(1) @ weight.T + bias
            number = first + 3 * row + column
            torch.testing.assert_close(tokens[:, number], by_hand + places[number])
    if class_token:
        assert torch.equal(tokens[:, 0], (module.first + places[:1]).expand(3, 5))
    assert torch.equal(layout.positions, torch.arange(6 + first).expand(3, -1))
    assert torch.equal(layout.segments, torch.ones(3, 6 + first, dtype=torch.long))
    assert layout.words is None and not layout.packed and not layout.padded


def test_what_is_known_of_rows_is_handed_on() -> None:
    images = torch.randn(2, 1, 4, 4)
    route = torch.tensor([1, 0])
    layout = replace(plain(images), route=route)
    assert stem(Patches(4, 2), images)(images, layout)[1].route is route


def test_its_numbers_are_counted() -> None:
    module = stem(Patches(8, 4), torch.empty(1, 3, 8, 12))
    assert sum(p.numel() for p in module.parameters()) == 8 * (3 * 16 + 1) + 8 * 6 + 8 + 8


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (
            Patches(8, 3),
            torch.empty(1, 1, 8, 9),
            r"Patches\.patch must divide both sides of the image; got 3 for 8 x 9\. Take",
        ),
        (Patches(8), torch.empty(1, 8, 4), r"Patches needs images .* got .*\. Texts are read by"),
        (
            Patches(8),
            torch.empty(1, 1, 8, 8, dtype=torch.long),
            r"Patches needs numbers; got torch\.int64\. Texts are read by Tokens\.",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(layer: Patches, x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer.build(x)


def test_wrong_fields_are_told() -> None:
    with pytest.raises(ValueError, match=r"Patches\.patch must be at least 1; got 0"):
        Patches(patch=0)
    with pytest.raises(ValueError, match=r"Patches\.dropout must be at least 0 and below 1"):
        Patches(dropout=1.0)


@pytest.mark.parametrize("pool", ["cls", "mean", "last"])
def test_an_encoder_of_patches_is_a_body_of_images(pool: str) -> None:
    found = outline(DESIGN, PooledReadout(pool, dense=False), (1, 8, 8), TASK, FlopMeter())
    model = realise(found, torch.device("cpu"), seed=0)
    body, head = model.bodies["input"].eval(), model.heads["task"].eval()
    linear: Any = head.linear
    assert isinstance(body, TokenBody)
    stream = Stream(torch.randn(4, 1, 8, 8))
    outputs = body(stream, frozenset({"stem", "layer.1"}))
    assert outputs.hidden.shape == (4, 17, 32)
    assert outputs.taps["stem"].shape == outputs.taps["layer.1"].shape == (4, 17, 32)
    pooled = {
        "cls": outputs.hidden[:, 0],
        "mean": outputs.hidden.mean(1),
        "last": outputs.hidden[:, -1],
    }[pool]
    batch = Batch({"input": stream}, {}, torch.arange(4))
    torch.testing.assert_close(head(outputs, batch), linear(pooled))
    torch.testing.assert_close(head(outputs, None), linear(pooled))
    counted = sum(p.numel() for m in (body, head) for p in m.parameters())
    assert counted == found.cost.parameters


def test_what_does_not_fit_is_infeasible_at_its_address() -> None:
    with pytest.raises(Infeasible, match=r"Patches\.patch must divide") as caught:
        outline(DESIGN, PooledReadout(), (1, 9, 8), TASK, FlopMeter(), "model")
    assert caught.value.address == "model.stem"
    with pytest.raises(Infeasible, match=r"reads no layout; got Attention\(.*Encoder whose stem"):
        outline(Attention(), PooledReadout(), (9, 8), TASK, FlopMeter(), "model")
