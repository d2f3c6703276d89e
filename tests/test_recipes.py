"""Recipes: their sizes, counted by hand on card 01's spaces, and their shapes before and after."""

import importlib
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from vitruvius.contracts import Layer, Task
from vitruvius.pipeline.evaluation import score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.recipes import recipe, recipes
from vitruvius.recipes.deepconv import deepconv_network
from vitruvius.recipes.digits import digits_network
from vitruvius.recipes.mlp import mlp_network
from vitruvius.recipes.resnet import FILTERS, block, group, resnet_network
from vitruvius.space import (
    Infeasible,
    Node,
    Repeat,
    carry,
    compile,
    count,
    decide,
    enumerate_points,
    from_json,
    one_of,
    optional,
    replay,
    sample,
    to_json,
)
from vitruvius.techniques.heads import Answer
from vitruvius.techniques.layers import Affine, Conv, Dropout, MaxPool, ReLU, Sequential
from vitruvius.techniques.layers.shapes import grow
from vitruvius.train.building import outline, reset
from vitruvius.train.meter import FlopMeter


@dataclass(frozen=True)
class Settings(Node):
    """Training settings and a network, as in the card's trace."""

    optimizer: str
    stop: int
    model: Layer


def trace() -> Settings:
    return Settings(
        one_of("adam", "sgd"),
        one_of(64),
        Sequential(
            Affine(one_of(16, 32)),
            optional(ReLU()),
            Repeat(
                Sequential(Affine(one_of(8)), Dropout(one_of(0.5, 0.1))),
                times=one_of(1, 2),
                tied=True,
            ),
            Affine(one_of(10)),
        ),
    )


def tfref() -> Layer:
    """Two convolutions with pooling and a hidden layer: (5 * 3)^2 * 3 * 3 networks."""
    filters = one_of(16, 32, 48, 64, 80)
    return Sequential(
        Conv(filters, kernel=one_of(3, 5, 7)),
        ReLU(),
        MaxPool(2),
        Conv(filters, kernel=one_of(3, 5, 7)),
        ReLU(),
        MaxPool(2),
        Affine(one_of(64, 128, 256)),
        ReLU(),
        Dropout(one_of(0.25, 0.5, 0.75)),
        Affine(10),
    )


def test_trace_shows_only_what_is_to_be_decided() -> None:
    """Forced choices and the second of two tied copies are never shown."""
    path = {"optimizer": "sgd", "affine.width": 32, "optional": None, "times": 2, "rate": 0.1}
    shown: list[str] = []

    def choose(decision):
        word = next(w for w in path if decision.address.endswith(w))
        shown.append(word)
        return path[word]

    design = decide(trace(), choose)
    assert shown == list(path)
    repeated = Sequential(Affine(8), Dropout(0.1))
    assert design == Settings("sgd", 64, Sequential(Affine(32), repeated, repeated, Affine(10)))


def test_trace_has_32_points() -> None:
    assert count(trace()).points == 2 * 2 * 2 * (2 + 2) == 32
    designs = {repr(replay(trace(), point)) for point in enumerate_points(trace())}
    assert len(designs) == 32


def test_deepconv_has_60466176_networks_and_is_counted_at_once() -> None:
    begun = time.perf_counter()
    counted = count(deepconv_network())
    seconds = time.perf_counter() - begun
    assert (counted.points, counted.exact) == ((18 * 432) ** 2, True) == (60_466_176, True)
    assert seconds < 0.1
    assert count(deepconv_network(classes=None)).points == 60_466_176
    assert count(recipe("deepconv")).points == 60_466_176 * 2 * 8 * 2 * 4


def test_tfref_has_2025_networks() -> None:
    assert count(tfref()).points == 2_025
    assert sum(1 for _ in enumerate_points(tfref())) == 2_025


def test_resnet_as_counted_by_hand() -> None:
    r = ((6 * 3 * 2) * 3) * (6 * 3 * 3) * 3
    assert r == 17_496 == count(block(FILTERS)).points
    one = r + r**2 + r**4 + r**8
    assert count(group(FILTERS)).points == one
    assert count(resnet_network()).points == one + one * one


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (tfref(), (1, 8, 8)),
        (digits_network(), (1, 8, 8)),
        (digits_network(classes=None), (3, 7, 5)),
        (mlp_network(), (13,)),
    ],
    ids=["tfref", "digits", "digits of odd size", "mlp"],
)
def test_meta_tells_shape_and_parameters_of_random_points(space: Layer, shape: tuple) -> None:
    rng = random.Random(0)
    for _ in range(250):
        layer = replay(space, sample(space, rng))
        x = torch.empty(2, *shape, device="meta")
        module, output = grow(layer, x, address="model")
        parameters = sum(p.numel() for p in module.parameters())
        module = module.to_empty(device="cpu").eval()
        for part in module.modules():
            reset(part)
        answer = module(torch.randn(2, *shape))
        assert answer.shape == output.shape
        assert answer.isfinite().all()
        assert sum(p.numel() for p in module.parameters()) == parameters


