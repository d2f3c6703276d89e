"""The first stage for tables, images and arrays: read, split, with the test part sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from vitruvius.contracts import Fitted, Measurement, Metric, Predictions, State, Task
from vitruvius.data import Loaded, description, open_data, split
from vitruvius.pipeline.loader import INPUTS, Loader, Opened
from vitruvius.space import hyper
from vitruvius.techniques.metrics import Accuracy, RootMeanSquaredError


@dataclass(frozen=True)
class Load(Loader):
    """Read data and split it into train, validation and a sealed test part.

    ``source`` is a table (.csv, .tsv, .parquet), a folder of images by class, an .npz file, or the
    name of data that come with scikit-learn ("digits").
    """

    source: str = hyper(..., doc="file, folder, or name of built-in data")
    target: str | None = hyper(None, doc="column to predict, of a table")
    kind: Literal["classification", "regression"] | None = hyper(
        None, doc="what is predicted; None: told from the target"
    )
    metric: Metric | None = hyper(
        None, doc="what counts; None: accuracy, or root mean square error"
    )
    group: str | None = hyper(None, doc="column whose values no split may cut, of a table")
    leave_out: tuple[str, ...] = hyper((), doc="columns that are not to be read, of a table")
    size: int | None = hyper(None, doc="pixels of a side, of images; None: told from the images")
    channels: int | None = hyper(None, doc="1 grey, 3 colour; None: told from the images")
    validation: float = hyper(0.2, doc="share of the items, for choosing")
    test: float = hyper(0.2, doc="share of the items, sealed until the end")
    split_seed: int = hyper(0, doc="of the split alone, so that studies compare")

    opens: ClassVar[tuple[str, ...]] = ("source",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "pyarrow", "pillow", "scikit-learn")

    def check(self) -> None:
        if min(self.validation, self.test) <= 0 or self.validation + self.test >= 1:
            raise ValueError(
                "Load needs shares above 0 that leave items to train on; "
                f"got validation={self.validation} and test={self.test}."
            )

    def read(self) -> Opened:
        loaded = open_data(
            self.source,
            self.target,
            task=self.kind,
            group=self.group,
            leave_out=self.leave_out,
            size=self.size,
            channels=self.channels,
        )
        return Opened(self._split(loaded), self.source, self.target, loaded.notes)

    def _split(self, loaded: Loaded) -> State:
        splits = split(loaded, validation=self.validation, test=self.test, seed=self.split_seed)
        metric = self.metric or default_metric(loaded.task)
        labels = splits["train"].documents.attributes["label"]
        answers = splits["validation"].documents.attributes["label"]
        floor = majority(torch.as_tensor(labels), torch.as_tensor(answers), loaded.task, metric)
        task = Task(
            name=loaded.task.name,
            level=loaded.task.level,
            labels=loaded.task.labels,
            metric=metric,
            floors=(floor,),
            group=loaded.task.group,
        )
        return State(task=task, splits=splits, fitted={INPUTS: Fitted(values=description(loaded))})


def default_metric(task: Task) -> Metric:
    """Accuracy for classes, root mean square error for numbers."""
    return Accuracy() if task.labels else RootMeanSquaredError()


def majority(train: torch.Tensor, answers: torch.Tensor, task: Task, metric: Metric) -> Measurement:
    """What the metric gives to whom ignores the input: class frequencies, or the mean.

    ``train`` and ``answers`` are labels [N].
    """
    if task.labels:
        counts = torch.bincount(train.long(), minlength=len(task.labels)).float()
        values = (counts / counts.sum()).expand(len(answers), -1)
    else:
        values = train.float().mean().expand(len(answers))
    measured = metric.measure(Predictions(values, answers, torch.arange(len(answers))))
    return Measurement(
        f"{measured.name} of {'the class frequencies' if task.labels else 'the mean'}",
        measured.value,
        measured.better,
        measured.stderr,
        measured.items,
    )
