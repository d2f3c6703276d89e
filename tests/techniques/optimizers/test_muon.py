"""PyTorch's Muon for matrices and its AdamW for the rest, in one; steps of the size it says."""

import pytest
import torch
from torch import nn

from vitruvius.contracts import Group
from vitruvius.techniques.optimizers import Muon


def parameter(*size: int, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(seed)))


def test_it_is_pytorchs_own_to_the_bit() -> None:
    ours = [parameter(6, 4), parameter(6), parameter(9, 4), parameter(3, 2, 3, 3)]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    kinds = ("matrix", "bias", "embedding", "kernel")
    groups = [
        Group((kind,), (p,), kind, decay=kind != "bias")
        for kind, p in zip(kinds, ours, strict=True)
    ]
    made = Muon(0.01, 0.1).build(groups)
    muon = torch.optim.Muon(theirs[:1], 0.01, 0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [{"params": theirs[1:2], "weight_decay": 0.0}, {"params": theirs[2:]}],
        0.01,
        (0.9, 0.95),
        weight_decay=0.1,
        fused=True,
    )
    for step in range(5):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            a.grad = torch.randn(
                a.shape, generator=torch.Generator().manual_seed(100 * step + index)
            )
            b.grad = a.grad.clone()
        for optimizer in (made, muon, adamw):
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("size", [(32, 32), (64, 16), (16, 64)])
def test_a_step_is_orthogonal_and_of_the_size_of_adamws(size: tuple[int, int]) -> None:
    w = nn.Parameter(torch.zeros(size))
    made = Muon(0.01, 0.0).build([Group(("w",), (w,))])
    w.grad = torch.randn(size, generator=torch.Generator().manual_seed(1)) * 1e-3
    made.step()
    values = torch.linalg.svdvals(w.detach()) / (0.01 * 0.2 * max(size) ** 0.5)
    assert values.min() > 0.6 and values.max() < 1.3  # Newton and Schulz aim at 0.7 to 1.2
    assert w.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_a_schedule_reaches_both_parts() -> None:
    matrix, bias = parameter(4, 4), parameter(4)
    before = [matrix.detach().clone(), bias.detach().clone()]
    made = Muon().build([Group(("m",), (matrix,)), Group(("b",), (bias,), "bias")])
    made.load_state_dict(made.state_dict())  # which replaces the groups
    for group in made.param_groups:
        group["lr"] = 0.0
    matrix.grad, bias.grad = torch.ones(4, 4), torch.ones(4)
    made.step()
    assert torch.equal(matrix, before[0]) and torch.equal(bias, before[1])
    assert len(made.state) == 2


def test_wider_matrices_get_a_smaller_rate() -> None:
    wide, head = parameter(4, 4), parameter(4, 4)
    made = Muon(0.01).build(
        [Group(("w",), (wide,), width_ratio=4.0), Group(("h",), (head,), "head", width_ratio=4.0)]
    )
    assert [g["lr"] for g in made.param_groups] == [0.005, 0.0025]
