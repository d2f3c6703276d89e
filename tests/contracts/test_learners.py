"""Every learner answers for all classes so far, keeps no more than it may, and draws from its
generator alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.common import example, name
from vitruvius.catalogue import catalogue
from vitruvius.contracts import Given, Learner, Learning, Lesson, Stream
from vitruvius.contracts.batches import Outputs
from vitruvius.techniques.learners import Descent, Joint, RanPAC
from vitruvius.techniques.schedules import Constant

LEARNERS = catalogue(Learner)
SHORT = Descent(epochs=3, batch_size=8, learning_rate=0.05, schedule=Constant())
EACH, MEMORY, ITEMS, TASKS = 2, 3, 12, 3
every = pytest.mark.parametrize("cls", LEARNERS, ids=name)


class Body(nn.Module):
    """One hidden layer with dropout: [B 6] to [B 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 5)
        self.drop = nn.Dropout(0.1)

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.drop(self.linear(stream.values).relu()))


def small(cls: type[Learner]) -> Learner:
    """The default, but quick."""
    node = example(cls)
    if isinstance(node, RanPAC):
        return node.replace(width=16)
    return node.replace(descent=SHORT)


def lesson(task: int, items: int = ITEMS) -> Lesson:
    """Items around a mean of each class, the same in every call."""
    rng = torch.Generator().manual_seed(7)
    means = 3 * torch.randn(EACH * TASKS, 6, generator=rng)
    rng.manual_seed(task)
    label = torch.arange(EACH * task, EACH * (task + 1)).repeat_interleave(items // EACH)
    inputs = means[label] + torch.randn(len(label), 6, generator=rng)
    return Lesson(inputs, label, EACH * task, EACH * (task + 1))


def begun(learner: Learner, seed: int = 0, memory: int = MEMORY) -> Learning:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        body = Body()
    return learner.begin(body, memory, Given(rng=torch.Generator().manual_seed(seed)))


def taught(learner: Learner, tasks: int = TASKS, seed: int = 0) -> Learning:
    learning = begun(learner, seed)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for task in range(tasks):
            learning.learn(lesson(task))
    return learning


@every
def test_it_answers_for_all_classes_so_far(cls: type[Learner]) -> None:
    learning = begun(small(cls))
    with torch.random.fork_rng():
        for task in range(TASKS):
            seen = lesson(task)
            effort = learning.learn(seen)
            answer = learning.answer(seen.inputs)
            assert answer.shape == (len(seen.inputs), seen.classes)
            assert torch.isfinite(answer).all()
            assert effort.trained + effort.read >= len(seen.inputs)
            assert (answer.argmax(1) == seen.label).float().mean() > 0.5


@every
def test_the_same_seeds_give_the_same_answers(cls: type[Learner]) -> None:
    inputs = lesson(0).inputs
    first, again = (taught(small(cls), 2).answer(inputs) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, taught(small(cls), 2, seed=1).answer(inputs))


@every
def test_it_keeps_no_more_of_a_class_than_it_may(cls: type[Learner]) -> None:
    learning = taught(small(cls))
    if cls is Joint:
        assert learning.kept == EACH * TASKS * ITEMS // EACH  # the upper bound keeps everything
    else:
        assert learning.kept in (0, EACH * TASKS * MEMORY)


@every
def test_answers_do_not_depend_on_what_is_asked_beside(cls: type[Learner]) -> None:
    learning, inputs = taught(small(cls), 2), lesson(1).inputs
    whole = learning.answer(inputs)
    alone = torch.cat([learning.answer(one[None]) for one in inputs])
    torch.testing.assert_close(whole, alone)
    modes = [m.training for m in learning.body.modules()]
    learning.answer(inputs)
    assert modes == [m.training for m in learning.body.modules()]


@every
def test_what_it_answers_with_can_be_copied(cls: type[Learner]) -> None:
    learning, inputs = taught(small(cls), 2), lesson(0).inputs
    body, head = copy.deepcopy(learning.body).eval(), copy.deepcopy(learning.head).eval()
    with torch.no_grad():
        found: Tensor = head(body(Stream(inputs)), None)
    torch.testing.assert_close(found, learning.answer(inputs))


@every
def test_a_body_that_gives_no_vectors_is_refused(cls: type[Learner]) -> None:
    class Tokens(nn.Module):
        def forward(self, stream: Stream) -> Outputs:
            return Outputs(stream.values[:, None].expand(-1, 4, -1))

    learning = small(cls).begin(Tokens(), MEMORY, Given(rng=torch.Generator()))
    with pytest.raises(ValueError, match=r"a body that gives \[B, d\]; got \[B, 4, 6\]"):
        learning.learn(lesson(0))


@every
def test_before_the_first_task_there_is_no_answer(cls: type[Learner]) -> None:
    with pytest.raises(ValueError, match="answers after its first task"):
        _ = begun(small(cls)).head
