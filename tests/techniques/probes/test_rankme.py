"""RankMe: closed forms, invariances, numpy's singular values, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vitruvius.contracts import (
    Batch,
    Documents,
    Given,
    Layout,
    Lineage,
    Measurement,
    Model,
    Outputs,
    Stream,
    Subject,
)
from vitruvius.techniques.probes import RankMe, effective_rank, rankme
from vitruvius.train.building import Body

EPSILON = 1e-7


def drawn(items: int, features: int, seed: int = 0, decay: float = 0.0) -> torch.Tensor:
    """Normal vectors whose directions shrink by exp(-decay) each."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(items, features, generator=rng, dtype=torch.float64)
    return z * torch.exp(-decay * torch.arange(features, dtype=torch.float64))


def orthonormal(items: int, features: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(drawn(items, features, seed)).Q


def by_numpy(z: torch.Tensor) -> float:
    """Equation 1 with the singular values themselves."""
    s = np.linalg.svd(z.double().numpy(), compute_uv=False)
    p = s / s.sum() + EPSILON
    return float(np.exp(-(p * np.log(p)).sum()))


def with_spectrum(sigma: list[float], items: int = 200) -> torch.Tensor:
    values = torch.tensor(sigma, dtype=torch.float64)
    return orthonormal(items, len(sigma)) * values @ orthonormal(len(sigma), len(sigma), 1).T


@pytest.mark.parametrize("features", [1, 8, 64, 256])
def test_orthonormal_columns_fill_all_features(features: int) -> None:
    share = 1 / features + EPSILON  # the paper's addition lifts it by 1e-4 of itself at 256
    found = rankme(orthonormal(600, features))
    assert found == pytest.approx(share ** (-share * features), rel=1e-9)
    assert found == pytest.approx(features, rel=2e-4)


def test_vectors_on_one_line_have_rank_one() -> None:
    line = drawn(300, 1) @ drawn(1, 64, 1)
    assert rankme(line) == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize(
    "sigma", [[1.0, 1.0], [3.0, 1.0], [8.0, 4.0, 2.0, 1.0], [1.0, 0.1, 0.01, 0.001, 0.0001]]
)
def test_known_spectra_have_the_closed_form(sigma: list[float]) -> None:
    p = np.array(sigma) / sum(sigma) + EPSILON
    expected = float(np.prod(p ** (-p)))
    assert rankme(with_spectrum(sigma)) == pytest.approx(expected, rel=1e-6)
    assert effective_rank(torch.tensor(sigma)) == pytest.approx(expected, rel=1e-6)


def test_two_directions_by_hand() -> None:
    # shares 3/4 and 1/4: entropy 0.562335 nats
    assert rankme(with_spectrum([3.0, 1.0])) == pytest.approx(1.754765, rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.05, 0.3])
def test_it_is_numpys_value(decay: float) -> None:
    for seed in range(3):
        z = drawn(500, 48, seed, decay)
        assert rankme(z) == pytest.approx(by_numpy(z), rel=1e-6)
    collapsed = drawn(500, 48) @ torch.diag(torch.tensor([1.0] * 3 + [0.0] * 45).double())
    assert rankme(collapsed) == pytest.approx(by_numpy(collapsed), rel=1e-3)
    low = drawn(500, 48, 1, decay).float()
    assert rankme(low) == pytest.approx(by_numpy(low), rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z @ orthonormal(32, 32, 5),
        lambda z: z[torch.randperm(len(z), generator=torch.Generator().manual_seed(1))],
        lambda z: 1e4 * z,
        lambda z: -z,
        lambda z: z.repeat(2, 1),
    ],
    ids=["rotated", "rows in another order", "scaled", "mirrored", "every row twice"],
)
def test_what_leaves_the_shares_leaves_the_value(
    change: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    z = drawn(400, 32, decay=0.1)
    assert rankme(change(z)) == pytest.approx(rankme(z), rel=1e-4)


def test_noise_in_all_directions_raises_it() -> None:
    z, noise = drawn(400, 32, decay=0.3), drawn(400, 32, 1)
    found = [rankme(z + share * noise) for share in (0.0, 0.1, 0.3, 1.0, 3.0)]
    assert found == sorted(found) and found[-1] > 2 * found[0]


def test_squares_would_give_another_number() -> None:
    z = drawn(400, 32, decay=0.3)
    squares = effective_rank(torch.linalg.svdvals(z).square())
    assert squares < 0.9 * rankme(z)


def test_the_mean_is_a_direction_unless_it_is_taken_off() -> None:
    z = drawn(400, 16) + 50.0
    assert rankme(z) < 8
    around = z - z.mean(0)
    assert rankme(z, centred=True) == pytest.approx(by_numpy(around), rel=1e-6)


class Constant(nn.Module):
    """A body that gives its input, with a layer that would drop and one that would count."""

    def __init__(self, features: int = 6) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(features, affine=False), nn.Dropout(0.5)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(x + self.shift))


