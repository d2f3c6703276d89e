"""Heads that go: as if they were masked, and adapters follow."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contracts.bases import OURS, answers, base, given, train
from vitruvius.contracts import Adapter, Model, WeightDelta, base_parameters
from vitruvius.space import from_json, to_json
from vitruvius.techniques.adapters import FullTuning, LowRank, LowRankSparse, Tucker
from vitruvius.techniques.adapters.low_rank import ATTENTION
from vitruvius.techniques.compressors import PruneHeads
from vitruvius.techniques.layers import ALiBi, Attention, Block
from vitruvius.train.adapting import attach
from vitruvius.train.text_bodies import fill, outline_text

OUT = "input.network.blocks.{}.mixer.out.weight"


def masked(model: Model, structure: Any) -> Model:
    """All heads are there, and the maps back do not read those that are gone."""
    for layer in range(2):
        weight = base_parameters(model)[OUT.format(layer)]
        gone = torch.ones(weight.shape[1], dtype=torch.bool)
        gone[structure.kept[OUT.format(layer)]] = False
        with torch.no_grad():
            weight[:, gone] = 0
    return model


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_removing_heads_is_masking_them(share: float) -> None:
    model = base("ours")
    before = answers(model)
    made = PruneHeads(share, "weight").compress(model, given())
    assert torch.equal(answers(model), before), "the one given stays as it is"
    expected = answers(masked(base("ours"), made.structure))
    torch.testing.assert_close(answers(made.model), expected, rtol=1e-5, atol=1e-5)
    for layer in range(2):
        rows = round(16 * 4 * (1 - share))
        assert base_parameters(made.model)[OUT.format(layer)].shape == (64, rows)
    assert made.structure.axes == {OUT.format(layer): 1 for layer in range(2)}


def test_the_least_important_heads_go() -> None:
    model = base("ours")
    with torch.no_grad():
        for layer in range(2):
            for name in ("query", "value"):
                path = f"input.network.blocks.{layer}.mixer.{name}.weight"
                base_parameters(model)[path][16 * layer : 16 * (layer + 1)] *= 0.01
    kept = PruneHeads(0.25, "weight").compress(model, given()).structure.kept
    for layer in range(2):
        stays = [row for row in range(64) if row // 16 != layer]
        assert kept[f"input.network.blocks.{layer}.mixer.query.weight"].tolist() == stays


def test_the_design_is_that_of_what_is_left() -> None:
    found = base("ours")
    model = Model(found.bodies, found.heads, found.lineage, {"input": OURS})
    made = PruneHeads(0.25, "weight").compress(model, given()).model
    design: Any = from_json(to_json(made.designs["input"]))
    assert [block.mixer.heads for block in design.blocks] == [3, 3]
    assert [block.mixer.head_width for block in design.blocks] == [16, 16]
    again = fill(outline_text(design, 2, 8)[0], 0).eval()
    again.load_state_dict(made.bodies["input"].state_dict())
    rebuilt = Model({"input": again}, made.heads, made.lineage)
    assert torch.equal(answers(rebuilt), answers(made))


@pytest.mark.parametrize(
    "adapter",
    [
        LowRank(4, sites=ATTENTION),
        LowRankSparse(4, 64, "random", sites=ATTENTION),
        Tucker(4, sites=ATTENTION),
        FullTuning(),
    ],
    ids=lambda adapter: type(adapter).__name__,
)
def test_what_was_learned_stays_where_heads_stay(adapter: Adapter) -> None:
    adapted = attach(adapter, base("ours"), given())
    train(adapted.model)
    deltas = adapted.deltas()
    made = PruneHeads(0.5, "change").compress(base("ours"), given().but(adapted=adapted))
    less = adapted.restrict(made.structure, made.model)
    now = less.deltas()
    for name, places in made.structure.kept.items():
        if name in deltas:
            wanted = deltas[name].index_select(made.structure.axes.get(name, 0), places)
            torch.testing.assert_close(now[name], wanted, rtol=1e-5, atol=1e-6)
    before = answers(less.model)
    expected = answers(masked_with(adapted, made.structure))
    torch.testing.assert_close(before, expected, rtol=1e-4, atol=1e-5)
    train(less.model)
    after = answers(less.model)
    assert not torch.equal(after, before)
    torch.testing.assert_close(answers(less.merge()), after, rtol=1e-5, atol=1e-5)


def masked_with(adapted: Any, structure: Any) -> Model:
    """What was trained, merged, and then without these heads."""
    return masked(adapted.merge(), structure)


def test_the_change_needs_what_changed() -> None:
    with pytest.raises(ValueError, match=r"importance by 'change' needs .* give adapted"):
        PruneHeads().compress(base("ours"), given())


def test_a_model_with_an_adapter_is_refused() -> None:
    adapted = attach(LowRank(), base("ours"), given())
    with pytest.raises(ValueError, match=r"pruned without its adapter; to its body 'input' one"):
        PruneHeads(0.5, "weight").compress(adapted.model, given())


@pytest.mark.parametrize(
    ("sharing", "heads", "key_heads"), [(1, 2, 2), (2, 2, 1), (4, 2, 1)], ids=["own", "two", "all"]
)
def test_heads_that_share_keys_go_with_them_or_leave_them(
    sharing: int, heads: int, key_heads: int
) -> None:
    design = OURS.replace(blocks=(Block(Attention(4, sharing)),) * 2)
    body = fill(outline_text(design, 2, 8)[0], 0).eval()
    model = Model({"input": body}, {}, base("ours").lineage, {"input": design})
    made = PruneHeads(0.5, "weight").compress(model, given())
    parameters = base_parameters(made.model)
    for layer in range(2):
        path = f"input.network.blocks.{layer}.mixer"
        assert parameters[f"{path}.query.weight"].shape == (16 * heads, 64)
        assert parameters[f"{path}.key.weight"].shape == (16 * key_heads, 64)
        assert (f"{path}.key.weight" in made.structure.kept) == (sharing < 4)
    now = answers(made.model)
    torch.testing.assert_close(now, answers(masked(model, made.structure)), rtol=1e-5, atol=1e-5)
    thin: Any = from_json(to_json(made.model.designs["input"]))
    assert [b.mixer.heads // b.mixer.sharing for b in thin.blocks] == [key_heads] * 2
    again = fill(outline_text(thin, 2, 8)[0], 0).eval()
    again.load_state_dict(made.model.bodies["input"].state_dict())
    assert torch.equal(answers(Model({"input": again}, {}, made.model.lineage)), now)


def test_heads_of_other_kinds_are_refused() -> None:
    plain = Model({"input": torch.nn.Linear(4, 4)}, {}, base("ours").lineage)
    with pytest.raises(ValueError, match=r"removes heads of Attention\(\), and no body here has"):
        PruneHeads(0.5, "weight").compress(plain, given())
    body = fill(outline_text(OURS.replace(positions=ALiBi()), 2, 8)[0], 0)
    model = Model({"input": body}, {}, base("ours").lineage)
    with pytest.raises(ValueError, match=r"no slope of their own; network\.blocks\.0\.mixer has"):
        PruneHeads(0.5, "weight").compress(model, given())


def test_a_design_that_is_not_known_is_refused() -> None:
    found = base("ours")
    strange = {"input": OURS.replace(blocks=())}
    model = Model(found.bodies, found.heads, found.lineage, strange)
    with pytest.raises(ValueError, match=r"knows the attention of an Encoder or a Decoder"):
        PruneHeads(0.5, "weight").compress(model, given())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 0.0}, r"PruneHeads\.share must be above 0 and below 1; got 0\.0"),
        ({"importance": "x"}, r"PruneHeads\.importance must be one of weight, .* got 'x'"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneHeads(**fields)


def test_an_edit_that_cannot_follow_says_so() -> None:
    class Fixed(LowRank):
        cut = WeightDelta.cut

    adapted = attach(Fixed(), base("ours"), given())
    made = PruneHeads(0.5, "weight").compress(base("ours"), given())
    with pytest.raises(ValueError, match=r"Fixed cannot follow weights that become smaller\. Call"):
        adapted.restrict(made.structure, made.model)
