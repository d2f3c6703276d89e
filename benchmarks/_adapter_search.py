"""A search over the family of adapters on the transfer of ``_transfer.py``, as a study runs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from _adapter_digits import BUDGET
from _transfer import HEAD, pretrained, target, task_of

from vitruvius.contracts import Lab, Split, Stage, State
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.beginning import copied
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.loader import Loader, Opened
from vitruvius.pipeline.pipeline import Pipeline, stages_of
from vitruvius.search import ASHA, SMBO
from vitruvius.space import hyper, log_uniform, replay
from vitruvius.study.budget import Budget
from vitruvius.study.settings import Final
from vitruvius.study.study import Study
from vitruvius.techniques.adapters import Within
from vitruvius.techniques.adapters.grammar import any_adapter
from vitruvius.techniques.metrics import Accuracy
from vitruvius.techniques.optimizers import AdamW


@dataclass(frozen=True)
class OtherDigits(Loader):
    """The digits 5 to 9: some labels, the validation part, and the test part sealed."""

    draw: int = hyper(0, doc="decides which images are labelled and which validate")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def read(self) -> Opened:
        parts = dict(zip(("train", "validation", "test"), target(self.draw), strict=True))
        splits = {name: Split(part, sealed=name == "test") for name, part in parts.items()}
        task = replace(task_of(parts["train"]), metric=Accuracy())
        return Opened(State(task=task, splits=splits), "digits")


@dataclass(frozen=True)
class Known(Stage):
    """Gives the base that has learned the digits 0 to 4."""

    draw: int = hyper(0, doc="decides its weights")
    epochs: int = hyper(40, doc="passes that it has learned in")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        return replace(inputs["before"], model=copied(pretrained(self.draw, epochs=self.epochs)))


def space(seed: int, quick: bool) -> Pipeline:
    """Any adapter within the budget, its learning rate, and what has no choice."""
    epochs = 10 if quick else 40
    return Pipeline(
        OtherDigits(seed),
        Known(seed, epochs),
        Adapt(
            adapter=any_adapter(BUDGET),
            optimizer=AdamW(log_uniform(2e-3, 1e-1), 0.01),
            epochs=epochs,
            head=HEAD,
        ),
        Evaluate(),
    )


def search(seed: int, trials: int, quick: bool, folder: Path) -> dict[str, Any]:
    """A study with rungs; the three best are trained twice more, and the best of these is tested.

    A rung counts as a trial: three points that stand still at a third of their epochs for one that
    goes on.
    """
    began = time.process_time()
    final = Final(top=1, seeds=1) if quick else Final(top=3, seeds=2)
    found = Study(
        space(seed, quick),
        ASHA(SMBO(), least=1 / 3, seed=seed),
        Budget(trials=trials),
        folder,
        seed=seed,
        final=final,
        modules=(__name__,),
    ).run()
    told = found.final
    assert told is not None
    done = found.of("finished")
    stages = stages_of(replay(space(seed, quick), told["point"]))
    adapt = next(stage for stage in stages if isinstance(stage, Adapt))
    assert isinstance(adapt.adapter, Within)
    return {
        "test": told["test"]["score"],
        "validation": told["validation"],
        "adapter": repr(adapt.adapter.adapter),
        "optimizer": repr(adapt.optimizer),
        "trials": len(done),
        "whole": sum(trial.share == 1 for trial in done),
        "failed": [f"{t.status}: {t.cause}" for t in found.of("failed", "stopped", "infeasible")],
        "cpu_seconds": time.process_time() - began,
    }