LARGE = {"deepconv": deepconv_network(), "resnet": resnet_network()}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)], ids=str)
def test_large_networks_fit_images(name: str, shape: tuple) -> None:
    rng = random.Random(0)
    for _ in range(5):
        layer = replay(LARGE[name], sample(LARGE[name], rng))
        _, output = grow(layer, torch.empty(2, *shape, device="meta"), address="model")
        assert output.shape == (2, 10)


def test_networks_end_in_features_or_logits() -> None:
    x = torch.empty(2, 3, 16, 16, device="meta")
    for network in (digits_network, deepconv_network, resnet_network):
        for classes in (None, 7):
            space = network(classes=classes)
            layer = replay(space, sample(space, random.Random(1)))
            _, output = grow(layer, x, address="model")
            assert output.dim() == 2
            assert (output.shape[1] == 7) == (classes == 7)


def test_every_recipe_is_a_space_that_is_written_and_read() -> None:
    text = {"code_search", "domain_classifier", "domain_encoder"}
    assert set(recipes()) == {"deepconv", "digits", "mlp", "resnet"} | text
    for name, summary in recipes().items():
        assert summary.endswith(".")
        space = recipe(name)
        assert not space.decided
        assert from_json(to_json(space)) == space
        point = sample(space, random.Random(0))
        design = replay(space, point)
        assert from_json(to_json(design)) == design
        assert not any("_2" in a.split(".")[-1] for a in point), "a decision without a clear name"


@pytest.mark.parametrize("name", ["code_search", "domain_classifier", "domain_encoder"])
@pytest.mark.parametrize("base", [None, "a/model"])
def test_what_a_recipe_begins_with_is_of_its_space(name: str, base: str | None) -> None:
    module = importlib.import_module(f"vitruvius.recipes.{name}")
    space = getattr(module, name)("labels.csv", base=base)
    rng = random.Random(0)
    for point in module.starts(base):
        whole = carry(space, point, lambda decision: decision.domain.sample(rng))
        assert {address: whole.get(address) for address in point} == point


def test_a_hole_is_infeasible_at_its_address() -> None:
    """Card 01's hole: a convolution after an affine layer, one of two options."""
    space = Sequential(one_of(Conv(4), Affine(4)), Sequential(ReLU(), Conv(4)), Affine(10))
    task = Task("digits", "item", tuple("0123456789"))
    outcomes = {}
    for point in enumerate_points(space):
        try:
            outline(replay(space, point), Answer(), (1, 8, 8), task, FlopMeter(), "model")
            outcomes[point["one_of"]] = "fits"
        except Infeasible as error:
            outcomes[point["one_of"]] = error.address
            assert error.reason.startswith("Conv needs images [B, C, H, W]; got [B, 4].")
    assert outcomes == {"Conv": "fits", "Affine": "model.sequential.conv"}


def test_recipes_are_listed_without_torch() -> None:
    code = "import sys, vitruvius.recipes as r; print(len(r.recipes()), 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["7", "False"]


def test_a_misspelt_recipe_says_what_is_near() -> None:
    with pytest.raises(ValueError, match=r"no recipe 'digit'; .* Did you mean 'digits'\?"):
        recipe("digit")


def lab() -> LocalLab:
    return LocalLab(Setting(0, torch.device("cpu"), torch.float32, 1))


def test_digits_learns() -> None:
    space = recipe("digits")
    point = sample(space, random.Random(5))
    state = lab().run(replay(space, point), {})
    assert score_of(state).value > 0.95


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_mlp_learns_a_table(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size, colour = rng.normal(size=400), rng.choice(["red", "blue"], 400)
    value = np.where(colour == "red", size, -size)
    target = np.where(value > 0, "up", "down") if kind == "classes" else value.round(4)
    rows = zip(size, colour, target, strict=True)
    lines = ["size,colour,target", *(f"{s},{c},{t}" for s, c, t in rows)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    space = recipe("mlp", str(tmp_path / "table.csv"), "target")
    point = compile(space).walk(lambda decision: decision.domain.at(0.5))
    state = lab().run(replay(space, point), {})
    score = score_of(state)
    floor = state.task.floors[0].value
    if kind == "classes":
        assert score.better == "higher" and score.value > 0.9 > floor
    else:
        assert score.better == "lower" and score.value < 0.4 < floor
