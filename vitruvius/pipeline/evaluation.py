"""The stage that measures a model, on the validation part or without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vitruvius.contracts import Cost, Lab, Measurement, Metric, Probe, Stage, State
from vitruvius.space import hyper


@dataclass(frozen=True)
class Evaluate(Stage):
    """Measure the model. The first measurement is the score of the pipeline.

    A metric needs answers and their labels, a probe such as ``RankMe`` the model alone: with one a
    body that was only pretrained is scored, and a study of pretrainings needs no labels.
    """

    metric: Metric | Probe | None = hyper(None, doc="what counts; None: the metric of the task")
    also: tuple[Metric | Probe, ...] = hyper((), doc="measured beside it, ranks nothing")

    libraries = ("scikit-learn",)

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """The state with the measurements added, the score last."""
        before = inputs["before"]
        metric = self.metric or (before.task.metric if before.task else None)
        if metric is None:
            raise ValueError("Evaluate.metric is None and the task has none: name one.")
        beside = tuple(replace(lab.evaluate(before, other), better=None) for other in self.also)
        score = lab.evaluate(before, metric)
        return replace(before, measurements=(*before.measurements, *beside, score))

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost:
        """No FLOPs of training."""
        return Cost()


def score_of(state: State) -> Measurement:
    """The measurement that a finished pipeline is ranked by."""
    ranked = [m for m in state.measurements if m.better is not None]
    if not ranked:
        raise ValueError("This pipeline measures nothing that ranks: end it with Evaluate().")
    return ranked[-1]
