"""A body learns from images without labels, is scored without a head, and goes on with labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitruvius.contracts import Documents, Limits, SealedError, Split, State
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining_items import PretrainItems
from vitruvius.pipeline.saving import load_model, save_state
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.training import Train, weights_digest
from vitruvius.search import ASHA, RandomSearch
from vitruvius.space import Infeasible, one_of
from vitruvius.study.budget import Budget
from vitruvius.study.settings import Final, StudyError
from vitruvius.study.study import Study
from vitruvius.techniques.adapters import LinearProbe
from vitruvius.techniques.layers import Affine, BatchNorm, Conv, Dropout, ReLU, Sequential
from vitruvius.techniques.objectives import SimCLR, Sum, Supervised, Term, VICReg
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.probes import RankMe, rankme

CPU = torch.device("cpu")
SETTING = Setting(0, CPU, torch.float32, 1)
BODY = Sequential(Conv(8), BatchNorm(), ReLU(), Dropout(0.1), Affine(16))
SMALL = SimCLR(0.2, hidden=16, width=8)
STAGE = PretrainItems(model=BODY, objective=SMALL, optimizer=AdamW(3e-3), epochs=2, batch_size=100)


@pytest.fixture(scope="module")
def loaded() -> State:
    """Scikit-learn's digits, 200 in each part that is open."""
    state = LocalLab(SETTING).run(Load("digits"), {})
    return parted(state, lambda documents: documents.take(np.arange(200)))


@pytest.fixture(scope="module")
def pretrained(loaded: State) -> State:
    return run(STAGE, loaded)


def parted(state: State, change: Any, labels: bool = True) -> State:
    splits = {
        name: split if split.sealed else Split(change(split.documents), labels=labels)
        for name, split in state.splits.items()
    }
    return replace(state, splits=splits, digest="changed")


def run(stage: Any, before: State, **changes: Any) -> State:
    return replace(LocalLab(SETTING), **changes).run(stage, {"before": before})


def body_of(state: State) -> Any:
    assert state.model is not None
    return state.model.bodies["input"]


def test_it_learns_a_body_and_leaves_the_projector(pretrained: State) -> None:
    model = pretrained.model
    assert model is not None
    assert set(model.bodies) == {"input"} and set(model.heads) == {"projector"}
    assert model.lineage.objectives == ("SimCLR",)
    epochs, held = pretrained.measurements
    assert (epochs.name, epochs.value, epochs.items) == ("epochs", 2.0, 400)
    assert (held.name, held.better) == ("held-out loss", None)
    with pytest.raises(ValueError, match="measures nothing that ranks"):
        score_of(pretrained)


def test_longer_training_lowers_the_held_out_loss(loaded: State, pretrained: State) -> None:
    longer = run(STAGE.replace(epochs=20), loaded)
    assert longer.measurements[1].value < pretrained.measurements[1].value - 0.1


def test_the_same_key_gives_the_same_weights(loaded: State, pretrained: State) -> None:
    again = run(STAGE, loaded)
    assert pretrained.model is not None and again.model is not None
    assert weights_digest(again.model) == weights_digest(pretrained.model)
    other = run(STAGE.replace(seed=5), loaded)
    assert other.model is not None
    assert weights_digest(other.model) != weights_digest(pretrained.model)


def test_labels_are_never_read(loaded: State) -> None:
    hidden = parted(loaded, lambda documents: documents, labels=False)
    with pytest.raises(SealedError):
        _ = hidden.splits["train"].documents.attributes["label"]
    lab = LocalLab(SETTING, key="the same for both")
    without, with_them = (STAGE.run({"before": state}, lab) for state in (hidden, loaded))
    assert without.model is not None and with_them.model is not None
    assert weights_digest(without.model) == weights_digest(with_them.model)
    assert lab.evaluate(without, RankMe()).value == lab.evaluate(with_them, RankMe()).value


