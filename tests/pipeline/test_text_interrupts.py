"""Killed in each stage, damaged in each way, run twice at once: the same result."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline import interrupted, text_data
from vitruvius.pipeline.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    text_data.labelled(folder)
    text_data.corpus(folder)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float, float]:
    """The store of a run that nothing disturbed, and what came out."""
    store = tmp_path_factory.mktemp("whole") / "store"
    return (store, *interrupted.run(data, store))


def begin(data: Path, store: Path, *die: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.pipeline.interrupted", str(data), str(store), *die]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tokenize", "pretrain", "adapt"])
def test_a_process_that_is_killed_in_a_stage_loses_nothing_but_time(
    stage: str, data: Path, tmp_path: Path, whole: tuple[Path, str, float, float]
) -> None:
    killed = begin(data, tmp_path / "store", stage)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    digest, score, flops = interrupted.run(data, tmp_path / "store")
    assert (digest, score) == whole[1:3]
    assert flops <= whole[3]
    assert not Store(tmp_path / "store").verify().damaged


@pytest.mark.slow
def test_two_processes_on_one_store_compute_each_stage_once(
    data: Path, tmp_path: Path, whole: tuple[Path, str, float, float]
) -> None:
    both = [begin(data, tmp_path / "store") for _ in range(2)]
    told = [one.communicate(timeout=240)[0].split() for one in both]
    assert {(digest, float(score)) for digest, score, _ in told} == {whole[1:3]}
    assert sum(float(flops) for _, _, flops in told) == pytest.approx(whole[3], rel=1e-6)


@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_every_damaged_file_is_found_and_made_again(
    harm: str, data: Path, tmp_path: Path, whole: tuple[Path, str, float, float]
) -> None:
    store = Path(shutil.copytree(whole[0], tmp_path / "store"))
    files = [p for part in ("blobs", "states") for p in sorted((store / part).iterdir())]
    assert len(files) > 6
    for path in files:
        content = path.read_bytes()
        half = len(content) // 2
        if harm == "gone":
            path.unlink()
        elif harm == "cut":
            path.write_bytes(content[:half])
        else:
            path.write_bytes(content[:half] + bytes([content[half] ^ 16]) + content[half + 1 :])
    digest, score, flops = interrupted.run(data, store)
    assert (digest, score) == whole[1:3] and flops > 0
    assert not Store(store).verify().damaged
    again = interrupted.run(data, store)
    assert again == (digest, score, 0.0)


def test_one_damaged_file_costs_its_stage_alone(
    data: Path, tmp_path: Path, whole: tuple[Path, str, float, float]
) -> None:
    store = Path(shutil.copytree(whole[0], tmp_path / "store"))
    found = {entry.stage.partition(":")[2]: entry for entry in Store(store).entries()}
    assert set(found) == {"Tokenize", "Pretrain", "Adapt", "Evaluate"}
    for name in ("Adapt", "Evaluate"):
        (store / "states" / f"{found[name].key}.json").write_text("{")
    digest, score, flops = interrupted.run(data, store)
    assert (digest, score) == whole[1:3]
    assert 0 < flops <= found["Adapt"].cost.flops * 1.001
