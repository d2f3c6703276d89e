"""What the papers of the text objectives say of them, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.layouts import plain
from tests.contracts.tasks import CLASSES, batch_of, documents, model_of
from tests.contracts.tasks import given as item_given
from tests.contracts.texts import (
    VOCABULARY,
    Reading,
    given,
    pair_batch,
    rows_of,
    token_batch,
    token_model,
)
from vitruvius.contracts import Batch, Given, Loss, Model, Outputs, Progress, Stream
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.layers import Attention, Block, Encoder, LearnedPositions, Tokens
from vitruvius.techniques.objectives import (
    Contrastive,
    MaskedTokens,
    NextToken,
    ReplacedTokens,
    Sum,
    Supervised,
    Term,
)
from vitruvius.techniques.objectives.replaced_tokens import draw
from vitruvius.techniques.objectives.token_head import by_place, places_of
from vitruvius.techniques.policies import MaskPolicy, Shares
from vitruvius.techniques.schedules import Linear

NOW = Progress(0, 0, 12, 0.0)


def taken(objective: Any, model: Model, parts: Any, batch: Batch, seed: int = 0) -> Loss:
    return objective.step(model, parts, batch, NOW, given(seed))


def made(objective: Any, model: Model) -> Any:
    torch.manual_seed(5)
    return objective.build(model)


def test_a_fixed_number_of_places_gives_the_same_loss() -> None:
    torch.manual_seed(0)
    at = torch.rand(4, 9) < 0.3
    at[2] = False
    weight, values = at.float() * 2, torch.randn(4, 9)
    most = int(at.sum(1).max()) + 1
    exact, fixed = places_of(at), places_of(at, most)
    assert len(fixed) == 4 * most and set(exact.tolist()) <= set(fixed.tolist())
    sums = [by_place(values.flatten()[some], some, weight) for some in (exact, fixed)]
    torch.testing.assert_close(*sums)
    torch.testing.assert_close(sums[0].mean(), (values * weight).sum() / weight.sum())


def test_masked_tokens_by_hand() -> None:
    model, batch, objective = token_model(), token_batch(), MaskedTokens()
    parts = made(objective, model)
    seen = objective.corrupt(batch, NOW, given())
    hidden = model.bodies["input"](seen.batch.streams["input"]).hidden
    head, table = parts["mlm"], model.bodies["input"].network.stem.table.weight
    all_logits = head.norm(nn.functional.gelu(head.dense(hidden))) @ table.T + head.bias
    chosen = seen.chosen
    assert chosen is not None
    wanted = nn.functional.cross_entropy(all_logits[chosen], batch.streams["input"].values[chosen])
    torch.testing.assert_close(taken(objective, model, parts, batch).value, wanted)


def test_the_output_layer_sees_hidden_positions_only() -> None:
    model, batch, objective = token_model(), token_batch(), MaskedTokens()
    parts, seen = made(objective, model), []
    parts["mlm"].register_forward_hook(lambda _, x, y: seen.append(y.shape))
    taken(objective, model, parts, batch)
    chosen = objective.corrupt(batch, NOW, given()).chosen
    assert chosen is not None and seen == [(int(chosen.sum()), VOCABULARY)]


def test_a_tied_head_has_no_table_of_its_own() -> None:
    model = token_model()
    table = model.bodies["input"].network.stem.table.weight
    for objective in (MaskedTokens(), ReplacedTokens()):
        parts = made(objective, model)
        assert all(p.shape != table.shape or p is table for p in parts.parameters())
    assert made(MaskedTokens(tied=False), model)["mlm"].weight.shape == table.shape


def test_next_tokens_by_hand() -> None:
    model, batch, objective = token_model(causal=True), token_batch(), NextToken()
    parts = made(objective, model)
    stream = batch.streams["input"]
    logits = (
        model.bodies["input"](stream).hidden @ model.bodies["input"].network.stem.table.weight.T
    )
    losses = []
    for row in range(len(stream.values)):
        for at in range(1, stream.values.shape[1]):
            here, before = stream.layout.segments[row, at], stream.layout.segments[row, at - 1]
            if here > 0 and here == before:
                surprise = -logits[row, at - 1].log_softmax(0)[stream.values[row, at]]
                losses.append(surprise)
    assert len(losses) == 13 - 2 + 12 + 4 + 13 - 3
    loss = taken(objective, model, parts, batch)
    torch.testing.assert_close(loss.value, torch.stack(losses).mean())


def test_next_tokens_of_packed_documents_are_those_of_separate_ones() -> None:
    model, objective = token_model(causal=True), NextToken()
    parts = made(objective, model)
    packed = token_batch(((9, 4),), padding=0)
    stream = packed.streams["input"]
    total = taken(objective, model, parts, packed).value * (8 + 3)
    alone = []
    for part, count in ((slice(0, 9), 8), (slice(9, 13), 3)):
        ids = stream.values[:, part]
        batch = Batch({"input": Stream(ids, plain(ids))}, {}, torch.tensor([0]))
        alone.append(taken(objective, model, parts, batch).value * count)
    torch.testing.assert_close(total, torch.stack(alone).sum(), atol=1e-4, rtol=1e-5)


def test_next_token_refuses_a_body_that_sees_the_answer() -> None:
    with pytest.raises(ValueError, match="sees no later token, or it copies the answer; got Enc"):
        NextToken().build(token_model())
    foreign = replace(token_model(), designs={})
    NextToken().build(foreign)
    foreign.bodies["input"].causal = False  # type: ignore[assignment]
    with pytest.raises(ValueError, match="copies the answer; got Reading"):
        NextToken().build(foreign)


class Oracle(nn.Module):
    """A generator's head that always gives the originals."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.ids = ids

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        return 1e4 * nn.functional.one_hot(self.ids, len(table)).float()


