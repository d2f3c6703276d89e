"""Card 57's invariants, against AdamW, against the algorithm written out, and against Shampoo."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvius.contracts import Group
from vitruvius.techniques.optimizers import SOAP
from vitruvius.techniques.optimizers.soap import (
    covariance,
    eigenvectors,
    from_means,
    renewed,
    seen_shape,
    turned,
    turned_axes,
)

F64 = torch.float64


def drawn(*size: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(size, dtype=F64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def run(
    how: SOAP, w: Tensor, gradient: Callable[[int, Tensor], Tensor], steps: int
) -> list[Tensor]:
    """The weights after each step."""
    p = nn.Parameter(w.clone())
    made = how.build([Group(("w",), (p,))])
    path = []
    for step in range(steps):
        p.grad = gradient(step, p.detach())
        made.step()
        path.append(p.detach().clone())
    return path


def adamw(
    how: SOAP, w: Tensor, gradient: Callable[[int, Tensor], Tensor], steps: int
) -> list[Tensor]:
    p = nn.Parameter(w.clone())
    made = torch.optim.AdamW(
        [p], how.learning_rate, (how.beta1, how.beta2), how.epsilon, how.weight_decay
    )
    path = []
    for step in range(steps):
        p.grad = gradient(step, p.detach())
        made.step()
        path.append(p.detach().clone())
    return path


@pytest.mark.parametrize("size", [(6,), (6, 5), (4, 3, 2, 2)])
def test_without_bases_it_is_adamw_one_step_later(size: tuple[int, ...]) -> None:
    how = SOAP(0.01, weight_decay=0.0, largest_side=1, epsilon=1e-15)
    ours = run(how, drawn(*size), lambda k, _: drawn(*size, seed=k), 21)
    theirs = adamw(how, drawn(*size), lambda k, _: drawn(*size, seed=k + 1), 20)
    assert torch.equal(ours[0], drawn(*size))
    assert max((a - b).abs().max() for a, b in zip(ours[1:], theirs, strict=True)) < 1e-6


def test_where_the_eigenbasis_is_the_unit_matrix_it_is_adamw() -> None:
    sizes = torch.tensor([5.0, 3.0, 2.0, 1.0], dtype=F64)

    def gradient(step: int, w: Tensor) -> Tensor:
        return torch.diag(sizes * (1 + 0.1 * math.sin(step)) * (-1) ** (step // 3))

    how = SOAP(0.01, weight_decay=0.0, refresh=1, epsilon=1e-15)
    ours = run(how, torch.zeros(4, 4, dtype=F64), gradient, 21)
    theirs = adamw(how, torch.zeros(4, 4, dtype=F64), lambda k, w: gradient(k + 1, w), 20)
    assert max((a - b).abs().max() for a, b in zip(ours[1:], theirs, strict=True)) < 1e-6


def test_the_first_call_moves_nothing() -> None:
    for how in (SOAP(), SOAP(vectors=True), SOAP(one_sided=True, factored=True, merge_axes=True)):
        for size in ((5,), (5, 4), (3, 2, 2, 2)):
            (after,) = run(how, drawn(*size), lambda _k, _w, s=size: drawn(*s, seed=1), 1)
            assert torch.equal(after, drawn(*size))


def written_out(how: SOAP, w: Tensor, gradients: list[Tensor]) -> list[Tensor]:
    """The card's steps for one matrix, one after the other."""
    b1, b2 = how.beta1, how.beta2
    left = (1 - b2) * gradients[0] @ gradients[0].T
    right = (1 - b2) * gradients[0].T @ gradients[0]
    ql, qr = (torch.linalg.eigh(p)[1].flip(1) for p in (left, right))
    m, v, path = torch.zeros_like(w), torch.zeros_like(w), [w]
    for t, g in enumerate(gradients[1:], 1):
        inside = ql.T @ g @ qr
        m = b1 * m + (1 - b1) * g  # kept unturned
        v = b2 * v + (1 - b2) * inside**2
        rate = how.learning_rate * math.sqrt(1 - b2**t) / (1 - b1**t)
        w = w - rate * ql @ ((ql.T @ m @ qr) / (v.sqrt() + how.epsilon)) @ qr.T
        w = w - how.learning_rate * how.weight_decay * w
        left = b2 * left + (1 - b2) * g @ g.T
        right = b2 * right + (1 - b2) * g.T @ g
        if t % how.refresh == 0:
            order = (ql.T @ left @ ql).diag().argsort(descending=True)
            v, ql = v[order], torch.linalg.qr(left @ ql[:, order])[0]
            order = (qr.T @ right @ qr).diag().argsort(descending=True)
            v, qr = v[:, order], torch.linalg.qr(right @ qr[:, order])[0]
        path.append(w)
    return path


