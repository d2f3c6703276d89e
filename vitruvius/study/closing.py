"""The jobs that close a study: the soup of its trainings, and the test part, opened once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Layout, Lineage, Stopped, Stream
from vitruvius.pipeline import souping
from vitruvius.pipeline.judging import judge
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.loader import Loader
from vitruvius.pipeline.pipeline import stages_of
from vitruvius.pipeline.saving import load_model, save_state
from vitruvius.space import from_json
from vitruvius.study.shapes import layer_shapes
from vitruvius.study.worker import Job, load_user_file, setting_of
from vitruvius.train.building import Body, TokenBody
from vitruvius.train.text_bodies import TextBody


def _data(job: Job, design: Any, lab: Any) -> tuple[Any, Any]:
    """The state after the stage that loads the data, and the metric of the pipeline."""
    loads = [stage for stage in stages_of(design) if isinstance(stage, Loader)]
    if not loads:
        raise ValueError("This pipeline has no Load stage, so there is no test part.")
    state = lab.run(loads[0], {})
    metric = state.task.metric if state.task else None
    if metric is None:
        raise ValueError("The task has no metric to test by.")
    for stage in stages_of(design):
        metric = getattr(stage, "metric", None) or metric
    return state, metric


def soup(job: Job) -> dict[str, Any]:
    """Puts into the folder what the merger makes of the members. Raises Stopped at ``stop_at``."""
    load_user_file(job.user_file)
    lab = LocalLab(
        setting_of(job.seed, job.device, job.threads, job.precision), key=f"soup {job.seed}"
    )
    members = [
        souping.Member(
            Path(one["folder"]),
            from_json(one["design"], job.modules),
            one["score"],
            Lineage(*one["lineage"]),
        )
        for one in job.members
    ]
    state, metric = _data(job, members[0].design, lab)

    def check() -> None:
        if job.stop_at is not None and time.time() > job.stop_at:
            raise Stopped("the budget ended")

    merger = from_json(job.merger, job.modules)
    made = souping.soup(merger, members, state, metric, lab, job.modules, check)
    weights = save_state(Path(job.folder), members[0].design, made.state)
    return {
        "shares": list(made.merged.shares),
        "score": made.score.value,
        "stderr": made.score.stderr,
        "weights": weights,
    }


def test(job: Job) -> dict[str, Any]:
    """Opens the test part for the model in the folder."""
    load_user_file(job.user_file)
    design = from_json(job.design, job.modules)
    lab = LocalLab(setting_of(job.seed, job.device, job.threads, job.precision))
    state, metric = _data(job, design, lab)
    device = torch.device(job.device)
    saved = load_model(Path(job.folder), design, device, job.modules)
    opened = state.splits["test"].opened().documents
    tested = replace(state, model=saved.model, index=saved.index)
    measured = judge(tested, opened, metric, device, lab.precision)
    return {
        "score": measured.value,
        "stderr": measured.stderr,
        "items": measured.items,
        "metric": measured.name,
        "data": opened.digest,
        "layers": _layers(saved.model, saved.task, saved.shape, device),
    }


def _layers(model: Any, task: Any, shape: tuple[int, ...], device: Any) -> list[dict[str, Any]]:
    """What each module of the chosen network gives out, for its drawing."""
    body, found = model.bodies["input"], []
    if isinstance(body, Body):
        found = layer_shapes(body.network, torch.zeros((2, *shape), device=device))
    elif isinstance(body, TextBody):
        ids = torch.zeros((1, *shape), dtype=torch.long, device=device)
        places = torch.arange(shape[0], device=device).unsqueeze(0)
        found = layer_shapes(body.network, ids, Layout(places, ids + 1))
    elif isinstance(body, TokenBody):
        stream = Stream(torch.zeros((1, *shape), device=device))
        found = layer_shapes(body.network, stream.values, stream.layout)
    if found and "task" in model.heads:
        weights = sum(p.numel() for p in model.heads["task"].parameters())
        head = {"path": "head", "shape": [len(task.labels) or 1], "parameters": weights}
        found.append(head)
    return found
