"""From texts to a model: each stage alone, in a row, interrupted, loaded, and with bad input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.tiny import folder as tiny_folder
from tests.pipeline import text_data
from vitruvius.contracts import Limits, Measurement, Progress, State
from vitruvius.interop.peft import LoRA
from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining import Pretrain
from vitruvius.pipeline.retrieval import Index
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.tokenizing import Tokenize
from vitruvius.pipeline.training import weights_digest
from vitruvius.space import Infeasible
from vitruvius.techniques.adapters import BitFit, FullTuning, LinearProbe
from vitruvius.techniques.layers import Attention, Block, Decoder, Encoder, LearnedPositions, Tokens
from vitruvius.techniques.objectives import Contrastive, MaskedTokens, NextToken, ReplacedTokens
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.retrievers import BM25, Fused, Nearest
from vitruvius.techniques.tokenizers import BPE, Bytes, Unigram, WordPiece
from vitruvius.train import frozen, loop
from vitruvius.train.checkpoint import digest_of

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
TINY = Encoder(Tokens(16), (Block(Attention(2)), Block(Attention(2))))
TOKENIZE = Tokenize(WordPiece(300))
PRETRAIN = Pretrain(model=TINY, tokens=4000, batch_tokens=512, longest=32, rounds=4)
ADAPT = Adapt(epochs=3, longest=32, optimizer=AdamW(5e-3))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for make in (text_data.labelled, text_data.pairs, text_data.compared, text_data.tagged):
        make(folder)
    text_data.corpus(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(data: Path) -> State:
    return LocalLab(SETTING).run(load(data), {})


@pytest.fixture(scope="module")
def tokens(loaded: State) -> State:
    return LocalLab(SETTING).run(TOKENIZE, {"before": loaded})


@pytest.fixture(scope="module")
def pretrained(tokens: State) -> State:
    return LocalLab(SETTING).run(PRETRAIN, {"before": tokens})


def load(data: Path, labels: str | None = "labels.csv", **more: Any) -> LoadTexts:
    return LoadTexts(str(data / "texts"), None if labels is None else str(data / labels), **more)


def run(stage: Any, before: State, **changes: Any) -> State:
    return replace(LocalLab(SETTING), **changes).run(stage, {"before": before})


def weights(state: State) -> str:
    assert state.model is not None
    return weights_digest(state.model)


# The data


def test_the_corpus_holds_no_text_of_validation_or_test(data: Path) -> None:
    place = data / "leaking"
    place.mkdir()
    for i, (text, _) in enumerate(text_data.rows()):
        (place / f"{i:03}.txt").write_text(f"  {text}\n", encoding="utf-8")
    stage = LoadTexts(str(place), str(data / "labels.csv"))
    opened = stage.look()
    state = opened.state
    seen = {" ".join(t.split()) for n in ("texts", "held") for t in state.data[n].payload["text"]}
    for name in ("validation", "test"):
        closed = state.splits[name].opened().documents.payload["text"]
        assert not seen & {" ".join(str(t).split()) for t in closed}
    assert len(seen) > 0.5 * len(text_data.rows())
    assert any("left out of pretraining" in note for note in opened.notes)


def test_without_a_corpus_the_training_texts_are_pretrained_on(data: Path) -> None:
    state = LoadTexts(None, str(data / "labels.csv")).look().state
    train = set(state.splits["train"].documents.payload["text"])
    assert train == {t for n in ("texts", "held") for t in state.data[n].payload["text"]}


@pytest.mark.parametrize(
    ("labels", "floors"),
    [("labels.csv", 2), ("pairs.csv", 2), ("tags.tsv", 1), ("compared.csv", 2)],
)
def test_every_level_has_its_floors(data: Path, labels: str, floors: int) -> None:
    stage = load(data, labels)
    found = stage.floors(stage.look().state)
    assert len(found) == floors and all(0 <= floor.value <= 1 for floor in found)


# The stages


def test_a_row_of_stages_learns_and_is_loaded_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    design = Pipeline(load(data), TOKENIZE, PRETRAIN, ADAPT, Evaluate())
    first = replace(LocalLab(SETTING), store=store).run(design, {})
    again = replace(LocalLab(SETTING), store=store)
    second = again.run(design, {})
    alone = LocalLab(SETTING).run(design, {})
    assert again.meter.spent.flops == 0
    assert weights(first) == weights(second) == weights(alone)
    assert score_of(first).value == score_of(second).value == score_of(alone).value
    assert score_of(first).value > 0.4  # a third by chance
    measured = {m.name: m for m in first.measurements}
    assert measured["tokens"].value == pytest.approx(4000, abs=600)
    assert measured["held-out loss"].better is None
    assert measured["vocabulary"].value == 300


def test_the_tokens_of_a_corpus_come_back_from_the_store(loaded: State, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    lab = replace(LocalLab(SETTING), store=store)
    first, second = (lab.run(TOKENIZE, {"before": loaded}) for _ in range(2))
    one, two = (state.data["tokens"].payload["tokens"] for state in (first, second))
    assert len(one) == len(two) > 100
    assert all((one[i] == two[i]).all() for i in range(len(one)))
    assert (one.begins.array == two.begins.array).all()
    decoded = [
        state.model.tokenizer.decode(ids.tolist())  # type: ignore[union-attr]
        for state, ids in ((first, one[0]), (second, two[0]))
    ]
    assert decoded[0] == decoded[1] != ""


@pytest.mark.parametrize(("stage", "before"), [(PRETRAIN, "tokens"), (ADAPT, "pretrained")])
def test_a_rung_goes_on_to_the_same_bits_and_costs_the_rest(
    stage: Any, before: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    state = request.getfixturevalue(before)
    whole = run(stage, state)
    lab = replace(LocalLab(SETTING), store=Store(tmp_path / "store"))
    part = stage.up_to(0.5)
    assert part.rung() == part.until
    lab.run(part, {"before": state})
    spent = lab.meter.spent.flops
    full = lab.run(stage, {"before": state})
    assert weights(full) == weights(whole)
    assert 0 < spent < lab.meter.spent.flops
    cost = next(m.cost.flops for m in whole.measurements if m.name in ("tokens", "epochs")[::-1])
    assert lab.meter.spent.flops < 1.2 * max(cost, spent * 2)


@pytest.mark.parametrize(("stage", "before"), [(PRETRAIN, "tokens"), (ADAPT, "pretrained")])
def test_a_killed_stage_goes_on_to_the_same_bits(
    stage: Any,
    before: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    state = request.getfixturevalue(before)
    whole = weights(run(stage, state))

    class Killed(Exception):
        pass

    def kill(now: Progress, measured: Sequence[Measurement]) -> None:
        if len(now.history) == 2 and not measured:
            raise Killed

    with pytest.raises(Killed):
        run(stage, state, folder=tmp_path, listen=kill)
    steps: list[int] = []
    again = run(stage, state, folder=tmp_path, listen=lambda now, _: steps.append(now.step))
    assert weights(again) == whole
    assert steps[1] > 1, "it began anew"


def test_a_stage_leaves_the_model_before_it_as_it_was(pretrained: State) -> None:
    before = weights(pretrained)
    run(ADAPT, pretrained)
    run(PRETRAIN.replace(model=None, tokens=600), pretrained)
    assert weights(pretrained) == before


def test_pretraining_goes_on_from_the_stage_before(pretrained: State) -> None:
    further = run(PRETRAIN.replace(model=None), pretrained)
    first, second = (
        [m.value for m in state.measurements if m.name == "held-out loss"][-1]
        for state in (pretrained, further)
    )
    assert second < first
    assert further.model is not None and pretrained.model is not None
    assert further.model.lineage.stages[:-1] == pretrained.model.lineage.stages


def test_length_by_flops_gives_a_wide_network_fewer_tokens(tokens: State) -> None:
    found = []
    for width in (16, 32):
        wide = TINY.replace(stem=Tokens(width))
        stage = PRETRAIN.replace(model=wide, tokens=None, flops=2e9, share=0.5)
        state = run(stage, tokens)
        measured = next(m for m in state.measurements if m.name == "tokens")
        assert measured.cost.flops == pytest.approx(1e9, rel=0.15)
        found.append(measured.value)
    assert found[1] < 0.6 * found[0]


@pytest.mark.parametrize(
    "objective",
    [ReplacedTokens(weight=5.0), MaskedTokens(), NextToken()],
    ids=lambda o: type(o).__name__,
)
def test_every_objective_of_tokens_pretrains(objective: Any, tokens: State) -> None:
    causal = isinstance(objective, NextToken)
    model = Decoder(TINY.stem, TINY.blocks) if causal else TINY
    state = run(PRETRAIN.replace(objective=objective, model=model, tokens=1500), tokens)
    assert state.model is not None
    assert set(state.model.heads) == {
        "ReplacedTokens": {"replaced"}, "MaskedTokens": {"mlm"}, "NextToken": {"lm"}
    }[type(objective).__name__]  # fmt: skip


@pytest.mark.parametrize(
    "tokenizer", [BPE(400), Unigram(200), Bytes()], ids=lambda t: type(t).__name__
)
def test_every_tokenizer_pretrains(tokenizer: Any, loaded: State) -> None:
    state = LocalLab(SETTING).run(
        Pipeline(Tokenize(tokenizer), PRETRAIN.replace(tokens=600)), {"before": loaded}
    )
    assert state.model is not None and "input" in state.model.bodies


# Levels


@pytest.mark.parametrize(
    ("labels", "least"), [("tags.tsv", 0.1), ("compared.csv", 0.3), ("pairs.csv", 0.01)]
)
def test_every_level_is_adapted_to_and_measured(data: Path, labels: str, least: float) -> None:
    design = Pipeline(
        load(data, labels), TOKENIZE, PRETRAIN.replace(tokens=1000), ADAPT, Evaluate()
    )
    state = LocalLab(SETTING).run(design, {})
    assert score_of(state).value > least


def test_retrieval_is_measured_with_the_retriever_of_its_index(data: Path) -> None:
    terms = BM25(split=True)
    scores = []
    for retriever in (Nearest(), Fused((Nearest(), terms), weight=0.0), terms):
        stages = (TOKENIZE, PRETRAIN.replace(tokens=600), ADAPT.replace(epochs=1))
        design = Pipeline(load(data, "pairs.csv"), *stages, Index(retriever), Evaluate())
        scores.append(score_of(LocalLab(SETTING).run(design, {})).value)
    assert scores[0] != scores[1] == pytest.approx(scores[2])


def test_a_map_of_vectors_that_was_trained_is_used(data: Path) -> None:
    objective = Contrastive(width=4)
    stages = (TOKENIZE, PRETRAIN.replace(tokens=600), ADAPT.replace(objective=objective, epochs=2))
    heard: list[float] = []

    def hear(now: Progress, measured: Sequence[Measurement]) -> None:
        heard.extend(m.value for m in measured if m.name == "mean_reciprocal_rank")

    lab = LocalLab(SETTING, listen=hear)
    state = lab.run(Pipeline(load(data, "pairs.csv"), *stages, Index(), Evaluate()), {})
    assert state.model is not None and set(state.model.heads) == {"mlm", "projector"}
    assert state.index.vectors.shape[1] == 4  # type: ignore[union-attr]
    assert score_of(state).value == pytest.approx(max(heard))


def test_without_labels_a_model_is_judged_by_how_it_predicts(data: Path) -> None:
    found = {}
    for tokens in (500, 8000):
        design = Pipeline(
            load(data, None), TOKENIZE, PRETRAIN.replace(tokens=tokens, rounds=1), Evaluate()
        )
        found[tokens] = score_of(LocalLab(SETTING).run(design, {}))
    assert found[500].name == "bits_per_character" and found[500].better == "lower"
    assert 1 < found[8000].value < found[500].value


# Pretrained bases


@pytest.mark.parametrize(
    "adapter", [FullTuning(), LinearProbe(), BitFit(), LoRA(rank=2)], ids=lambda a: type(a).__name__
)
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_pretrained_model_is_adapted(
    kind: str, adapter: Any, loaded: State, tmp_path: Path
) -> None:
    if kind == "llama" and isinstance(adapter, BitFit):
        pytest.skip("Llama has no biases")
    base = FromPretrained(str(tiny_folder(tmp_path / kind, kind)))
    before = base.load()
    state = run(ADAPT.replace(model=base, adapter=adapter, epochs=1), loaded)
    assert state.model is not None
    body, was = state.model.bodies["input"], before.bodies["input"]
    assert type(body) is type(was)
    assert [n for n, _ in body.named_parameters()] == [n for n, _ in was.named_parameters()]
    same = digest_of(body.state_dict()) == digest_of(was.state_dict())
    assert same == isinstance(adapter, LinearProbe)
    assert state.model.lineage.base == before.lineage.base
    assert not any(p.requires_grad is False for p in body.parameters())


def test_a_pretrained_model_is_continued_and_then_adapted(loaded: State, tmp_path: Path) -> None:
    base = FromPretrained(str(tiny_folder(tmp_path / "bert", "bert")))
    design = Pipeline(Tokenize(base), PRETRAIN.replace(model=base, tokens=600), ADAPT)
    state = LocalLab(SETTING).run(design, {"before": loaded})
    alone = LocalLab(SETTING).run(design.stages[1], {"before": loaded})
    assert state.model is not None and set(state.model.heads) == {"mlm", "task"}
    assert "tokens" in state.data and "tokens" not in alone.data
    assert alone.model is not None and alone.model.lineage.base == state.model.lineage.base


def test_a_tokenizer_of_another_model_is_infeasible(tokens: State, tmp_path: Path) -> None:
    base = FromPretrained(str(tiny_folder(tmp_path / "bert", "bert")))
    with pytest.raises(Infeasible, match="FromPretrained has a tokenizer of its own"):
        run(PRETRAIN.replace(model=base), tokens)


def test_a_model_of_images_is_refused(loaded: State, tmp_path: Path) -> None:
    base = FromPretrained(str(tiny_folder(tmp_path / "vit", "vit")))
    with pytest.raises(ValueError, match=r"reads no texts: it has no tokenizer\. Give this stage"):
        run(ADAPT.replace(model=base), loaded)


def test_a_probe_reads_each_text_once_and_gives_the_same(
    pretrained: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = ADAPT.replace(adapter=LinearProbe())
    kept = run(stage, pretrained)
    monkeypatch.setattr(frozen, "MOST_BYTES", 0)
    anew = run(stage, pretrained)
    assert kept.model is not None and anew.model is not None
    one, two = (dict(state.model.heads["task"].named_parameters()) for state in (kept, anew))  # type: ignore[union-attr]
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert digest_of(kept.model.bodies["input"].state_dict()) == digest_of(
        pretrained.model.bodies["input"].state_dict()  # type: ignore[union-attr]
    )


# What cannot be


def test_an_objective_that_does_not_fit_is_infeasible(tokens: State) -> None:
    with pytest.raises(Infeasible, match="NextToken needs a body that sees no later token"):
        run(PRETRAIN.replace(objective=NextToken()), tokens)


def test_rows_longer_than_the_positions_are_infeasible(tokens: State) -> None:
    short = TINY.replace(positions=LearnedPositions(16))
    with pytest.raises(Infeasible, match=r"LearnedPositions\.longest is 16; got rows of 32"):
        run(PRETRAIN.replace(model=short), tokens)


def test_a_vocabulary_that_the_corpus_cannot_give_is_infeasible_or_told(loaded: State) -> None:
    with pytest.raises(Infeasible, match=r"WordPiece\.vocabulary must be at least \d+ for these"):
        run(Tokenize(WordPiece(20)), loaded)
    found = {m.name: m.value for m in run(Tokenize(WordPiece(200_000)), loaded).measurements}
    assert 100 < found["vocabulary"] < 20_000


def test_limits_refuse_before_training(tokens: State, pretrained: State) -> None:
    with pytest.raises(Infeasible, match=r"parameters exceed the limit of 10"):
        run(PRETRAIN, tokens, limits=Limits(max_parameters=10))
    with pytest.raises(Infeasible, match=r"FLOPs of training exceed the limit of 1e\+03"):
        run(ADAPT, pretrained, limits=Limits(max_flops=1e3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoadTexts(), "LoadTexts needs texts, labels, or both"),
        (lambda: LoadTexts("a", validation=0.6, test=0.5), "LoadTexts needs shares above 0"),
        (lambda: LoadTexts("a", unit="page"), r"LoadTexts.unit is one of .*; got 'page'"),
        (lambda: Pretrain(tokens=None), "Pretrain is as long as tokens or flops say"),
        (lambda: Pretrain(tokens=5, flops=1e9), "give one of them"),
        (lambda: Pretrain(share=0.0), r"Pretrain.share is above 0 and at most 1; got 0.0"),
        (lambda: Pretrain(longest=0), r"Pretrain.longest must be at least 1; got 0"),
        (lambda: Pretrain(batch_tokens=64), "Pretrain.batch_tokens must hold a row of 128"),
        (lambda: Adapt(epochs=0), "Adapt.epochs must be at least 1; got 0"),
    ],
)
def test_wrong_fields_are_told(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_stage_without_what_it_needs_says_what_to_put_before_it(loaded: State) -> None:
    with pytest.raises(ValueError, match="put Tokenize before it"):
        run(PRETRAIN, loaded)
    with pytest.raises(ValueError, match="There is no model to go on with"):
        run(ADAPT, loaded)
    with pytest.raises(ValueError, match="Tokenize needs a corpus: put LoadTexts before it"):
        run(TOKENIZE, State())