def subject(z: torch.Tensor, model: Model) -> tuple[Subject, Given]:
    documents = Documents({"input": z.numpy()})

    def batches() -> Any:
        for rows in torch.arange(len(z)).split(64):
            yield Batch({"input": Stream(z[rows])}, {}, rows)

    return Subject((model,), (documents,)), Given(batches=batches)


def model_of(features: int = 6, heads: Any = None, objectives: tuple[str, ...] = ()) -> Model:
    body = Body(Constant(features), (features,))
    return Model({"input": body}, heads or {}, Lineage("", objectives=objectives))


def test_a_model_is_looked_at_in_evaluation_and_left_as_it_was() -> None:
    z = drawn(300, 6, decay=0.4).float()
    model = model_of(heads={"projector": nn.Linear(6, 6, bias=False)})
    body = model.bodies["input"].train()
    body.network.drop.eval()  # a part that is in another mode than the rest
    before = {name: value.clone() for name, value in body.state_dict().items()}
    generator = torch.random.get_rng_state()
    found = RankMe().measure(*subject(z, model))
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert body.training and body.network.norm.training and not body.network.drop.training
    assert model.heads["projector"].training
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    assert all(p.grad is None and not p.is_inference() for p in body.parameters())
    body.eval()
    with torch.no_grad():
        embedded = model.heads["projector"](body(Stream(z)).hidden)
    assert found.value == pytest.approx(by_numpy(embedded), rel=1e-6)
    assert (found.name, found.better, found.items) == ("rankme", "higher", 300)
    assert found.details["singular values"].shape == (6,)


def test_it_looks_after_or_before_the_projector() -> None:
    z = drawn(300, 6).float()
    narrow = nn.Linear(6, 2, bias=False)
    model = model_of(heads={"projector": narrow})
    model.bodies["input"].eval()
    assert RankMe().measure(*subject(z, model)).value <= 2 + 1e-3
    body = RankMe("representation").measure(*subject(z, model))
    with torch.no_grad():
        hidden = model.bodies["input"](Stream(z)).hidden
    assert body.value == pytest.approx(by_numpy(hidden), rel=1e-6)


class Tokens(nn.Module):
    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(stream.values)


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_tokens_become_one_vector_and_padding_does_not_count(pool: str) -> None:
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 5, 4, generator=rng)
    lengths = torch.randint(1, 6, (50,), generator=rng)
    segments = (torch.arange(5) < lengths[:, None]).long()
    stream = Stream(hidden, Layout(torch.arange(5).expand(50, 5), segments))
    batch = Batch({"input": stream}, {}, torch.arange(50))
    model = Model({"input": Tokens()}, {}, Lineage(""))
    given = Given(batches=lambda: iter([batch]))
    found = RankMe("representation", pool=pool).measure(
        Subject((model,), (Documents({"x": np.zeros(50)}),)), given
    )
    kept = [row[:n] for row, n in zip(hidden, lengths.tolist(), strict=True)]
    by_hand = {"mean": lambda x: x.mean(0), "first": lambda x: x[0], "last": lambda x: x[-1]}
    assert found.value == pytest.approx(
        by_numpy(torch.stack([*map(by_hand[pool], kept)])), rel=1e-5
    )


