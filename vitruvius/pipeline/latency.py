"""How long a model takes to answer one item."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from vitruvius.contracts import State
from vitruvius.pipeline.judging import answers

WARM, TIMED = 2, 15  # answers that are not timed, and that are
SECONDS = 2.0  # after which no further one begins


def latency(state: State, device: torch.device, precision: torch.dtype) -> float:
    """Median seconds of an answer to a single item of the validation part, as it is read, with all
    that lies between the item and the answer.

    Of a model that ranks, to one query among all: answers to the whole part, over its items. The
    figure is of this machine, and of what else it does: it is no part of a stage's result.
    """
    documents, task = state.splits["validation"].documents, state.task
    whole = task is not None and task.level == "set"
    asked = documents if whole else documents.take(np.arange(min(1, len(documents))))
    took: list[float] = []
    begun = time.perf_counter()
    for number in range(WARM + TIMED):
        start = time.perf_counter()
        answers(state, asked, device, precision)
        took.append(time.perf_counter() - start)
        if number >= WARM and time.perf_counter() - begun > SECONDS:
            break
    return statistics.median(took[WARM:]) / max(1, len(asked))
