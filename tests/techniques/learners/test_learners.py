"""Aligned rows, sums that add up, exemplars, distillation: each learner's own invariant."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.contracts.test_learners import SHORT, begun, lesson, taught
from vitruvius.contracts import Given, Lesson, Stream
from vitruvius.contracts.batches import Outputs
from vitruvius.techniques.learners import (
    WA,
    Descent,
    FineTuning,
    ICaRL,
    Joint,
    LwF,
    RanPAC,
    Replay,
    aligned,
    herded,
)
from vitruvius.techniques.learners.descent import batches, descend
from vitruvius.techniques.learners.exemplars import Memory
from vitruvius.techniques.learners.growing import Classifier, distilled
from vitruvius.techniques.learners.ranpac import best_ridge, solution

EVERYTHING = 10_000


class Same(nn.Module):
    """Its input is the hidden vector."""

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(stream.values)


def rows_of(inputs: torch.Tensor, label: torch.Tensor) -> list[tuple[Any, ...]]:
    return sorted((int(c), *map(float, x)) for x, c in zip(inputs, label, strict=True))


# Joint and replay


def test_with_a_memory_without_end_replay_trains_on_what_joint_training_does() -> None:
    """Each item of all tasks so far once, in every task."""
    replay, joint = begun(Replay(SHORT), memory=EVERYTHING), begun(Joint(SHORT))
    for task in range(3):
        now: Any = lesson(task)
        ours, theirs = (rows_of(*one.pool(now)) for one in (replay, joint))  # type: ignore[attr-defined]
        assert ours == theirs and len(ours) == 12 * (task + 1)
        replay.learn(now)
        joint.learn(now)


def test_joint_training_forgets_what_it_trained_before() -> None:
    """The last of its trainings is that of one who saw everything at once."""
    steps = begun(Joint(SHORT))
    for task in range(2):
        steps.learn(lesson(task))
    first = {n: t.clone() for n, t in begun(Joint(SHORT)).body.state_dict().items()}
    assert all(torch.equal(steps.first[n], t) for n, t in first.items())  # type: ignore[attr-defined]
    once = begun(Joint(SHORT))
    parts = [lesson(task) for task in range(2)]
    whole = Lesson(torch.cat([p.inputs for p in parts]), torch.cat([p.label for p in parts]), 0, 4)
    for learning in (steps, once):
        learning.rng.manual_seed(11)  # type: ignore[attr-defined]
        learning.body.load_state_dict(first)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        once.learn(whole)
        steps.items, steps.labels = steps.items[:1], steps.labels[:1]  # type: ignore[attr-defined]
        torch.manual_seed(1)
        steps.learn(parts[1])
    assert torch.equal(once.answer(whole.inputs), steps.answer(whole.inputs))


def test_without_a_memory_replay_is_fine_tuning() -> None:
    x = lesson(0).inputs
    without, plain = begun(Replay(SHORT), memory=0), begun(FineTuning(SHORT))
    with torch.random.fork_rng():
        for learning in (without, plain):
            torch.manual_seed(0)
            for task in range(2):
                learning.learn(lesson(task))
    assert torch.equal(without.answer(x), plain.answer(x))


def test_fine_tuning_forgets_and_replay_less() -> None:
    right = []
    for learner in (FineTuning(SHORT.replace(epochs=30)), Replay(SHORT.replace(epochs=30))):
        first = lesson(0)
        right.append((taught(learner).answer(first.inputs).argmax(1) == first.label).sum().item())
    assert right[0] < 4 and right[1] > 8


def test_exemplars_fill_their_share_of_a_batch() -> None:
    seen: list[torch.Tensor] = []
    net = nn.Linear(1, 1)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows)
        return net(torch.ones(1, 1)).sum()

    how = SHORT.replace(batch_size=8, epochs=2)
    items = descend(how, (net,), loss, 30, torch.Generator().manual_seed(0), old=6, share=0.25)
    assert [int((rows >= 24).sum()) for rows in seen] == [2] * 8
    for epoch in (seen[:4], seen[4:]):
        assert sorted(r for rows in epoch for r in rows.tolist() if r < 24) == list(range(24))
    assert items == 64


def test_a_batch_of_one_is_left_out_where_there_are_others() -> None:
    rng = torch.Generator().manual_seed(0)
    assert [len(rows) for rows in batches(3, 2, rng)] == [2]
    assert [len(rows) for rows in batches(1, 2, rng)] == [1]


def test_old_rows_of_a_classifier_stay_when_it_grows() -> None:
    layer = Classifier(4)
    layer.grow(3, torch.Generator().manual_seed(0))
    old = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.grow(5, torch.Generator().manual_seed(1))
    assert torch.equal(layer.weight[:3], old[0]) and torch.equal(layer.bias[:3], old[1])
    assert layer.weight.shape == (5, 4) and layer.weight.abs().max() <= 0.5


# Exemplars


def test_herding_takes_what_brings_the_mean_nearest() -> None:
    """By trying all, step by step."""
    rng = torch.Generator().manual_seed(0)
    f = torch.randn(9, 4, generator=rng)
    unit = F.normalize(f.double(), dim=1)
    chosen: list[int] = []
    for _ in range(5):
        rest = [i for i in range(9) if i not in chosen]
        far = {i: (unit.mean(0) - unit[[*chosen, i]].mean(0)).norm().item() for i in rest}
        chosen.append(min(far, key=lambda i: far[i]))
    assert herded(f, 5).tolist() == chosen
    assert sorted(herded(f, 20).tolist()) == list(range(9))


@pytest.mark.parametrize("choice", ["herding", "random"])
def test_a_memory_holds_items_of_their_class(choice: str) -> None:
    memory = Memory(2, choice, torch.Generator().manual_seed(0))
    for task in range(2):
        memory.keep(lesson(task), lambda x: x)
    items, label = memory.all(lesson(2))
    assert label.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    known = rows_of(
        *(torch.cat([getattr(lesson(t), n) for t in (0, 1)]) for n in ("inputs", "label"))
    )
    assert set(rows_of(items, label)) <= set(known)
    assert len(memory) == len(set(rows_of(items, label))) == 8


# Distillation and alignment


def test_distillation_is_the_cross_entropy_of_softened_answers() -> None:
    now, before = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    found = []
    for z, w in zip(now.tolist(), before.tolist(), strict=True):
        p = [math.exp(v / 2) / sum(math.exp(u / 2) for u in w) for v in w]
        q = [math.exp(v / 2) / sum(math.exp(u / 2) for u in z) for v in z]
        found.append(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
    assert distilled(now, before, 2.0).item() == pytest.approx(sum(found) / 2, rel=1e-5)


def test_lwf_asks_new_rows_for_the_label_and_old_ones_for_their_answers() -> None:
    learning: Any = taught(LwF(SHORT, strength=3.0, temperature=2.0), 1)
    learning.seen, before = 2, torch.tensor([[1.0, -1.0], [0.5, 0.0]])
    learning.before = torch.cat([torch.zeros(1, 2), before])
    logits = torch.tensor([[0.3, 0.1, 2.0, -1.0], [0.0, 0.2, 0.4, 0.8]])
    label, rows = torch.tensor([2, 3]), torch.tensor([1, 2])
    new = F.cross_entropy(logits[:, 2:], torch.tensor([0, 1]))
    wanted = new + 3 * distilled(logits[:, :2], before, 2.0)
    assert learning.loss(logits, label, rows).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize("strength", [None, 2.0])
def test_wa_weighs_old_answers_by_the_number_of_classes(strength: float | None) -> None:
    learning: Any = taught(WA(SHORT, strength=strength), 1)
    learning.seen, learning.before = 3, torch.tensor([[1.0, -1.0, 0.0]])
    logits, label = torch.tensor([[0.3, 0.1, 2.0, -1.0]]), torch.tensor([3])
    new = F.cross_entropy(logits, label)
    old = distilled(logits[:, :3], learning.before, 2.0)
    wanted = new / 4 + old * 3 / 4 if strength is None else new + 2 * old
    assert learning.loss(logits, label, torch.tensor([0])).item() == pytest.approx(wanted.item())


def test_alignment_leaves_old_logits_unchanged_bit_for_bit() -> None:
    rng = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(7, 5, generator=rng), torch.randn(20, 5, generator=rng)
    weight[4:] *= 9
    found = aligned(weight, 4)
    assert torch.equal(F.linear(hidden, found[:4]), F.linear(hidden, weight[:4]))
    assert torch.equal(found[:4], weight[:4])
    lengths = found.norm(dim=1)
    assert lengths[4:].mean().item() == pytest.approx(lengths[:4].mean().item(), rel=1e-6)
    ratio = found[4:] / weight[4:]
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))


def test_wa_aligns_at_the_end_of_a_task_and_old_answers_stay() -> None:
    """The same training with and without: equal in all but the new rows."""
    both: list[Any] = [taught(WA(SHORT, align=align), 1) for align in (False, True)]
    with torch.random.fork_rng():
        for learning in both:
            torch.manual_seed(0)
            learning.learn(lesson(1))
    x = lesson(0).inputs
    plain, brought = (learning.answer(x) for learning in both)
    assert torch.equal(plain[:, :2], brought[:, :2]) and not torch.equal(plain, brought)
    lengths = both[1].classifier.weight.norm(dim=1)
    assert lengths[2:].mean().item() == pytest.approx(lengths[:2].mean().item(), rel=1e-5)


def test_wa_can_cut_weights_off_at_0() -> None:
    learning: Any = taught(WA(SHORT, positive=True), 2)
    assert learning.classifier.weight.min() >= 0


# iCaRL


def test_icarl_answers_by_the_nearest_mean_of_exemplars() -> None:
    learning: Any = taught(ICaRL(SHORT), 2)
    x = lesson(1).inputs
    f = F.normalize(learning.features(x), dim=1)
    means = []
    for c in range(4):
        own = F.normalize(learning.features(learning.memory.items[c]), dim=1).mean(0)
        means.append(own / own.norm())
    far = torch.stack([(f - mean).square().sum(1) for mean in means], 1)
    torch.testing.assert_close(learning.answer(x), -far, atol=1e-5, rtol=1e-4)


def test_icarl_asks_old_classes_for_what_they_answered() -> None:
    learning: Any = taught(ICaRL(SHORT), 1)
    learning.seen, learning.before = 2, torch.tensor([[0.7, 0.2]])
    logits = torch.tensor([[0.3, 0.1, 2.0, -1.0]])
    wanted = torch.tensor([[0.7, 0.2, 0.0, 1.0]])
    found = learning.loss(logits, torch.tensor([3]), torch.tensor([0]))
    q = logits.sigmoid()
    assert found.item() == pytest.approx(
        -(wanted * q.log() + (1 - wanted) * (1 - q).log()).sum().item(), rel=1e-5
    )


# RanPAC


def ridge_of(order: list[int]) -> tuple[torch.Tensor, Any]:
    """The weights after tasks in this order, columns by the true class; and the learning."""
    method = RanPAC(width=32, ridge=0.1)
    learning: Any = method.begin(Same(), 0, Given(rng=torch.Generator().manual_seed(0)))
    place = {c: i for i, c in enumerate(c for t in order for c in (2 * t, 2 * t + 1))}
    for i, task in enumerate(order):
        one = lesson(task, 40)
        label = torch.tensor([place[int(c)] for c in one.label])
        learning.learn(Lesson(one.inputs, label, 2 * i, 2 * i + 2))
    columns = [place[c] for c in range(2 * len(order))]
    return learning.head.weight[:, columns], learning


def test_ranpac_adds_up_to_the_ridge_regression_of_everything_in_any_order() -> None:
    found, learning = ridge_of([0, 1, 2])
    parts = [lesson(task, 40) for task in range(3)]
    h = (torch.cat([p.inputs for p in parts]) @ learning.projection).relu().double()
    y = F.one_hot(torch.cat([p.label for p in parts])).double()
    whole = torch.cat([h, 0.1**0.5 * torch.eye(32, dtype=torch.float64)])
    wanted = torch.linalg.lstsq(whole, torch.cat([y, y.new_zeros(32, 6)])).solution
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    for order in ([2, 0, 1], [1, 2, 0]):
        torch.testing.assert_close(ridge_of(order)[0], found, atol=1e-5, rtol=1e-5)


def test_ranpac_chooses_the_ridge_with_the_least_error_on_a_fifth() -> None:
    rng = torch.Generator().manual_seed(0)
    h = torch.randn(50, 8, generator=rng, dtype=torch.float64)
    y = F.one_hot((h[:, 0] > 0).long()).double()
    errors = {}
    for k in range(-8, 9):
        w = solution(h[:40].T @ h[:40], h[:40].T @ y[:40], 10.0**k)
        errors[10.0**k] = (h[40:] @ w - y[40:]).square().mean().item()
    assert best_ridge(h, y) == min(errors, key=lambda r: errors[r])
    assert best_ridge(h[:1], y[:1]) == 1e8
    method: Any = RanPAC(width=16)
    learning = method.begin(Same(), 0, Given(rng=torch.Generator().manual_seed(0)))
    learning.learn(lesson(0))
    assert learning.answer(lesson(0).inputs).shape == (12, 2)


# What is refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Descent(epochs=0), "at least one epoch and one item"),
        (lambda: Descent(learning_rate=0.0), "a learning rate above 0"),
        (lambda: Replay(exemplars="best"), "exemplars is herding or random; got 'best'"),
        (lambda: Replay(share=1.0), "a share of a batch above 0 and below 1; got 1.0"),
        (lambda: WA(temperature=0.0), "WA needs a temperature above 0"),
        (lambda: LwF(strength=-1.0), "LwF needs a temperature above 0 and no negative"),
        (lambda: RanPAC(ridge=0.0), "a ridge above 0"),
        (lambda: begun(ICaRL(SHORT), memory=0), "needs at least 1 of each class; got 0"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
