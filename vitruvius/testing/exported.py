"""Runs exported programs where nothing but torch and the standard library can be imported."""

import ast
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import torch

BLOCKED = ("vitruvius", "safetensors", "numpy", "pyarrow", "sklearn", "jaxtyping")
RUNNER = """
import json, os, runpy, sys
os.environ["OMP_NUM_THREADS"] = "1"
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None
import warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
for program, data, out in json.loads(sys.argv[2]):
    sys.argv = [program, data, "--out", out]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        print("status", ended.code, file=sys.stderr)
"""


def run_isolated(jobs: list[tuple[Path, Path]], blocked: tuple[str, ...] = BLOCKED) -> list[str]:
    """What each exported folder's program writes for its data, all in one fresh process."""
    outs, said = try_isolated(jobs, blocked)
    assert said == "", said
    return [out.read_text(encoding="utf-8") for out in outs]


def try_isolated(
    jobs: list[tuple[Path, Path]], blocked: tuple[str, ...] = BLOCKED
) -> tuple[list[Path], str]:
    """Where the answers are, and what the programs said to stderr; of a refusal also its status."""
    outs = [folder.parent / f"answers-{i}.csv" for i, (folder, _) in enumerate(jobs)]
    written = [
        (str(folder / "model.py"), str(data), str(out))
        for (folder, data), out in zip(jobs, outs, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUNNER, json.dumps(blocked), json.dumps(written)],
        capture_output=True,
        text=True,
        cwd=outs[0].parent,
    )
    assert done.returncode == 0, done.stderr
    return outs, done.stderr


def answers_in(text: str) -> torch.Tensor:
    """Probabilities [N C], or numbers [N], of a program's CSV."""
    rows = list(csv.reader(io.StringIO(text)))
    first = rows[0].index("prediction")
    is_number = len(rows[0]) == first + 1
    values = [[float(c) for c in row[first if is_number else first + 1 :]] for row in rows[1:]]
    found = torch.tensor(values, dtype=torch.float64)
    return found[:, 0] if is_number else found


def imported_by(program: Path) -> set[str]:
    """Top names of all that a program imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level
            found.add(node.module.split(".")[0])
    return found


def check_alone(program: Path, *, images: bool = False) -> None:
    """Torch and the standard library; pillow inside the function that reads image files."""
    allowed = {"torch", *sys.stdlib_module_names, *({"PIL"} if images else ())}
    assert imported_by(program) <= allowed


def ruff_finds(programs: list[Path]) -> str:
    """What ruff has against programs by this project's settings; empty where nothing."""
    ruff = Path(sys.executable).with_name("ruff")
    config = Path(__file__).parents[2] / "pyproject.toml"
    said = ""
    for command in (["check", "-q"], ["format", "-q", "--diff"]):
        done = subprocess.run(
            [str(ruff), *command, "--no-cache", "--config", str(config), *map(str, programs)],
            capture_output=True,
            text=True,
        )
        said += done.stdout + done.stderr * bool(done.returncode)
    return said