@pytest.mark.parametrize("refresh", [1, 3, 10])
def test_it_is_the_algorithm_written_out(refresh: int) -> None:
    how = SOAP(0.02, weight_decay=0.1, refresh=refresh)
    gradients = [drawn(6, 5, seed=k) * (1 + k % 4) for k in range(40)]
    ours = run(how, drawn(6, 5), lambda k, _: gradients[k], 40)
    theirs = written_out(how, drawn(6, 5), gradients)
    assert max((a - b).abs().max() for a, b in zip(ours, theirs, strict=True)) < 1e-9


def least_squares(turn: bool) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """1/2 |A W B - C|^2 from W = W0, and the same problem in turned coordinates."""
    a, b, c, w = drawn(6, 6, seed=1), drawn(5, 5, seed=2), drawn(6, 5, seed=3), drawn(6, 5, seed=4)
    u, v = torch.linalg.qr(drawn(6, 6, seed=5)).Q, torch.linalg.qr(drawn(5, 5, seed=6)).Q
    if not turn:
        return w, lambda x: 0.5 * (a @ x @ b - c).square().sum()
    return u @ w @ v.T, lambda x: 0.5 * (a @ u.T @ x @ v @ b - c).square().sum()


def losses(stepped: Callable[..., list[Tensor]], how: SOAP, turn: bool) -> Tensor:
    start, loss = least_squares(turn)

    def gradient(step: int, w: Tensor) -> Tensor:
        return torch.func.grad(loss)(w)

    return torch.stack([loss(w) for w in stepped(how, start, gradient, 100)])


@pytest.mark.parametrize("refresh", [1, 10])
def test_turning_the_problem_does_not_change_the_losses(refresh: int) -> None:
    how = SOAP(0.01, weight_decay=0.0, refresh=refresh)
    plain, turning = losses(run, how, False), losses(run, how, True)
    assert ((plain - turning).abs() / plain).max() < 1e-3
    assert plain[-1] < 0.9 * plain[0]
    plain, turning = losses(adamw, how, False), losses(adamw, how, True)
    assert ((plain - turning).abs() / plain).max() > 5e-2


def state_of(how: SOAP, *size: int, steps: int = 3, dtype: torch.dtype = F64) -> dict[str, Any]:
    p = nn.Parameter(drawn(*size, dtype=dtype))
    made = how.build([Group(("w",), (p,))])
    for step in range(steps):
        p.grad = drawn(*size, seed=step, dtype=dtype)
        made.step()
    return made.state[p]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bases_stay_orthonormal(dtype: torch.dtype) -> None:
    state = state_of(SOAP(refresh=5), 24, 16, steps=101, dtype=dtype)
    for axis, n in ((0, 24), (1, 16)):
        basis = state[f"basis.{axis}"]
        assert basis.dtype == torch.float32
        assert (basis.T @ basis - torch.eye(n)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(6, 5), (4, 3, 2, 2), (4, 12), (7,)])
def test_turning_forth_and_back_changes_nothing(size: tuple[int, ...]) -> None:
    x = drawn(*size)
    bases = [torch.linalg.qr(drawn(n, n, seed=n)).Q for n in size]
    for some in (bases, [None, *bases[1:]], [*bases[:-1], None], [None] * len(size)):
        inside = turned(x, some)
        assert inside.shape == x.shape
        assert torch.allclose(turned(inside, some, back=True), x, atol=1e-12)
    if len(size) == 2:
        assert torch.allclose(turned(x, bases), bases[0].T @ x @ bases[1], atol=1e-12)


def test_covariances_are_of_one_axis_over_all_others() -> None:
    x = drawn(4, 3, 2)
    assert torch.allclose(covariance(x, 1), torch.einsum("aib,ajb->ij", x, x))
    assert torch.allclose(covariance(x[:, 0, 0], 0), torch.outer(x[:, 0, 0], x[:, 0, 0]))


def test_state_is_of_the_size_that_is_said() -> None:
    m, n = 6, 5
    numbers = sum(t.numel() for t in state_of(SOAP(), m, n).values() if isinstance(t, Tensor))
    assert numbers == 2 * (m * n + m * m + n * n)
    one = sum(
        t.numel() for t in state_of(SOAP(one_sided=True), m, n).values() if torch.is_tensor(t)
    )
    assert one == 2 * (m * n + n * n)
    few = state_of(SOAP(one_sided=True, factored=True), m, n)
    assert sum(t.numel() for t in few.values() if torch.is_tensor(t)) == m * n + m + n + 2 * n * n


