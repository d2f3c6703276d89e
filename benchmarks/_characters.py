"""The running Python's own standard library as characters, and under what figures came about."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
CHARACTERS = 2_000_000
HELD = 0.1  # share of the text, at its end, that is only measured on


@dataclass(frozen=True, eq=False)
class Characters:
    """Ids of a text: those to train on, and those that are held out."""

    train: Tensor
    held: Tensor
    vocabulary: int


def standard_library(characters: int = CHARACTERS) -> Characters:
    """Modules in the order of their names, ASCII alone; the same under one version of Python."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text, length = [], 0
    for path in sorted(folder.glob("*.py")):
        read = path.read_text(encoding="utf-8", errors="ignore")
        text.append("".join(c for c in read if c == "\n" or " " <= c <= "~"))
        length += len(text[-1])
        if length >= characters:
            break
    whole = "".join(text)[:characters]
    ids = {c: i for i, c in enumerate(sorted(set(whole)))}
    seen = torch.tensor([ids[c] for c in whole])
    cut = round(len(seen) * (1 - HELD))
    return Characters(seen[:cut], seen[cut:], len(ids))


def made() -> dict[str, Any]:
    """Under what the figures came about."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent
    ).stdout.strip()
    names = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in names.read_text().splitlines()
              if line.startswith("model name")] if names.exists() else []  # fmt: skip
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vitruvius": importlib.metadata.version("vitruvius"),
    }


def save(name: str, figures: dict[str, Any], text: str) -> None:
    """Figures as JSON, and the page that shows them."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(f"# benchmarks/{name}.py\n\n{text}\n")
