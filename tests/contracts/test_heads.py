"""Every head answers each item: logits of classes, numbers in the unit of the target."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, name
from tests.contracts.tasks import (
    CLASSES,
    NUMBER,
    answers,
    batch_of,
    documents,
    given,
    model_of,
)
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Batch, Head, Layout, Outputs, Stream, Task
from vitruvius.techniques.heads import Answer, Embedding, Readout, WithWords, WordTags
from vitruvius.techniques.heads.item import Rescale

OF_OTHER_ANSWERS = {Embedding, WithWords, WordTags}  # tests/techniques/heads
ALL = tuple(cls for cls in catalogue(Head) if cls not in OF_OTHER_ANSWERS)
TASKS = pytest.mark.parametrize("task", [CLASSES, NUMBER], ids=lambda task: task.name)


def parts_of(module: nn.Module) -> list[nn.Module]:
    """The modules that are ours, not PyTorch's."""
    return [m for m in module.modules() if m.__class__.__module__.startswith("vitruvius")]


@TASKS
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_gives_logits_or_numbers(cls: type[Head], task: Task) -> None:
    answer = answers(model_of(example(cls), task), batch_of(documents(task)))
    assert answer.shape == ((12, 3) if task.labels else (12,))
    assert answer.dtype == torch.float32


@TASKS
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_is_built_on_meta_and_filled(cls: type[Head], task: Task) -> None:
    hidden = torch.empty(2, 3 if task.labels else 1, device="meta")
    with torch.device("meta"):
        module = example(cls).build(hidden, task)
        assert module(Outputs(hidden), None).shape == ((2, 3) if task.labels else (2,))
    module.to_empty(device="cpu")
    for part in module.modules():
        own = (*part.parameters(recurse=False), *part.buffers(recurse=False))
        for tensor in own:
            tensor.data.fill_(float("nan"))
        if own:
            part.reset_parameters()
    assert all(torch.isfinite(t).all() for t in module.state_dict().values())


@TASKS
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_its_modules_keep_their_arguments(cls: type[Head], task: Task) -> None:
    for part in parts_of(model_of(example(cls), task).heads["task"]):
        arguments = list(inspect.signature(type(part).__init__).parameters)[1:]
        remade = type(part)(**{word: getattr(part, word) for word in arguments})
        assert repr(remade) == repr(part)


@TASKS
@pytest.mark.parametrize("cls", ALL, ids=name)
def test_it_predicts_what_it_answers(cls: type[Head], task: Task) -> None:
    head, batch = example(cls), batch_of(documents(task))
    model = model_of(head, task)
    model.heads["task"].eval()  # no dropout
    found = head.predict(model, batch, given(task))
    answer = answers(model, batch)
    assert torch.equal(found.values, answer.softmax(-1) if task.labels else answer)
    assert found.targets is batch.fields["label"]
    assert torch.equal(found.rows, batch.rows)


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_numbers_are_fitted_to_the_target(cls: type[Head]) -> None:
    label = torch.from_numpy(documents(NUMBER).attributes["label"]).double()
    fitted = example(cls).fit(given(NUMBER))
    assert fitted is not None
    torch.testing.assert_close(fitted.tensors["rescale.mean"], label.mean().float())
    torch.testing.assert_close(fitted.tensors["rescale.std"], label.std(correction=0).float())
    assert example(cls).fit(given(CLASSES)) is None
    module = model_of(example(cls), NUMBER).heads["task"]
    assert set(fitted.tensors) <= set(module.state_dict())
    assert torch.equal(module.state_dict()["rescale.mean"], fitted.tensors["rescale.mean"])


@pytest.mark.parametrize("cls", ALL, ids=name)
def test_a_target_that_never_changes_has_the_unit_1(cls: type[Head]) -> None:
    items = documents(NUMBER)
    flat = replace(items, attributes={"label": 0 * items.attributes["label"] + 4}, digest="")
    fitted = example(cls).fit(given(NUMBER).but(documents=flat))
    assert fitted is not None
    assert (fitted.tensors["rescale.mean"], fitted.tensors["rescale.std"]) == (4.0, 1.0)


def test_rescale_is_exact() -> None:
    rescale = Rescale()
    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rescale(x), x)
    rescale.load_state_dict({"mean": torch.tensor(8.0), "std": torch.tensor(4.0)})
    assert torch.equal(rescale(x), x * 4 + 8)
    assert rescale(x.bfloat16()).dtype == torch.float32
    rescale.reset_parameters()
    assert torch.equal(rescale(x), x)


def test_an_answer_is_the_hidden_itself() -> None:
    hidden = torch.randn(4, 3)
    head = Answer().build(hidden, CLASSES)
    assert head(Outputs(hidden), None) is hidden
    assert not list(head.parameters())
    number = Answer().build(hidden[:, :1], NUMBER)
    assert torch.equal(number(Outputs(hidden[:, :1]), None), hidden[:, 0])
    assert torch.equal(Answer().build(hidden[:, 0], NUMBER)(SimpleNamespace(hidden=hidden[:, 0])),
                       hidden[:, 0])  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "task", "message"),
    [
        ((2, 4), CLASSES, r"Answer needs \[B, 3\] for 3 classes; got \[B, 4\]\..*Affine\(3\)"),
        ((2, 3, 1, 1), CLASSES, r"got \[B, 3, 1, 1\]"),
        ((2,), CLASSES, r"got \[B\]"),
        ((2, 3), NUMBER, r"Answer needs \[B, 1\] for a number; got \[B, 3\]\..*Readout\(\)"),
    ],
)
def test_an_answer_of_another_shape_is_refused(shape, task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Answer().build(torch.empty(shape, device="meta"), task)


def test_a_readout_needs_features() -> None:
    with pytest.raises(ValueError, match=r"Readout needs .* got 1 axis only"):
        Readout().build(torch.empty(2, device="meta"), CLASSES)


def test_a_readout_is_linear_in_the_mean() -> None:
    images, tokens = torch.randn(4, 6, 5, 7), torch.randn(4, 9, 6)
    for hidden, mean in ((images, images.mean((2, 3))), (tokens, tokens.mean(1))):
        head = Readout().build(hidden, CLASSES)
        weight, bias = head.state_dict()["linear.weight"], head.state_dict()["linear.bias"]
        assert weight.shape == (3, 6)
        torch.testing.assert_close(head(Outputs(hidden), None), mean @ weight.T + bias)


def test_a_readout_leaves_padding_out() -> None:
    hidden = torch.randn(2, 4, 6)
    segments = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]])
    head = Readout().build(hidden, CLASSES)
    padded = hidden.masked_fill(segments[..., None] == 0, 1e6)

    def answer(values: Tensor) -> Tensor:
        layout = Layout(torch.arange(4).expand(2, 4), segments)
        batch = Batch({"input": Stream(values, layout)}, {}, torch.arange(2))
        return head(Outputs(values), batch)

    torch.testing.assert_close(answer(padded), answer(hidden))
    alone = head(Outputs(hidden[:1, :2]), None)
    torch.testing.assert_close(answer(hidden)[:1], alone)