def test_places_of_an_image_become_one_vector() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, 2, 2, generator=rng)
    model = Model({"input": Tokens()}, {}, Lineage(""))
    batch = Batch({"input": Stream(x)}, {}, torch.arange(40))
    asked = Subject((model,), (Documents({"x": np.zeros(40)}),))
    found = RankMe("representation").measure(asked, Given(batches=lambda: iter([batch])))
    assert found.value == pytest.approx(by_numpy(x.mean((2, 3))), rel=1e-6)


def test_items_are_evenly_spread_over_the_data() -> None:
    documents = Documents({"x": np.arange(1000)})
    assert RankMe().sample(documents) is documents
    rows = RankMe(items=11).sample(documents).payload["x"]
    assert rows[0] == 0 and rows[-1] == 999 and len(rows) == 11
    assert set(np.diff(rows)) <= {99, 100}


def keys(probe: RankMe, features: int = 6, by: str = "SimCLR", items: int = 99) -> str:
    z = drawn(items, features).float()
    return probe.measure(*subject(z, model_of(features, objectives=(by,)))).comparable


def test_only_models_of_a_kind_compare() -> None:
    look = RankMe("representation")
    assert keys(look) == keys(look)
    assert "SimCLR, 6 features of the representation" in keys(look)
    others = [keys(look, by="VICReg"), keys(look, 5), keys(look, items=98)]
    others += [keys(look.replace(centred=True)), keys(look.replace(pool="last"))]
    assert len({keys(look), *others}) == 6
    assert keys(look.replace(across=True), by="VICReg") == ""


def measured(z: torch.Tensor, **fields: Any) -> Measurement:
    probe = RankMe("representation", **fields)
    body = Model({"input": Body(nn.Identity(), tuple(z.shape[1:]))}, {}, Lineage(""))
    return probe.measure(*subject(z, body))


def test_fewer_items_than_features_are_refused() -> None:
    for z in (drawn(63, 64).float(), torch.zeros(0, 3)):
        with pytest.raises(
            ValueError, match=rf"at least as many items as features.* got {len(z)} "
        ):
            measured(z)
    assert measured(drawn(64, 64).float()).value < 64


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(bad: float) -> None:
    z = drawn(100, 4).float()
    z[70, 2] = bad
    with pytest.raises(ValueError, match=r"vectors of finite numbers; got NaN or infinity"):
        measured(z)


def test_a_model_that_gives_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not all zero.* collapsed"):
        measured(torch.zeros(50, 4))
    with pytest.raises(ValueError, match=r"not all zero.* collapsed"):
        measured(torch.ones(64, 4), centred=True)


def test_a_model_without_a_projector_has_no_embeddings() -> None:
    z = drawn(100, 6).float()
    with pytest.raises(ValueError, match=r"no head 'projector'; there is none\. Take RankMe\('rep"):
        RankMe().measure(*subject(z, model_of()))
    with pytest.raises(ValueError, match=r"there is \['task'\]"):
        RankMe().measure(*subject(z, model_of(heads={"task": nn.Identity()})))


def test_several_models_are_refused() -> None:
    asked, given = subject(drawn(100, 6).float(), model_of())
    with pytest.raises(ValueError, match="one model and one set of documents; got 2 and 1"):
        RankMe().measure(replace(asked, models=asked.models * 2), given)


@pytest.mark.parametrize(("field", "value"), [("layer", "logits"), ("pool", "cls"), ("items", 1)])
def test_fields_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"RankMe\.{field} .* got {value!r}"):
        RankMe(**{field: value})