def labels_of(objective: ReplacedTokens, model: Model, parts: Any, batch: Batch) -> Tensor:
    """What the discriminator was shown, compared to the originals."""
    shown: list[Tensor] = []
    hook = model.bodies["input"].register_forward_pre_hook(
        lambda _, stream: shown.append(stream[0].values)
    )
    taken(objective, model, parts, batch)
    hook.remove()
    return shown[-1] != batch.streams["input"].values


def test_what_was_not_drawn_is_never_replaced() -> None:
    model, batch, objective = token_model(), token_batch(), ReplacedTokens(wrong=True)
    labels = labels_of(objective, model, made(objective, model), batch)
    chosen = objective.corrupt(batch, NOW, given()).chosen
    assert chosen is not None and torch.equal(labels, chosen)
    right = ReplacedTokens()
    some = labels_of(right, model, made(right, model), batch)
    assert not (some & ~chosen).any()


def test_a_perfect_generator_replaces_nothing() -> None:
    model, batch, objective = token_model(), token_batch(), ReplacedTokens()
    parts = made(objective, model)
    seen = objective.corrupt(batch, NOW, given())
    assert seen.chosen is not None
    parts["mlm"] = Oracle(batch.streams["input"].values[seen.chosen])
    assert not labels_of(objective, model, parts, batch).any()


def test_the_discriminator_moves_the_generator_through_the_table_alone() -> None:
    model, batch = token_model(), token_batch()
    objective = ReplacedTokens()
    parts = made(objective, model)
    loss = taken(objective, model, parts, batch)
    generator_alone = taken(objective.replace(weight=0.0), model, parts, batch)
    named = dict(parts["generator"].named_parameters())
    shared = [n for n, p in named.items() if p is model.bodies["input"].network.stem.table.weight]
    assert shared == ["stem.table.weight"]
    with_it = torch.autograd.grad(loss.value, list(named.values()), retain_graph=True)
    without = torch.autograd.grad(generator_alone.value, list(named.values()))
    for name, one, two in zip(named, with_it, without, strict=True):
        assert torch.allclose(one, two, atol=1e-6) == (name not in shared), name


def test_without_weight_it_is_masked_tokens_of_the_generator() -> None:
    model, batch, objective = token_model(), token_batch(), ReplacedTokens(weight=0.0)
    parts = made(objective, model)
    reading = type(model.bodies["input"])
    generator = Model({"input": reading(parts["generator"])}, {"mlm": parts["mlm"]}, model.lineage)
    masked = MaskedTokens(objective.policy)
    expected = taken(masked, generator, masked.build(generator), batch)
    assert torch.equal(taken(objective, model, parts, batch).value, expected.value)


def test_the_discriminator_judges_all_tokens_but_padding() -> None:
    model, batch = token_model(), token_batch()
    objective = ReplacedTokens()
    parts = made(objective, model)
    with torch.no_grad():
        parts["replaced"].answer.weight.zero_()
        parts["replaced"].answer.bias.zero_()
    told = taken(objective, model, parts, batch).parts["discriminator"]
    assert told.item() == pytest.approx(0.6931472, abs=1e-6)


