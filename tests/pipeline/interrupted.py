"""A process that runs a small pipeline of texts, and dies where it is told to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Measurement, Progress
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.pretraining import Pretrain
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.store_files import StoreFiles
from vitruvius.pipeline.tokenizing import Tokenize
from vitruvius.pipeline.training import weights_digest
from vitruvius.techniques.layers import Attention, Block, Encoder, Tokens
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.tokenizers import WordPiece
from vitruvius.train import loop

STEPS = {"pretrain": 5, "adapt": 3}  # of a stage, at which it dies


def design(data: Path) -> Pipeline:
    """Every stage of texts, small."""
    network = Encoder(Tokens(16), (Block(Attention(2)),))
    return Pipeline(
        LoadTexts(str(data / "texts"), str(data / "labels.csv"), near=None),
        Tokenize(WordPiece(300)),
        Pretrain(model=network, tokens=3000, batch_tokens=512, longest=32, rounds=3),
        Adapt(epochs=2, longest=32, optimizer=AdamW(5e-3)),
        Evaluate(),
    )


def run(data: Path, store: Path, die: str = "") -> tuple[str, float, float]:
    """Digest of the weights, score, and FLOPs that were computed and not loaded."""
    torch.set_num_threads(1)
    loop.CHECKPOINT_SECONDS = 0.0
    began: dict[str, int] = {}

    def listen(now: Progress, measured: Sequence[Measurement]) -> None:
        names = [m.name for m in measured]
        if "plan" in names:
            began["stage"] = began.get("stage", -1) + 1
        stage = ("pretrain", "adapt")[min(began.get("stage", 0), 1)]
        if stage == die and now.step == STEPS[stage]:
            os.kill(os.getpid(), signal.SIGKILL)

    if die == "tokenize":
        StoreFiles.write = _die  # type: ignore[method-assign]  # tensors lie there, no manifest
    lab = LocalLab(
        Setting(0, torch.device("cpu"), torch.float32, 1), listen=listen, store=Store(store)
    )
    state = lab.run(design(data), {})
    assert state.model is not None
    return weights_digest(state.model), score_of(state).value, lab.meter.spent.flops


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    print(*run(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