def test_evaluate_scores_a_body_without_a_head(loaded: State) -> None:
    state = run(Pipeline(STAGE, Evaluate(RankMe(), also=(RankMe("representation"),))), loaded)
    score, beside = score_of(state), state.measurements[-2]
    model = state.model
    assert model is not None
    with torch.no_grad():
        from vitruvius.pipeline.pretraining_items import feed_without_labels

        feed = feed_without_labels(model, loaded.splits["train"].documents, LocalLab(SETTING))
        body = body_of(state).eval()
        hidden = body(next(feed.ordered(1000)).streams["input"]).hidden
        embedded = model.heads["projector"].eval()(hidden)
    assert score.value == pytest.approx(rankme(embedded), rel=1e-5)
    assert beside.value == pytest.approx(rankme(hidden), rel=1e-5)
    assert (score.name, score.items, beside.better) == ("rankme", 200, None)
    assert "SimCLR, 8 features of the embedding" in score.comparable


def test_rungs_go_on_bit_for_bit_and_each_has_its_score(loaded: State, tmp_path: Path) -> None:
    whole = STAGE.replace(epochs=4)
    shorter = whole.up_to(0.5)
    assert shorter is not None and (shorter.until, shorter.rung(), whole.rung()) == (2, 2, None)
    assert whole.up_to(1.0) is None
    straight = run(whole, loaded)
    store = Store(tmp_path / "store")
    at_rung = run(Pipeline(shorter, Evaluate(RankMe())), loaded, store=store)
    ended = run(Pipeline(whole, Evaluate(RankMe())), loaded, store=store)
    assert straight.model is not None and ended.model is not None
    assert weights_digest(ended.model) == weights_digest(straight.model)
    assert score_of(at_rung).value != score_of(ended).value
    assert score_of(at_rung).comparable == score_of(ended).comparable


def test_a_head_and_labels_may_follow(loaded: State, pretrained: State) -> None:
    probe = Adapt(adapter=LinearProbe(), epochs=40, batch_size=50, optimizer=AdamW(3e-2))
    made = run(Pipeline(probe, Evaluate()), pretrained)
    assert score_of(made).value > 0.3
    assert made.model is not None and made.model.lineage.objectives == ("SimCLR",)


def test_it_goes_on_with_the_model_before(loaded: State, pretrained: State) -> None:
    further = run(STAGE.replace(model=None, epochs=1), pretrained)
    model = further.model
    assert model is not None and model.lineage.objectives == ("SimCLR", "SimCLR")
    first, known = body_of(pretrained).state_dict(), model.lineage
    assert any(not torch.equal(v, first[n]) for n, v in body_of(further).state_dict().items())
    assert pretrained.model is not None and known.initial == pretrained.model.lineage.initial
    assert len(known.stages) == len(pretrained.model.lineage.stages) + 1
    with pytest.raises(ValueError, match="no model to go on with"):
        run(STAGE.replace(model=None), loaded)


def test_what_it_takes_is_foreseen(loaded: State) -> None:
    lab = LocalLab(SETTING)
    for objective in (SMALL, VICReg(hidden=16, width=8)):
        stage = STAGE.replace(objective=objective)
        foreseen = stage.foresee({"before": loaded}, lab)
        spent = run(stage, loaded).measurements[0].cost
        assert foreseen is not None and foreseen.flops > 0
        assert (foreseen.flops, foreseen.parameters) == (spent.flops, spent.parameters)
    half = STAGE.replace(until=1).foresee({"before": loaded}, lab)
    whole = STAGE.foresee({"before": loaded}, lab)
    assert half is not None and whole is not None and half.flops == whole.flops / 2
    # two views of 64 places, and the projector: 2 FLOPs for each weight of a place
    images = 2 * (64 * 9 * 8 + 64 * 8 * 16 + 16 * 16 + 16 * 8) * 2
    scores = 2 * (4 * 4) * 8 / 2  # cosines of the two items that are weighed
    assert whole.flops == 3 * 400 * (images + scores)


def test_a_saved_body_is_read_again(pretrained: State, tmp_path: Path) -> None:
    design = Pipeline(Load("digits"), STAGE, Evaluate(RankMe()))
    digest = save_state(tmp_path / "m", design, pretrained)
    saved = load_model(tmp_path / "m", design, CPU)
    assert weights_digest(saved.model) == digest
    assert saved.model.lineage.objectives == ("SimCLR",)
    lab = LocalLab(SETTING)
    again = replace(pretrained, model=saved.model)
    first, second = (lab.evaluate(state, RankMe()).value for state in (pretrained, again))
    assert first == second