def test_guesses_follow_their_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]]).expand(20_000, 4)
    chances = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shares = draw(logits, chances).bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, logits[0].softmax(0), atol=0.01, rtol=0)
    banned = draw(logits, chances, torch.full((20_000,), 3)).bincount(minlength=4) / 20_000
    torch.testing.assert_close(banned[:3], logits[0, :3].softmax(0), atol=0.01, rtol=0)
    assert banned[3] == 0
    edge = draw(logits[:2], torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert edge.tolist() == [0, 3]


def test_the_generator_is_the_design_narrowed() -> None:
    design = Encoder(
        Tokens(32, VOCABULARY), (Block(Attention(8)),) * 4, positions=LearnedPositions(64)
    )
    network = design.build(torch.zeros(1, 2, dtype=torch.long))
    model = replace(token_model(), designs={"input": design})
    model = replace(model, bodies={"input": type(model.bodies["input"])(network)})
    parts = made(ReplacedTokens(width=0.25, depth=0.5), model)
    generator = parts["generator"]
    assert len(generator.blocks) == 2 and generator.blocks[0].mixer.heads == 2
    assert generator.stem.project.out_features == 8
    assert generator.stem.table.weight is network.stem.table.weight
    assert generator.stem.positions is network.stem.positions
    apart = made(ReplacedTokens(shared=False), model)["generator"]
    assert apart.stem.table.weight.shape == (VOCABULARY, 8) and apart.stem.project is None


class Vectors(nn.Module):
    """A body that looks its rows up."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        return Outputs(self.values[stream.values])


def test_contrast_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    two = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    ids = torch.tensor([[0], [1]])
    stream = Stream(ids, plain(ids))
    batch = Batch({"input": stream, "text": stream}, {}, torch.arange(2))
    model = replace(token_model(), bodies={"input": Vectors(one), "text": Vectors(two)})
    h = 2.0 * 0.5**0.5
    scores = torch.tensor([[2.0, h], [0.0, h]])
    there = -scores.log_softmax(1).diagonal()
    back = -scores.log_softmax(0).diagonal()
    for way, wanted in (("no", there), ("mean", (there + back) / 2), ("sum", there + back)):
        loss = taken(Contrastive(way, 2.0), model, nn.ModuleDict(), batch)
        torch.testing.assert_close(loss.per_row, wanted)


def test_equal_groups_are_no_negatives() -> None:
    model, batch, objective = token_model(), pair_batch(), Contrastive("no")
    parts = made(objective, model)
    grouped = replace(batch, fields={"group": torch.tensor([0, 0, 1, 2])})
    without = [0, 2, 3]
    alone = taken(objective, model, parts, rows_of(batch, torch.tensor(without))).per_row
    found = taken(objective, model, parts, grouped).per_row
    assert alone is not None and found is not None
    torch.testing.assert_close(found[0], alone[0])


def test_one_tower_is_one_body() -> None:
    model, batch = token_model(), pair_batch()
    objective = Contrastive()
    same = replace(model, bodies={**model.bodies, "text": model.bodies["input"]})
    parts = made(objective, model)
    one, two = (taken(objective, m, parts, batch).value for m in (model, same))
    assert torch.equal(one, two)


def test_a_learned_scale_starts_where_it_was_told_and_ends_at_100() -> None:
    model, batch = token_model(), pair_batch()
    objective = Contrastive(scale=30.0, learned=True)
    parts = made(objective, model)
    assert parts["scale"]().item() == pytest.approx(30.0)
    torch.testing.assert_close(
        taken(objective, model, parts, batch).value,
        taken(objective.replace(learned=False), model, parts, batch).value,
    )
    nn.init.constant_(parts["scale"].log, 9.0)
    assert parts["scale"]().item() == 100.0
    assert parts["scale"].decays == {"log": False}


def test_documents_are_pooled_over_what_is_no_padding() -> None:
    model = token_model()
    for pool in ("mean", "first"):
        objective = Contrastive(pool=pool)
        short, long = pair_batch(), pair_batch()
        wide = {}
        for name, stream in long.streams.items():
            at = stream.layout
            places = [nn.functional.pad(x, (0, 3)) for x in (at.positions, at.segments)]
            values = nn.functional.pad(stream.values, (0, 3), value=9)
            wide[name] = Stream(
                values, replace(plain(values), positions=places[0], segments=places[1])
            )
        parts = made(objective, model)
        one = taken(objective, model, parts, short).value
        two = taken(objective, model, parts, replace(long, streams=wide)).value
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_a_sum_adds_weighted_terms() -> None:
    model, batch = model_of(Readout(), CLASSES), batch_of(documents(CLASSES))
    one, two = Supervised(), Supervised(0.1)
    objective = Sum(Term(one), Term(two, Linear(floor=0.5)))
    asked, late = item_given(CLASSES), Progress(5, 0, 12, 0.5)
    parts = objective.build(model)
    loss = objective.step(model, parts, batch, late, asked)
    alone = [o.step(model, nn.Module(), batch, NOW, asked).value for o in (one, two)]
    torch.testing.assert_close(loss.value, alone[0] + 0.75 * alone[1])
    assert set(loss.parts) == {"0.Supervised", "1.Supervised"}


def test_a_sum_reads_other_flows_of_data() -> None:
    model, batch, other = token_model(), pair_batch(), token_batch(seed=9)
    objective = Sum(Term(Contrastive()), Term(MaskedTokens(), 2.0, source="texts"))
    assert objective.sources() == ("texts",)
    parts = made(objective, model)
    loss = taken(objective, model, parts, replace(batch, sources={"texts": other}))
    contrast = taken(Contrastive(), model, parts[0], batch).value
    masked = taken(MaskedTokens(), model, parts[1], other).value
    torch.testing.assert_close(loss.value, contrast + 2 * masked)
    assert loss.per_row is None and set(objective.heads(parts)) == {"mlm"}


def test_terms_share_what_stays_with_the_model() -> None:
    model = token_model()
    objective = Sum(Term(MaskedTokens()), Term(MaskedTokens(MaskPolicy("span"))))
    parts = made(objective, model)
    assert parts[0]["mlm"] is parts[1]["mlm"]


def test_masked_tokens_learn() -> None:
    """A text in which each token follows from its neighbour is learned to be filled in."""
    objective = MaskedTokens(MaskPolicy(rate=0.15))
    torch.manual_seed(0)
    design = Encoder(Tokens(32, VOCABULARY), (Block(),) * 2)
    body = Reading(design.build(torch.zeros(1, 1, dtype=torch.long)))
    model = replace(token_model(), bodies={"input": body})
    starts = torch.arange(64)[:, None]
    ids = (starts * 5 + torch.arange(12)) % (VOCABULARY - 7) + 7
    batch = Batch({"input": Stream(ids, plain(ids))}, {}, torch.arange(64))
    parts = made(objective, model)
    trained = nn.ModuleList([model.bodies["input"], parts])
    updater = torch.optim.Adam(trained.parameters(), 0.01)
    values = []
    for step in range(80):
        asked: Given = given(step)
        loss = objective.step(model, parts, batch, NOW, asked)
        updater.zero_grad()
        loss.value.backward()
        updater.step()
        values.append(loss.value.item())
    assert values[0] > 3 and sum(values[-5:]) / 5 < 0.5


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Contrastive(scale=101.0), "at most 100; got 101"),
        (lambda: Contrastive(symmetric="yes"), r"Contrastive\.symmetric is one of"),
        (lambda: Contrastive(width=0), r"Contrastive\.width must be at least 1; got 0"),
        (lambda: ReplacedTokens(temperature=0.0), r"temperature must be above 0; got 0"),
        (lambda: ReplacedTokens(weight=-1.0), r"weight must not be negative; got -1"),
        (lambda: Sum(), r"Sum\.terms is empty"),
        (lambda: Sum(Supervised()), r"Sum\.terms takes Term"),  # type: ignore[arg-type]
        (lambda: Term(Supervised(), -1.0), r"Term\.weight must not be negative"),
        (lambda: Term(Shares()), r"Term\.objective takes an objective"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_refused(make: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        make()


def test_batches_that_do_not_fit_are_refused() -> None:
    table = batch_of(documents(CLASSES))
    with pytest.raises(ValueError, match=r"MaskedTokens learns from tokens.*got \[12, 5\]"):
        MaskedTokens().corrupt(table, NOW, given())
    with pytest.raises(ValueError, match=r"streams 'input' and 'text'; got \['input'\]"):
        taken(Contrastive(), token_model(), nn.ModuleDict(), token_batch())
    with pytest.raises(ValueError, match="needs a body that reads tokens; Through has no table"):
        MaskedTokens().build(model_of(Readout(), CLASSES))
    foreign = replace(token_model(), designs={})
    with pytest.raises(ValueError, match=r"generator must be given .*; got a foreign body"):
        ReplacedTokens().build(foreign)
    small = Encoder(Tokens(8), (Block(Attention(2)),))
    assert ReplacedTokens(generator=small).build(foreign)
