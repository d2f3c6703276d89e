"""The model card: what a model predicts, how good it is, how it was found, how to run it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from vitruvius.contracts import Model, Task
from vitruvius.space import Node, draw

Evidence = Mapping[str, Any]


def scores(evidence: Evidence) -> list[tuple[str, str]]:
    """(what, value with its spread) of each score that is known, the floor last."""
    final = evidence.get("final") or {}
    rows = []
    soup = final.get("soup") or {}
    kept = bool(soup.get("kept"))
    if kept:
        what = "validation, of the soup that was chosen by it: flatters"
        rows.append((what, _number(soup["score"])))
    if final.get("selected") is not None:
        rung = f", at {100 * final['share']:.2g} % of its way" if "share" in final else ""
        which = "best training in the soup, alone" if kept else "training that was selected"
        rows.append((f"validation, of the {which}{rung}", _number(final["selected"])))
    fresh = fresh_scores(evidence)
    if fresh:
        rows.append(
            (
                f"validation, trained anew with {len(fresh)} fresh seed{'s' * (len(fresh) > 1)}"
                + (", that design alone" if kept else ""),
                _spread(fresh),
            )
        )
    elif final.get("validation") is not None and final.get("selected") is None:
        rows.append(("validation", _number(final["validation"])))
    test = final.get("test") or {}
    if test.get("score") is not None:
        error = "" if test.get("stderr") is None else f" ± {test['stderr']:.2g} (standard error)"
        on = ", trained on all that has labels" if final.get("refit") else ""
        rows.append((f"test, {test.get('items', 0):,} items{on}", _number(test["score"]) + error))
    floor = evidence.get("floor")
    if floor:
        rows.append((f"floor: {floor['name']}", _number(floor["value"])))
    return rows


def fresh_scores(evidence: Evidence) -> list[float]:
    """Validation scores of the chosen design under fresh seeds."""
    final = evidence.get("final") or {}
    return [
        entry["score"]
        for entry in final.get("rescored") or ()
        if entry.get("trial") == final.get("trial") and entry.get("score") is not None
    ]


def summary_lines(evidence: Evidence) -> list[str]:
    """The scores in one sentence, for the head of a program."""
    found = scores(evidence)
    if not found:
        return []
    metric = evidence.get("metric", "score")
    return [f"{metric}: " + "; ".join(f"{value} {what}" for what, value in found) + "."]


def card(
    design: Node,
    inputs: Mapping[str, Any],
    labels: Sequence[str],
    parameters: int,
    weights: str,
    evidence: Evidence,
    alone: bool = True,
) -> str:
    """README.md of an exported model. ``weights`` is their sha256; ``alone``, whether there is a
    program that needs torch alone."""
    answer = inputs.get("target") or inputs["name"]
    kind = f"one of {len(labels)} classes" if labels else "a number"
    sections = [
        f"# {inputs['name']}: {_task(inputs, answer, kind)}",
        f"A PyTorch model with {parameters:,} parameters, found by Vitruvius"
        + (". It runs with PyTorch alone." if alone else ", which runs it."),
        _use(inputs, alone),
        _quality(evidence),
        _answers(labels, answer),
        _reads(inputs),
        _data(evidence),
        f"## The design\n\nAll that was decided, training included:\n\n```\n{draw(design)}\n```",
        _found(evidence, weights),
        _limits(inputs, evidence),
        _files(alone),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _files(alone: bool) -> str:
    told = "## Files\n\n"
    if alone:
        told += (
            "- `model.py`: network, input preparation and command line, readable and standalone\n"
            "- `model.safetensors`: the weights, and what was learned of the inputs\n"
        )
    else:
        told += "- `whole.json` and the files that begin with `model`: all parts of the model\n"
    return (
        f"{told}- `design.json`: the decided design, the classes, and what inputs look like\n"
        "- `README.md`: this card"
    )


LEVELS = {
    "item": "one answer for each text",
    "pair": "one answer for each pair of texts",
    "token": "a tag for each word",
    "set": "the right text among many, for each query",
    "generation": "vectors of texts",
}


def text_card(
    design: Node,
    model: Model,
    task: Task,
    weights: str,
    evidence: Evidence,
    misfit: str | None = None,
) -> str:
    """README.md of a model of texts. ``misfit`` says why transformers has no class for it."""
    modules = (*model.bodies.values(), *model.heads.values())
    parameters = {id(p): p.numel() for module in modules for p in module.parameters()}
    command = {"set": "query", "generation": "embed"}.get(task.level, "predict")
    argument = '"a question"' if command == "query" else "new.csv"
    foreign = (
        "`transformers/` holds the network without its head: "
        '`AutoModel.from_pretrained("transformers")`.'
        if misfit is None
        else f"There is no folder for transformers: {misfit}"
    )
    sections = [
        f"# {task.name}: {LEVELS[task.level]}",
        f"A PyTorch model of texts with {sum(parameters.values()):,} parameters, found by "
        "Vitruvius.",
        f"## How to use it\n\n```\nvitruvius {command} FOLDER {argument}\n```\n\n{foreign}",
        _quality(evidence),
        _answers(task.labels, task.name) if task.level in ("item", "pair", "token") else "",
        "## What it reads\n\n"
        f"Texts of at most {model.longest} tokens; what is beyond is cut off.{_prepared(model)}",
        _data(evidence),
        f"## The design\n\nAll that was decided, training included:\n\n```\n{draw(design)}\n```",
        _found(evidence, weights),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _prepared(model: Model) -> str:
    """What becomes of texts before they are tokens."""
    if not model.prepared:
        return ""
    steps = ", then ".join(f"`{part.encoder!r}`" for part in model.prepared)
    return (
        f" Before that {steps}, fitted on the training part, is applied to them: the commands do "
        "so; a folder for transformers reads texts that it was not applied to."
    )


def _task(inputs: Mapping[str, Any], answer: str, kind: str) -> str:
    what = {"table": "rows of a table", "image": "images", "array": "arrays"}[inputs["medium"]]
    return f"predicts {answer if inputs['medium'] == 'table' else kind} from {what}"


def _use(inputs: Mapping[str, Any], alone: bool) -> str:
    data = {"table": "new.csv", "image": "photos/", "array": "new.npz"}[inputs["medium"]]
    if not alone:
        return (
            f"## How to run it\n\n```\nvitruvius predict FOLDER {data}\n```\n\n"
            "There is no program that needs PyTorch alone: the network is another library's, reads "
            "where tokens stand, or has an adapter beside its weights."
        )
    needs = "`pip install torch` is all that it needs."
    if inputs["medium"] == "image":
        needs = "`pip install torch pillow` is all that it needs; pillow only to read image files."
    return (
        "## How to run it\n\n"
        f"{needs}\n\n"
        f"```\npython model.py {data} --out answers.csv\n```\n\n"
        "In Python, `from model import predict`; with Vitruvius installed, "
        f"`vitruvius predict FOLDER {data}` gives the same."
    )


def _quality(evidence: Evidence) -> str:
    rows = scores(evidence)
    if not rows:
        return ""
    metric, better = evidence.get("metric", "score"), evidence.get("better", "higher")
    lines = [f"| {metric} ({better} is better) | |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in rows]
    notes = (
        "The design was selected by its validation score, so that score flatters it. The test part "
        "was kept closed during the search and opened once, for this model."
    )
    if evidence.get("soup"):
        notes += f" {evidence['soup']}"
    elif len(fresh_scores(evidence)) > 1:
        notes += " Its weights are those of the fresh training with the best validation score."
    return "## How good it is\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _answers(labels: Sequence[str], answer: str) -> str:
    if not labels:
        return f"## What comes out\n\nOne number for each item: {answer}, in the unit of the data."
    shown = ", ".join(f"`{label}`" for label in labels[:50])
    more = f" and {len(labels) - 50:,} more" if len(labels) > 50 else ""
    return f"## What comes out\n\nA probability for each class: {shown}{more}."


def _reads(inputs: Mapping[str, Any]) -> str:
    if inputs["medium"] == "table":
        lines = "\n".join(f"| {c['name']} | {c['kind']} |" for c in inputs["columns"])
        header = "" if inputs["header"] else " The file has no line of names."
        return f"## What it reads\n\nA table.{header}\n\n| column | holds |\n|---|---|\n{lines}"
    if inputs["medium"] == "image":
        colour = "grey" if inputs["channels"] == 1 else "colour"
        height, width = inputs["size"]
        return (
            f"## What it reads\n\nImages, made {colour} and resized to {height} x {width} pixels; "
            "or an .npz file with an array `x` of such pixels from 0 to 255."
        )
    shape = " x ".join(map(str, inputs["shape"]))
    return f"## What it reads\n\nAn .npz file with an array `x` whose items are {shape}."


def _data(evidence: Evidence) -> str:
    items, digests = evidence.get("items"), evidence.get("data") or {}
    if not items:
        return ""
    source = PurePath(str(evidence.get("source") or "")).name
    lines = [
        f"| {name} | {count:,} | `{digests.get(name, '')[:16]}` |" for name, count in items.items()
    ]
    return (
        f"## Data\n\n`{source}`, split into:\n\n| part | items | sha256 begins |\n|---|---|---|\n"
        + "\n".join(lines)
    )


def _found(evidence: Evidence, weights: str) -> str:
    lines = []
    if evidence.get("trials") is not None:
        lines.append(f"- {evidence['trials']:,} designs were tried" + _budget(evidence))
    searcher = evidence.get("searcher")
    if isinstance(searcher, Mapping) and "node" in searcher:
        lines.append(f"- searcher: {searcher['node'].rpartition(':')[2]}")
    if evidence.get("seed") is not None:
        fresh = [
            str(e["seed"])
            for e in (evidence.get("final") or {}).get("rescored") or ()
            if e.get("trial") == evidence["final"].get("trial")
        ]
        more = f"; fresh seeds: {', '.join(fresh)}" if fresh else ""
        lines.append(f"- seed of the search's trainings: {evidence['seed']}{more}")
    if evidence.get("versions"):
        lines.append("- " + ", ".join(f"{n} {v}" for n, v in evidence["versions"].items()))
    if evidence.get("machine"):
        lines.append(f"- machine: {evidence['machine']}")
    lines.append(f"- sha256 of the weights: `{weights}`")
    return "## How it was found\n\n" + "\n".join(lines)


def _budget(evidence: Evidence) -> str:
    words = {"seconds": "seconds", "trials": "trials", "flops": "FLOPs"}
    given = [
        f"{value:,g} {words[name]}"
        for name, value in (evidence.get("budget") or {}).items()
        if value is not None and name in words
    ]
    return f", with a budget of {' and '.join(given)}" if given else ""


def _limits(inputs: Mapping[str, Any], evidence: Evidence) -> str:
    lines = [
        "- The scores hold for data drawn as the training data were. For others they are unknown.",
        "- Whether the data are fair, and what a wrong answer costs, was not looked at.",
    ]
    if inputs["task"] == "classification":
        lines.append("- Probabilities are the network's own; they were not calibrated.")
    lines.append(
        {
            "table": "- Missing cells are filled in, and categories never seen in training count "
            "as rare ones. Numbers far outside of the training range are cut off.",
            "image": "- Images of other sizes are resized without regard to their proportions.",
            "array": "- Items must have the shape and unit of the training data.",
        }[inputs["medium"]]
    )
    fresh = fresh_scores(evidence)
    if len(fresh) < 2:
        lines.append("- The spread between trainings was not measured: fewer than two fresh seeds.")
    return "## Limits\n\n" + "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _spread(values: Sequence[float]) -> str:
    mean = _number(statistics.fmean(values))
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):.2g} (standard deviation)"
