"""What holds for every layer, the new ones included: nothing here names one."""

import functools
import importlib
import inspect
import json
import math
import pickle
import pkgutil
import random
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import vitruvius.techniques.layers as folder
from tests.contracts.common import within
from tests.contracts.layouts import WithLayout, ids_of
from vitruvius.contracts import Join, Layer, Stem
from vitruvius.pipeline.source_code import Sources
from vitruvius.space import (
    from_json,
    hyperparameters,
    replay,
    sample,
    to_json,
)
from vitruvius.techniques.layers.factored import FactoredLinear
from vitruvius.techniques.layers.positions import Positions
from vitruvius.techniques.layers.shapes import Unfit, grow
from vitruvius.techniques.layers.transformer import Transformer
from vitruvius.train.building import reset

SHAPES = {"rows": (32,), "sequences": (8, 32), "images": (32, 8, 8)}


def modules_of_the_folder() -> list:
    names = [m.name for m in pkgutil.iter_modules(folder.__path__)]
    return [importlib.import_module(f"{folder.__name__}.{name}") for name in names]


def classes(base: type) -> list[type]:
    """Concrete subclasses of a base that the files of the folder define."""
    return [
        value
        for module in modules_of_the_folder()
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]


LAYERS = sorted(classes(Layer), key=lambda cls: cls.__name__)
PUT_IN = {FactoredLinear}  # by an adapter, in the place of another: no layer builds it
MODULES = sorted({*classes(nn.Module)} - PUT_IN, key=lambda cls: cls.__name__)
every_layer = pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)


def default(cls: type[Layer]) -> Layer:
    return cls.example() if hasattr(cls, "example") else cls()


def opened(cls: type[Layer]) -> Layer:
    """The space of a layer; parts that it needs are those of its example."""
    if not hasattr(cls, "example"):
        return cls.space()
    example = cls.example()
    needed = {h.name: getattr(example, h.name) for h in hyperparameters(cls) if h.domain is None}
    if cls.varargs:
        return cls.space(*needed.pop(cls.varargs), **needed)
    return cls.space(**needed)


def inputs_of(layer: Layer, shape: tuple[int, ...], device: str) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    count = len(getattr(layer, "inputs", ("a", "b"))) if isinstance(layer, Join) else 1
    return tuple(torch.randn(2, *shape, device=device) for _ in range(count))


def real(module: nn.Module, seed: int) -> nn.Module:
    """A module from meta, its memory first filled with what no layer may leave behind."""
    module = module.to_empty(device="cpu")
    for tensor in module.state_dict().values():
        tensor.fill_(math.nan if tensor.is_floating_point() else 77)
    torch.manual_seed(seed)
    for part in module.modules():
        reset(part)
    return module


def on_meta(layer: Layer, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    inputs = inputs_of(layer, shape, "meta")
    if not layer.reads_layout:
        return grow(layer, *inputs, address="layer")
    ids = reads_ids(type(layer))
    sized = getattr(layer, "sized", lambda _: layer)(100)
    try:
        with torch.device("meta"):
            module = WithLayout(sized.build(ids_of(*inputs) if ids else inputs[0]), ids)
            output = module.eval()(*inputs)
    except ValueError as error:
        raise Unfit("layer", str(error)) from error
    return module.train(), output


@functools.cache
def reads_ids(cls: type[Layer]) -> bool:
    """Stems and what begins with one read ids, but for those that take numbers."""
    return issubclass(cls, (Stem, Transformer)) and not any(
        takes(default(cls), shape) for shape in SHAPES.values()
    )


def takes(layer: Layer, shape: tuple[int, ...]) -> bool:
    try:
        layer.build(torch.empty(2, *shape, device="meta"))
    except ValueError:
        return False
    return True


def built(layer: Layer) -> Iterator[tuple[tuple[int, ...], nn.Module, Tensor]]:
    """For each medium that the layer takes: shape of an item, module on meta, what comes out."""
    for shape in SHAPES.values():
        try:
            module, output = on_meta(layer, shape)
        except Unfit:
            continue
        yield shape, module, output


def test_every_layer_is_exported() -> None:
    parts = {"Wire", *(cls.__name__ for cls in classes(Positions) if cls is not Positions)}
    assert {cls.__name__ for cls in LAYERS} | parts == set(folder.__all__)


@every_layer
def test_is_documented_with_its_source(cls: type[Layer]) -> None:
    text = f"{cls.__doc__}\n{sys.modules[cls.__module__].__doc__}"
    assert "Source:" in text
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the docstring is dataclass's own"
    for field in hyperparameters(cls):
        assert field.doc, f"{cls.__name__}.{field.name} is not described"


@every_layer
def test_default_builds_and_lies_in_its_domain(cls: type[Layer]) -> None:
    layer = default(cls)
    assert layer.decided
    assert list(built(layer)), f"{cls.__name__} takes none of {SHAPES}"
    for field in hyperparameters(cls):
        if field.domain is not None and not field.required:
            assert within(field.default, field.domain), f"{cls.__name__}.{field.name}"


@every_layer
def test_space_samples_replays_and_is_written(cls: type[Layer]) -> None:
    space = opened(cls)
    assert from_json(json.loads(json.dumps(to_json(space)))) == space
    for seed in range(5):
        point = sample(space, random.Random(seed))
        layer = replay(space, json.loads(json.dumps(point)))
        assert layer.decided
        assert eval(repr(layer), vars(folder).copy()) == layer
        assert pickle.loads(pickle.dumps(layer)) == layer
        assert from_json(json.loads(json.dumps(to_json(layer)))) == layer


@every_layer
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_meta_tells_the_real_shape(cls: type[Layer], seed: int, shape: list[int]) -> None:
    space = opened(cls)
    layer = replay(space, sample(space, random.Random(seed)))
    try:
        module, output = on_meta(layer, tuple(shape))
    except Unfit as error:
        assert isinstance(error.__cause__, ValueError), f"torch refuses, not {cls.__name__}"
        assert "got" in error.reason or "has only" in error.reason or "turns" in error.reason
        return
    counted = sum(p.numel() for p in module.parameters())
    module = real(module, seed).eval()
    answer = module(*inputs_of(layer, tuple(shape), "cpu"))
    assert answer.shape == output.shape
    assert answer.isfinite().all()
    assert sum(p.numel() for p in module.parameters()) == counted


@every_layer
def test_same_seed_same_weights(cls: type[Layer]) -> None:
    layer = default(cls)
    for shape, _, _ in built(layer):
        one, two = (real(on_meta(layer, shape)[0], seed=3).state_dict() for _ in range(2))
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].float().isfinite().all(), f"reset_parameters leaves {name} unset"
            assert torch.equal(one[name], two[name])