def test_limits_hold_before_it_is_built(loaded: State) -> None:
    with pytest.raises(Infeasible, match="parameters exceed the limit of 10"):
        run(STAGE, loaded, limits=Limits(max_parameters=10))
    with pytest.raises(Infeasible, match="FLOPs of training exceed"):
        STAGE.foresee({"before": loaded}, LocalLab(SETTING, limits=Limits(max_flops=1.0)))


def test_what_does_not_fit_is_refused(loaded: State) -> None:
    for field, value in (("epochs", 0), ("until", 0), ("batch_size", 1)):
        with pytest.raises(ValueError, match=rf"PretrainItems\.{field} .* got {value}"):
            STAGE.replace(**{field: value})
    with pytest.raises(ValueError, match="PretrainItems needs items: put Load before it"):
        run(STAGE, State(digest="nothing"))
    rows = Documents({"x": np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)})
    table = replace(loaded, splits={n: Split(rows) for n in ("train", "validation")}, digest="rows")
    flat = STAGE.replace(model=Affine(8))
    with pytest.raises(Infeasible, match=r"ImageView needs images"):
        run(flat, table)
    with pytest.raises(ValueError, match=r"without labels.* got Supervised, which reads labels"):
        STAGE.replace(objective=Supervised())
    with pytest.raises(ValueError, match="got Supervised, which reads labels"):
        STAGE.replace(objective=Sum(Term(SMALL), Term(Supervised())))
    assert STAGE.replace(objective=Sum(Term(SMALL), Term(VICReg(), 0.1))).objective


def test_a_probe_without_a_model_is_refused(loaded: State) -> None:
    with pytest.raises(ValueError, match="RankMe looks at a model, and there is none"):
        run(Evaluate(RankMe()), loaded)


def test_too_few_items_for_the_width_are_refused(loaded: State) -> None:
    wide = STAGE.replace(objective=SimCLR(0.2, hidden=16, width=256), epochs=1)
    with pytest.raises(ValueError, match=r"as many items as features.* got 200 items of 256"):
        run(Pipeline(wide, Evaluate(RankMe())), loaded)


def space(objective: Any, epochs: int = 1) -> Pipeline:
    body = Sequential(Conv(4), ReLU())
    stage = PretrainItems(model=body, objective=objective, epochs=epochs, batch_size=256)
    return Pipeline(Load("digits"), stage, Evaluate(RankMe()))


def test_a_study_needs_no_labels(tmp_path: Path) -> None:
    temperatures = SimCLR(one_of(0.05, 0.2, 1.0), hidden=8, width=4)
    study = Study(
        space(temperatures, epochs=3),
        ASHA(RandomSearch(), stage="PretrainItems", least=1 / 3),
        Budget(trials=4),
        folder=tmp_path / "s",
        final=Final(top=1, seeds=1),
    )
    found = study.run()
    assert (found.metric, found.better) == ("rankme", "higher")
    scores = [trial.score for trial in found.of("finished")]
    assert len(scores) == 4 and all(s is not None and 1 <= s <= 4.01 for s in scores)
    assert {trial.share for trial in found.of("finished")} >= {1 / 3}
    assert found.meta["floor"] is None  # what answers score says nothing of a rank
    assert found.final is not None and 1 <= found.final["test"]["score"] <= 4.01


def test_a_study_refuses_to_rank_models_of_two_kinds(tmp_path: Path) -> None:
    both = one_of(SimCLR(hidden=8, width=4), VICReg(hidden=8, width=4))
    study = Study(space(both), RandomSearch(), Budget(trials=2), folder=tmp_path / "s")
    with pytest.raises(StudyError, match=r"Scores by rankme rank only models of a kind; trial 1"):
        study.run()
    forced = Pipeline(*space(both).stages[:2], Evaluate(RankMe(across=True)))
    found = Study(
        forced, RandomSearch(), Budget(trials=2), folder=tmp_path / "f", final=Final(top=1, seeds=0)
    ).run()
    assert len(found.of("finished")) == 2


def test_a_trained_network_is_looked_at_too(loaded: State) -> None:
    train = Train(model=Sequential(Conv(4), ReLU(), Affine(10)), epochs=1)
    state = run(Pipeline(train, Evaluate(RankMe("representation"))), loaded)
    assert 1 <= score_of(state).value <= 10.01
    assert "no pretraining" in score_of(state).comparable
