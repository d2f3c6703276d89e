"""Exported programs give the same answers as the model, where there is nothing but torch.

Random designs of every recipe, each weight and running statistic random, and one design of each
that is really trained for a few epochs. Every design is exported; then one fresh process, in which
vitruvius, numpy, safetensors, pyarrow and scikit-learn cannot be imported, runs all programs on new
data: image files, an .npz, and tables with missing cells and categories never seen in training.
Compared are the model in the process that made it, ``vitruvius predict`` and ``model.py``:
probabilities by their largest difference, numbers by their largest relative one.
"""

from __future__ import annotations

import datetime
import json
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import circumstances, ended, flags
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits, load_wine

from vitruvius.contracts import Documents, State
from vitruvius.data import read_inputs
from vitruvius.pipeline.export import export, predict_file
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.saving import save_state, trained_by
from vitruvius.recipes import recipe
from vitruvius.space import Infeasible, replay, sample
from vitruvius.testing.exported import answers_in, imported_by, run_isolated
from vitruvius.testing.untrained import Run, untrained

RESULTS = Path(__file__).parent / "results"
LIMIT = 1e-6
TRAINED_EPOCHS = 2
RECIPES = ("digits", "deepconv", "resnet", "mlp (classes)", "mlp (numbers)")


def write_data(folder: Path) -> dict[str, tuple[str, str | None, Path]]:
    """Of each recipe: what it is trained on, the target, and the new data."""
    rng = np.random.default_rng(0)
    digits: Any = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    (folder / "photos").mkdir()
    for i, image in enumerate(pixels[:200]):
        Image.fromarray(image).save(folder / "photos" / f"{i:03}.png")
    np.savez_compressed(folder / "new.npz", x=pixels[200:600, None])
    wine: Any = load_wine()
    diabetes: Any = load_diabetes()
    names = ["barolo", "grignolino", "barbera"]
    write_table(folder / "wine", wine.data, [names[i] for i in wine.target], "sort", rng)
    write_table(folder / "diabetes", diabetes.data, diabetes.target.tolist(), "progression", rng)
    return {
        "digits": ("digits", None, folder / "photos"),
        "deepconv": ("digits", None, folder / "new.npz"),
        "resnet": ("digits", None, folder / "photos"),
        "mlp (classes)": (str(folder / "wine.csv"), "sort", folder / "wine-new.csv"),
        "mlp (numbers)": (str(folder / "diabetes.csv"), "progression", folder / "diabetes-new.csv"),
    }


def write_table(
    path: Path, numbers: np.ndarray, answers: list[Any], target: str, rng: np.random.Generator
) -> None:
    """Numbers, a category, a boolean and a date; a tenth of all cells missing. In the new data a
    category that training never saw."""
    thirds = np.quantile(numbers[:, 0], (1 / 3, 2 / 3))
    header = [*(f"x{i}" for i in range(numbers.shape[1])), "size", "dry", "picked", target]
    lines, new = [",".join(header)], [",".join(header[:-1])]
    for i, row in enumerate(numbers):
        day = datetime.date(2020, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 900)))
        size = ("small", "middle", '"large, very"')[int(np.searchsorted(thirds, row[0]))]
        cells = [*(f"{x:.5g}" for x in row), size, str(bool(row[1] > 0)).lower(), day.isoformat()]
        cells = ["" if rng.random() < 0.1 else cell for cell in cells]
        if i % 4:
            lines.append(",".join([*cells, str(answers[i])]))
        else:
            cells[numbers.shape[1]] = "never seen" if i % 8 else cells[numbers.shape[1]]
            new.append(",".join(cells))
    path.with_suffix(".csv").write_text("\n".join(lines) + "\n")
    path.with_name(f"{path.name}-new.csv").write_text("\n".join(new) + "\n")


def random_runs(space: Any, count: int, folder: Path, seed: int) -> list[Run]:
    """Designs drawn from a space until so many fit their data, with random weights."""
    rng, runs, state = random.Random(seed), [], None
    while len(runs) < count:
        design = replay(space, sample(space, rng))
        state = state or design.stages[0].look().state
        try:
            runs.append(untrained(design, folder / f"run-{len(runs)}", len(runs), state))
        except Infeasible:
            continue
    return runs


def trained_run(space: Any, folder: Path, seed: int) -> Run:
    """The first design that fits, trained for a few epochs."""
    rng = random.Random(seed)
    while True:
        design = replay(space, sample(space, rng))
        short = replace(trained_by(design), epochs=TRAINED_EPOCHS)
        stages = tuple(short if stage == trained_by(design) else stage for stage in design.stages)
        design = Pipeline(*stages)
        lab = LocalLab(Setting(seed, torch.device("cpu"), torch.float32, 1))
        try:
            state: State = lab.run(design, {})
        except Infeasible:
            continue
        save_state(folder, design, state)
        assert state.model is not None
        return Run(folder, design, state.model, state)


