"""An encoder of texts in a pipeline: fitted on the training part, searched, kept, applied by all
that reads texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.interop.tiny import folder as tiny_folder
from tests.pipeline import text_data
from vitruvius import text_models
from vitruvius.contracts import Documents, Given, Model, State
from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.card import text_card
from vitruvius.pipeline.embedding import embed
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.retrieval import Index
from vitruvius.pipeline.saving import load_model, save_state
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.training import Train
from vitruvius.space import Infeasible, count, optional, replay
from vitruvius.techniques.adapters import BitFit, LinearProbe
from vitruvius.techniques.encoders import Shortened
from vitruvius.techniques.heads import WithWords
from vitruvius.techniques.layers import Affine, Flatten, Sequential
from vitruvius.techniques.optimizers import AdamW
from vitruvius.train.reading import text_feed

CPU = torch.device("cpu")
SETTING = Setting(0, CPU, torch.float32, 1)
SHORT = Shortened(rare=2, repeated=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shortening")
    for make in (text_data.labelled, text_data.pairs, text_data.compared, text_data.tagged):
        make(folder)
    text_data.write(folder / "new.csv", ("text",), [(t,) for t in text_data.docstrings("json")])
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder(tmp_path_factory.mktemp("base") / "bert", "bert"))


def adapt(base: str, encoder: Any = None, **more: Any) -> Adapt:
    given = {"adapter": LinearProbe(), "epochs": 2, "longest": 16, "optimizer": AdamW(5e-3), **more}
    return Adapt(encoder=encoder, model=FromPretrained(base), **given)


def run(stage: Any, before: State | None = None, **changes: Any) -> State:
    inputs = {} if before is None else {"before": before}
    return replace(LocalLab(SETTING), **changes).run(stage, inputs)


def loaded(data: Path, labels: str = "labels.csv") -> State:
    return run(LoadTexts(None, str(data / labels)))


def model_of(state: State) -> Model:
    assert state.model is not None
    return state.model


def ids(model: Model, documents: Documents, longest: int = 16) -> list[list[int]]:
    feed = text_feed(model, documents, CPU, longest)
    stream = feed.batch(torch.arange(len(feed))).streams["input"]
    return [r[s > 0].tolist() for r, s in zip(stream.values, stream.layout.segments, strict=True)]


def test_all_off_gives_the_tokens_of_no_encoder(data: Path, base: str) -> None:
    before = loaded(data)
    plain, off, short = (
        run(adapt(base, encoder, epochs=1), before) for encoder in (None, Shortened(False), SHORT)
    )
    held = before.splits["validation"].documents
    for longest in (8, 16):
        assert ids(model_of(plain), held, longest) == ids(model_of(off), held, longest)
        assert ids(model_of(plain), held, longest) != ids(model_of(short), held, longest)
    assert model_of(plain).lineage.family != model_of(short).lineage.family


def test_it_is_fitted_on_the_training_part_alone(data: Path, base: str) -> None:
    before = loaded(data)
    model = model_of(run(adapt(base, SHORT), before))
    (prepared,) = model.prepared
    train = before.splits["train"].documents
    counts: dict[str, int] = {}
    for text in train.payload["text"][:]:
        for word in {w.strip(".").casefold() for w in str(text).split() if w.strip(".").isalpha()}:
            counts[word] = counts.get(word, 0) + 1
    known = prepared.fitted.values["known"]
    assert all(word in known for word, held in counts.items() if held >= 2)
    closed = before.splits["validation"].documents.payload["text"][:]
    unseen = {w for text in closed for w in str(text).casefold().split() if w.isalpha()}
    unseen -= {
        w.strip(".,:;()'\"`") for t in train.payload["text"][:] for w in t.casefold().split()
    }
    assert len(unseen) > 10 and not unseen & set(known)


def test_a_head_that_reads_words_reads_those_that_stay(data: Path, base: str) -> None:
    before = loaded(data)
    plain, short = (
        model_of(run(adapt(base, encoder, head=WithWords()), before)).heads["task"].state_dict()
        for encoder in (None, Shortened(rare=5))
    )
    name = next(name for name in plain if name.endswith("rarity"))
    assert int((short[name] > 0).sum()) < int((plain[name] > 0).sum())


def test_a_saved_model_predicts_the_same_and_the_store_keeps_it(
    data: Path, base: str, tmp_path: Path
) -> None:
    design = Pipeline(LoadTexts(None, str(data / "labels.csv")), adapt(base, SHORT), Evaluate())
    store = Store(tmp_path / "store")
    state = run(design, store=store)
    again = replace(LocalLab(SETTING), store=store)
    second = again.run(design, {})
    assert again.meter.spent.flops == 0
    assert score_of(second).value == score_of(state).value
    save_state(tmp_path / "run", design, state)
    model = load_model(tmp_path / "run", design, CPU).model
    held = state.splits["validation"].documents
    for one in (model, model_of(second)):
        assert one.prepared[0].encoder == SHORT
        assert ids(one, held) == ids(model_of(state), held)
    told = text_card(design, model, state.task, "", {})  # type: ignore[arg-type]
    assert "Shortened(" in told and "a folder for transformers reads texts that it was not" in told


def test_predict_and_embed_shorten_new_texts(data: Path, base: str, tmp_path: Path) -> None:
    design = Pipeline(LoadTexts(None, str(data / "labels.csv")), adapt(base, SHORT), Evaluate())
    state = run(design)
    save_state(tmp_path / "run", design, state)
    new = data / "new.csv"
    lines = text_models.predict(tmp_path / "run", new)
    texts = text_data.docstrings("json")
    (prepared,) = model_of(state).prepared
    column = np.empty(len(texts), object)
    column[:] = texts
    short = prepared.encoder.apply(Documents({"text": column}), Given(fitted=prepared.fitted))
    by_hand = text_data.write(
        tmp_path / "short.csv", ("text",), [(t,) for t in short.payload["text"]]
    )
    assert text_models.predict(tmp_path / "run", by_hand) == lines  # a second time changes nothing
    bare = replace(state, model=replace(model_of(state), prepared=()))
    save_state(tmp_path / "bare", design, bare)
    assert text_models.predict(tmp_path / "bare", by_hand) == lines
    assert text_models.predict(tmp_path / "bare", new) != lines
    vectors = embed(model_of(state), texts)
    assert np.array_equal(vectors, embed(model_of(bare), list(short.payload["text"])))


@pytest.mark.parametrize("labels", ["compared.csv", "pairs.csv"])
def test_pairs_and_queries_are_shortened_on_both_sides(data: Path, base: str, labels: str) -> None:
    before = loaded(data, labels)
    index = (Index(),) if labels == "pairs.csv" else ()
    state = run(adapt(base, Shortened(), adapter=BitFit(), epochs=1), before)
    for stage in (*index, Evaluate()):
        state = run(stage, state)
    assert 0 <= score_of(state).value <= 1
    feed = text_feed(model_of(state), before.splits["train"].documents, CPU)
    bare = text_feed(replace(model_of(state), prepared=()), before.splits["train"].documents, CPU)
    for side in ("first", "second"):
        assert getattr(feed, side).mean_tokens < getattr(bare, side).mean_tokens


def test_it_is_a_choice_of_the_space(data: Path, base: str) -> None:
    space = Pipeline(
        LoadTexts(None, str(data / "labels.csv")),
        adapt(base, optional(Shortened.space())),
        Evaluate(),
    )
    assert count(space).points == 1 + 2 * 2 * 4 * 2
    point = {
        "adapt.encoder": "Shortened",
        "adapt.encoder=Shortened.stopwords": False,
        "adapt.encoder=Shortened.punctuation": True,
        "adapt.encoder=Shortened.rare": 3,
        "adapt.encoder=Shortened.repeated": False,
    }
    (stage,) = (s for s in replay(space, point).stages if isinstance(s, Adapt))
    assert stage.encoder == Shortened(False, True, 3)


def test_tagged_words_and_images_are_refused(data: Path, base: str) -> None:
    with pytest.raises(Infeasible, match="leave the encoder out"):
        run(adapt(base, Shortened()), loaded(data, "tags.tsv"))
    images = run(Load("digits"))
    network = Sequential(Flatten(), Affine(10))
    trained = run(Train(model=network, epochs=1), images)
    with pytest.raises(Infeasible, match="Shortened needs whole texts"):
        run(Adapt(epochs=1, encoder=Shortened()), trained)
