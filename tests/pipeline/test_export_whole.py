"""Models that no Train stage made: a program where one can be written, else a folder to predict
with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.interop import tiny
from vitruvius import running
from vitruvius.cli import app
from vitruvius.contracts import Documents, Split, State
from vitruvius.data import read_inputs
from vitruvius.interop.pretrained import load_pretrained
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.export import export, predict_file
from vitruvius.pipeline.judging import answers
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining_items import PretrainItems
from vitruvius.pipeline.saving import WHOLE_MODEL, load_model, save_state
from vitruvius.pipeline.training import default_encoder, prepare
from vitruvius.techniques.adapters import Bottleneck, FullTuning, LowRank
from vitruvius.techniques.heads import PooledReadout, Readout
from vitruvius.techniques.layers import (
    Affine,
    Attention,
    BatchNorm,
    Block,
    Conv,
    Encoder,
    Patches,
    ReLU,
    Sequential,
)
from vitruvius.techniques.objectives import SimCLR
from vitruvius.testing.exported import answers_in, check_alone, run_isolated
from vitruvius.train.checkpoint import CheckpointError

CPU = torch.device("cpu")
CONVOLUTIONS = Sequential(Conv(8), BatchNorm(), ReLU(), Affine(16))
PATCHES = Encoder(Patches(16, 4), (Block(Attention(2)),) * 2, positions=None)


@pytest.fixture(scope="module")
def loaded() -> State:
    """Scikit-learn's digits, 100 in each part that is open."""
    state = LocalLab(Setting(0, CPU, torch.float32, 1)).run(Load("digits"), {})
    splits = {
        name: split if split.sealed else Split(split.documents.take(np.arange(100)))
        for name, split in state.splits.items()
    }
    return replace(state, splits=splits, digest="changed")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, loaded: State) -> Path:
    path = tmp_path_factory.mktemp("digits") / "new.npz"
    rows = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
    np.savez(path, x=rows)
    return path


def run(stage: Any, before: State) -> State:
    return LocalLab(Setting(0, CPU, torch.float32, 1)).run(stage, {"before": before})


def pretrain(model: Any) -> PretrainItems:
    return PretrainItems(
        model=model, objective=SimCLR(0.2, hidden=16, width=8), epochs=1, batch_size=50
    )


def given_to(state: State, data: Path) -> torch.Tensor:
    """What the model says in this process."""
    documents: Documents = read_inputs(data, state.fitted["inputs"].values)
    return answers(state, documents, CPU, torch.float32).values.double()


def test_a_pretrained_network_becomes_a_program(
    loaded: State, digits: Path, tmp_path: Path
) -> None:
    stages = (
        pretrain(CONVOLUTIONS),
        Adapt(adapter=FullTuning(), head=Readout(), epochs=1),
    )
    design = Pipeline(Load("digits"), *stages, Evaluate())
    state = run(Pipeline(*stages), loaded)
    save_state(tmp_path / "run", design, state)
    assert not (tmp_path / "run" / WHOLE_MODEL).exists()
    out = export(tmp_path / "run", design, tmp_path / "model", {})
    check_alone(out / "model.py", images=True)
    expected = given_to(state, digits)
    for lines in (run_isolated([(out, digits)])[0], "\n".join(predict_file(out, digits))):
        assert (answers_in(lines) - expected).abs().max() < 1e-6


def in_tokens(loaded: State) -> tuple[Pipeline, State]:
    head = PooledReadout(dense=False)
    stages = pretrain(PATCHES), Adapt(adapter=FullTuning(), head=head, epochs=1)
    return Pipeline(Load("digits"), *stages, Evaluate()), run(Pipeline(*stages), loaded)


def beside_weights(loaded: State) -> tuple[Pipeline, State]:
    head = PooledReadout(dense=False)
    stages = pretrain(PATCHES), Adapt(adapter=Bottleneck(2), head=head, epochs=1)
    return Pipeline(Load("digits"), *stages, Evaluate()), run(Pipeline(*stages), loaded)


def of_another_library(loaded: State, folder: Path) -> tuple[Pipeline, State]:
    tiny.folder(folder, "vit", image_size=8, patch_size=4)
    seen = loaded.splits["train"].documents
    prepared = (prepare(default_encoder(seen), seen, LocalLab(Setting(0, CPU, torch.float32, 1))),)
    model = replace(load_pretrained(str(folder)), prepared=prepared)
    stage = Adapt(adapter=LowRank(2), head=PooledReadout(dense=False), epochs=1)
    return Pipeline(Load("digits"), stage, Evaluate()), run(stage, replace(loaded, model=model))


@pytest.mark.parametrize("kind", ["tokens", "beside", "foreign"])
def test_another_is_a_folder_to_predict_with(
    kind: str, loaded: State, digits: Path, tmp_path: Path
) -> None:
    if kind == "foreign":
        pytest.importorskip("transformers")
        design, state = of_another_library(loaded, tmp_path / "vit")
    else:
        design, state = {"tokens": in_tokens, "beside": beside_weights}[kind](loaded)
    save_state(tmp_path / "run", design, state)
    expected = given_to(state, digits)
    for folder in (
        tmp_path / "run",
        export(tmp_path / "run", design, tmp_path / "model", {"metric": "accuracy"}),
        export(tmp_path / "run", design, tmp_path / "model", {}),  # over the earlier one
    ):
        found = answers_in("\n".join(predict_file(folder, digits)))
        assert (found - expected).abs().max() < 1e-6
    out = tmp_path / "model"
    assert not (out / "model.py").exists()
    card = (out / "README.md").read_text()
    assert "vitruvius predict FOLDER" in card and "There is no program" in card
    assert "model.py" not in card and "whole.json" in card
    assert load_model(out, design, CPU).task.labels == tuple(map(str, range(10)))
    assert running.predict(out, str(digits)) == predict_file(out, digits)


@pytest.mark.parametrize("program", [True, False])
def test_the_command_says_how_to_run_it(
    program: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(folder: Any, out: Any) -> Path:
        out.mkdir()
        if program:
            (out / "model.py").touch()
        return out

    monkeypatch.setattr(running, "export", made)
    out = tmp_path / "model"
    told = CliRunner().invoke(app, ["export", str(tmp_path), str(out)]).output.replace("\n", "")
    how = f"python {out / 'model.py'} DATA" if program else f"vitruvius predict {out} DATA"
    assert told == f"{out}: run it with: {how}"


def test_a_damaged_folder_is_refused(loaded: State, digits: Path, tmp_path: Path) -> None:
    design, state = in_tokens(loaded)
    save_state(tmp_path / "run", design, state)
    out = export(tmp_path / "run", design, tmp_path / "model", {})
    weights = next(out.glob("model*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"is not what was saved"):
        predict_file(out, digits)
    (out / WHOLE_MODEL).write_text("{")
    with pytest.raises(CheckpointError, match=r"whole\.json is damaged or no model"):
        predict_file(out, digits)
    (out / WHOLE_MODEL).write_text("{}")
    with pytest.raises(CheckpointError, match=r"does not say what its inputs look like"):
        export(out, design, tmp_path / "other", {})