@pytest.mark.parametrize(
    ("how", "size", "seen", "axes"),
    [
        (SOAP(), (6, 5), (6, 5), (0, 1)),
        (SOAP(largest_side=5), (6, 5), (6, 5), (1,)),
        (SOAP(one_sided=True), (6, 5), (6, 5), (1,)),
        (SOAP(one_sided=True), (5, 6), (5, 6), (0,)),
        (SOAP(), (6,), (6,), ()),
        (SOAP(vectors=True), (6,), (6,), (0,)),
        (SOAP(vectors=True, largest_side=5), (6,), (6,), ()),
        (SOAP(), (8, 4, 3, 3), (8, 4, 3, 3), (0, 1, 2, 3)),
        (SOAP(merge_axes=True, largest_side=36), (8, 4, 3, 3), (32, 9), (0, 1)),
        (SOAP(merge_axes=True, largest_side=10), (12, 2, 3, 3), (12, 6, 3), (1, 2)),
        (SOAP(merge_axes=True), (8, 4, 3, 3), (288,), (0,)),
        (SOAP(), (1, 5), (1, 5), (1,)),
        (SOAP(vectors=True), (), (), ()),
    ],
)
def test_which_axes_are_turned(
    how: SOAP, size: tuple[int, ...], seen: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    assert seen_shape(torch.Size(size), how) == seen
    assert turned_axes(torch.Size(size), how) == axes
    path = run(how, drawn(*size), lambda k, _: drawn(*size, seed=k), 25)
    assert path[-1].shape == torch.Size(size) and path[-1].isfinite().all()


def test_row_and_column_means_in_the_eigenbasis_are_shampoo() -> None:
    g = drawn(5, 4)
    left, right = covariance(g, 0), covariance(g, 1)
    bases = [eigenvectors(p[None])[0] for p in (left, right)]
    square = turned(g, bases).square()
    v = from_means(square.mean(1, keepdim=True), square.mean(0, keepdim=True))
    values = [torch.linalg.eigvalsh(p).flip(0) for p in (left, right)]
    by_hand = torch.outer(values[0] / 4, values[1] / 5) / (left.trace() / 20)
    assert torch.allclose(v, by_hand, atol=1e-12)
    # G has rank 4: all of it lies in the columns whose eigenvalues are above 0
    inside = turned(g, bases)
    ours = turned(torch.where(v > 1e-20, inside / v.sqrt(), 0.0), bases, back=True)
    powers = [
        q @ torch.diag(torch.where(e > 1e-9, e.clamp_min(1e-30) ** -0.5, 0.0)) @ q.T
        for q, e in zip(bases, values, strict=True)
    ]
    shampoo = powers[0] @ g @ powers[1] * left.trace().sqrt()
    assert torch.allclose(ours, shampoo, atol=1e-6)


def test_second_moments_follow_their_columns() -> None:
    factor = torch.diag(torch.tensor([1.0, 9.0, 4.0], dtype=F64))
    bases, (order,) = renewed(factor[None], torch.eye(3, dtype=F64)[None])
    assert order.tolist() == [1, 2, 0]
    assert torch.equal(bases[0].abs(), torch.eye(3, dtype=F64)[:, order])


def test_a_gradient_of_zero_begins_with_the_unit_matrix() -> None:
    state = state_of(SOAP(), 4, 3, steps=1)
    p = nn.Parameter(drawn(4, 3))
    made = SOAP().build([Group(("w",), (p,))])
    for _ in range(15):
        p.grad = torch.zeros_like(p)
        made.step()
    assert p.isfinite().all()
    assert torch.equal(made.state[p]["basis.0"].abs(), torch.eye(4, dtype=F64))
    assert set(state) == set(made.state[p])


def test_a_gradient_that_is_no_number_is_left_to_the_loop() -> None:
    good, bad = nn.Parameter(drawn(4, 4)), nn.Parameter(drawn(4, 4))
    made = SOAP().build([Group(("g", "b"), (good, bad))])
    for step in range(12):
        good.grad = drawn(4, 4, seed=step)
        bad.grad = torch.full_like(bad, math.nan)
        made.step()
    assert good.isfinite().all() and bad.isnan().all()


def test_normalized_steps_have_size_1() -> None:
    how = SOAP(0.01, weight_decay=0.0, normalize=True, correct_bias=False)
    path = run(how, drawn(6, 5), lambda k, _: drawn(6, 5, seed=k), 5)
    for before, after in itertools.pairwise(path):
        assert (after - before).square().mean().sqrt() == pytest.approx(0.01, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SOAP(-1.0), r"SOAP\.learning_rate must not be negative"),
        (lambda: SOAP(beta2=1.0), r"SOAP\.beta2 must be at least 0 and below 1"),
        (lambda: SOAP(factor_beta=1.0), r"SOAP\.factor_beta must be at least 0 and below 1"),
        (lambda: SOAP(refresh=0), r"SOAP\.refresh must be at least 1; got 0"),
        (lambda: SOAP(largest_side=0), r"SOAP\.largest_side must be at least 1; got 0"),
        (
            lambda: SOAP().build([Group(("c",), (nn.Parameter(torch.ones(2).to(torch.cfloat)),))]),
            r"SOAP needs real parameters; c is torch\.complex64",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