def differences(run: Run, documents: Documents, texts: list[str]) -> list[float]:
    """Largest difference of each text's answers from the model's; of numbers the relative one."""
    expected = run.answers(documents).double()
    found = [(answers_in(text) - expected).abs() for text in texts]
    return [float((d / expected.abs() if d.dim() == 1 else d).max()) for d in found]


def measure(count: int, seed: int, root: Path) -> dict[str, dict[str, Any]]:
    """Of each recipe the largest differences, and seconds for one export."""
    data = write_data(root)
    runs: dict[str, list[Run]] = {}
    outs: dict[str, list[Path]] = {}
    seconds: dict[str, float] = {}
    for name in RECIPES:
        source, target, _ = data[name]
        space = recipe(name.split()[0], source, target)
        folder = root / name.replace(" ", "-")
        runs[name] = [
            *random_runs(space, count, folder, seed),
            trained_run(space, folder / "trained", seed),
        ]
        begun = time.perf_counter()
        outs[name] = [
            export(run.folder, run.design, folder / f"model-{i}", {})
            for i, run in enumerate(runs[name])
        ]
        seconds[name] = (time.perf_counter() - begun) / len(outs[name])
    jobs = [(out, data[name][2]) for name in RECIPES for out in outs[name]]
    texts = dict(zip((out for out, _ in jobs), run_isolated(jobs), strict=True))
    figures = {}
    for name in RECIPES:
        new = data[name][2]
        documents = read_inputs(new, runs[name][0].state.fitted["inputs"].values)
        pairs = [
            differences(run, documents, [texts[out], "\n".join(predict_file(out, new))])
            for run, out in zip(runs[name], outs[name], strict=True)
        ]
        foreign = {m for out in outs[name] for m in imported_by(out / "model.py")}
        figures[name] = {
            "designs": count,
            "distinct": len({repr(run.design) for run in runs[name]}),
            "items": len(documents),
            "model.py": max(program for program, _ in pairs[:-1]),
            "predict": max(ours for _, ours in pairs[:-1]),
            "trained, model.py": pairs[-1][0],
            "trained, predict": pairs[-1][1],
            "spread": float(np.median([spread(texts[out]) for out in outs[name]])),
            "imports": sorted(foreign - set(sys.stdlib_module_names)),
            "export_seconds": round(seconds[name], 3),
        }
    return figures


def spread(text: str) -> float:
    """Standard deviation of a program's answers over the items: 0 where it says always the same."""
    return float(answers_in(text).std(0).mean())


def claims(figures: dict[str, dict[str, Any]]) -> list[tuple[str, bool]]:
    columns = ("model.py", "predict", "trained, model.py", "trained, predict")
    found = []
    for name, of in figures.items():
        what = "relative differences" if "numbers" in name else "differences of probabilities"
        worst = max(of[column] for column in columns)
        found.append((f"{name}: {what} at most {LIMIT:g} (worst {worst:.1e})", worst <= LIMIT))
        found.append((f"{name}: answers differ from item to item", of["spread"] > 1e-4))
        allowed = {"torch", "PIL"} if "mlp" not in name else {"torch"}
        alone = set(of["imports"]) <= allowed
        found.append((f"{name}: programs import {', '.join(of['imports'])} alone", alone))
    return found


def report(figures: dict[str, dict[str, Any]], made: dict[str, Any]) -> str:
    lines = [
        "| recipe | designs | items | model.py | vitruvius predict | trained: model.py | "
        "seconds of an export |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {of['designs']} | {of['items']} | {of['model.py']:.1e} | {of['predict']:.1e} "
        f"| {of['trained, model.py']:.1e} | {of['export_seconds']:.2f} |"
        for name, of in figures.items()
    ]
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    return "\n".join([*lines, "", json.dumps(made)])


def main() -> int:
    parser = flags(__doc__, "3 designs of each; under a minute")
    parser.add_argument("--designs", type=int, default=20, help="of each recipe")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    count = 3 if given.quick else given.designs
    with tempfile.TemporaryDirectory() as root:
        figures = measure(count, given.seed, Path(root))
    made = circumstances(
        "torch",
        "numpy",
        "scikit-learn",
        "pillow",
        seed=given.seed,
        designs=count,
        seconds=round(time.perf_counter() - begun),
    )
    kept = {"figures": figures, "made": made}
    return ended("export_check", kept, report(figures, made), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
