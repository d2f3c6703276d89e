"""Under what the figures of a benchmark came about, and where they go."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def commit() -> str:
    """The commit that is checked out, abbreviated; empty outside of a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    return found.stdout.strip()


def processor() -> str:
    """The name of the processor, as the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def circumstances(*packages: str, **more: Any) -> dict[str, Any]:
    """Under what the figures came about: date, commit, machine, versions, and what is told more."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        **more,
        "cpu": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("vitruvius", *packages)},
    }


def save(name: str, figures: Any, text: str) -> None:
    """Write figures and report of ``benchmarks/NAME.py`` to NAME.json and NAME.md in results/."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(f"# benchmarks/{name}.py\n\n{text}\n")


def flags(about: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser of what every benchmark knows: --quick, which does as told, --check and --save."""
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--check", action="store_true", help="exit status 1 where a claim fails")
    parser.add_argument("--save", action="store_true", help="write the figures to results/")
    return parser


def ended(
    name: str,
    figures: Any,
    text: str,
    claims: Iterable[tuple[str, bool]],
    given: argparse.Namespace,
) -> int:
    """Print what ``benchmarks/NAME.py`` found, and keep it if asked to; the exit status."""
    print(text)
    if given.save:
        save(name, figures, text)
    return int(given.check and not all(holds for _, holds in claims))