@every_layer
def test_gradients_reach_all_parameters(cls: type[Layer]) -> None:
    layer = default(cls)
    for shape, outline, _ in built(layer):
        module = real(outline, seed=1).train()
        inputs = inputs_of(layer, shape, "cpu")
        output = module(*(x.requires_grad_() for x in inputs))
        (output * torch.randn(output.shape)).sum().backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        if not reads_ids(cls):
            assert any(x.grad is not None and x.grad.abs().sum() > 0 for x in inputs)


@every_layer
def test_rows_do_not_see_each_other_in_evaluation(cls: type[Layer]) -> None:
    layer = default(cls)
    for shape, outline, _ in built(layer):
        module = real(outline, seed=1).eval()
        inputs = inputs_of(layer, shape, "cpu")
        alone = module(*(x[:1] for x in inputs))
        torch.testing.assert_close(module(*inputs)[:1], alone)


def test_module_classes_have_names_of_their_own() -> None:
    names = [cls.__name__ for cls in MODULES]
    assert MODULES and len(set(names)) == len(names)


@pytest.mark.parametrize("cls", MODULES, ids=lambda cls: cls.__name__)
def test_module_source_stands_alone_and_keeps_its_arguments(cls: type[nn.Module]) -> None:
    """The copied source, called with the attributes named like its arguments, gives the same."""
    assert cls in parts(), f"no layer of the tests builds a {cls.__name__}"
    network, part, inputs = parts()[cls]
    seen: list = []
    part.register_forward_hook(lambda _, given, output: seen.append((given, output)))
    network(*inputs)
    given_inputs, output = seen[0]

    namespace: dict = {}
    sources = Sources()
    sources.add(cls)
    written = [sources.written_imports(), *sources.constants.values()]
    exec("\n".join([*written, *sources.definitions.values()]), namespace)
    arguments = inspect.signature(cls).parameters
    copy = namespace[cls.__name__](**{name: getattr(part, name) for name in arguments})
    copy.load_state_dict(part.state_dict())
    again = copy.eval()(*given_inputs)
    if isinstance(output, tuple):  # a stem gives its layout on
        (again, _), (output, _) = again, output
    assert torch.equal(again, output)


@functools.cache
def parts() -> dict[type[nn.Module], tuple[nn.Module, nn.Module, tuple[Tensor, ...]]]:
    """Of each module class: a network with one of it, that one, and inputs of the network."""
    found = {}
    for layer in examples():
        for shape, outline, _ in built(layer):
            network = real(outline, seed=2).eval()
            for part in network.modules():
                if type(part) in MODULES:
                    found[type(part)] = network, part, inputs_of(layer, shape, "cpu")
    return found


def examples() -> Iterator[Layer]:
    """Defaults and random designs of every layer, and those that only a certain input brings."""
    from vitruvius.techniques.layers import AveragePool, Conv, Graph, Identity, Residual, Wire

    for cls in LAYERS:
        yield default(cls)
        space = opened(cls)
        for seed in range(4):
            yield replay(space, sample(space, random.Random(seed)))
    yield AveragePool(2, 1, "same")
    yield Residual(Conv(40, stride=2))
    yield Residual(Conv(4))
    yield Graph(("a", "b"), (Wire("c", Identity(), ("a", "b")),), "c")
