"""A study from its first event to its evidence, and what can go wrong on the way."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.study.spaces import broken, holed, tiny, unbuildable
from vitruvius.search import Event, RandomSearch
from vitruvius.space import replay
from vitruvius.study.budget import Budget
from vitruvius.study.executor import Processes
from vitruvius.study.journal import Journal
from vitruvius.study.settings import JOURNAL, Final, Limits, StudyError, Surroundings
from vitruvius.study.study import Study, reopen
from vitruvius.study.trials import Summary, summary
from vitruvius.study.worker import Job, cause, perform

ROOT = Path(__file__).parents[2]


def study(folder: Path, **changes) -> Study:
    given = {"space": tiny(), "budget": Budget(trials=4), "final": Final(top=2, seeds=1)}
    return Study(folder=folder, **{**given, **changes})


def told(found: Summary) -> list[tuple]:
    return [(t.number, dict(t.point), t.status, t.score) for t in found.trials]


def events(folder: Path) -> list[Event]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return journal.read()


def test_a_study_ends_with_its_evidence(tmp_path: Path) -> None:
    found = study(tmp_path / "s").run()
    assert [t.status for t in found.trials] == ["finished"] * 4
    assert found.final is not None and found.ended == "the trials were used"
    rescored = found.final["rescored"]
    assert [r["trial"] for r in rescored] == [t.number for t in found.leaders[:2]]
    means = {r["trial"]: r["score"] for r in rescored}
    assert found.final["validation"] == max(means.values()) == means[found.final["trial"]]
    assert 0 <= found.final["test"]["score"] <= 1
    assert found.final["test"]["data"] == found.meta["data"]["test"]
    assert found.meta["floor"]["value"] < found.final["test"]["score"]


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a").run(), study(tmp_path / "b").run()
    assert told(first) == told(second)
    assert first.final is not None and second.final is not None
    assert first.final["test"]["score"] == second.final["test"]["score"]


def test_a_process_gives_the_numbers_that_this_one_gives(tmp_path: Path) -> None:
    here = study(tmp_path / "a").run()
    there = study(tmp_path / "b", around=Surroundings(workers=1)).run()
    assert told(here) == told(there)


def test_another_seed_gives_other_numbers(tmp_path: Path) -> None:
    first, second = study(tmp_path / "a").run(), study(tmp_path / "b", seed=1).run()
    assert [t.point for t in first.trials] == [t.point for t in second.trials]
    assert [t.score for t in first.trials] != [t.score for t in second.trials]


def test_an_ended_study_is_not_run_again(tmp_path: Path) -> None:
    study(tmp_path / "s").run()
    before = events(tmp_path / "s")
    study(tmp_path / "s").run()
    assert events(tmp_path / "s") == before


def test_an_ended_study_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    study(tmp_path / "a").run()
    longer = study(tmp_path / "a", budget=Budget(trials=6)).run()
    whole = study(tmp_path / "b", budget=Budget(trials=6)).run()
    assert told(longer) == told(whole)
    assert longer.final is not None and longer.final["opened"] == 2


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with infeasible points that was never killed."""
    folder = tmp_path_factory.mktemp("uncut") / "s"
    study(folder, space=holed()).run()
    return folder


@pytest.mark.parametrize("after", [2, 3, 4, 5, 6, 7, 9])
def test_what_was_cut_off_anywhere_goes_on_as_if_it_had_not_been(
    tmp_path: Path, after: int, uncut: Path
) -> None:
    whole = summary(events(uncut))
    cut = tmp_path / "cut"
    cut.mkdir()
    with Journal(cut / JOURNAL) as journal:
        for event in events(uncut)[:after]:
            journal.append(event.kind, event.trial, event.body)
    found = study(cut, space=holed()).run()
    assert told(found) == told(whole)
    assert found.final is not None and whole.final is not None
    assert found.final["test"]["score"] == whole.final["test"]["score"]


SCRIPT = """
import sys
from tests.study.spaces import tiny
from vitruvius.study.budget import Budget
from vitruvius.study.settings import Final, Surroundings
from vitruvius.study.study import Study
def tell(found, seconds):
    print(len(found.of("finished")), flush=True)
if __name__ == "__main__":
    Study(tiny(epochs=2), budget=Budget(trials=6), folder=sys.argv[1], views=(tell,),
          final=Final(top=2, seeds=1), around=Surroundings(workers=1)).run()
"""


@pytest.mark.slow
def test_killed_without_warning_it_loses_no_finished_trial(tmp_path: Path) -> None:
    """As benchmarks/kill.py shows at many moments, here at one."""
    script, killed = tmp_path / "script.py", tmp_path / "killed"
    script.write_text(SCRIPT)
    whole = study(tmp_path / "whole", space=tiny(epochs=2), budget=Budget(trials=6)).run()
    with subprocess.Popen(
        [sys.executable, str(script), str(killed)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if int(line) >= 1:
                break
        running.send_signal(signal.SIGKILL)
    before = {e.trial for e in events(killed) if e.kind == "told"}
    assert before and running.returncode == -signal.SIGKILL
    found = study(killed, space=tiny(epochs=2), budget=Budget(trials=6)).run()
    assert before <= {t.number for t in found.of("finished")}
    assert told(found) == told(whole)


def test_infeasible_designs_are_no_trials(tmp_path: Path) -> None:
    found = study(tmp_path / "s", space=holed(), searcher=RandomSearch(seed=3)).run()
    assert len(found.of("finished", "failed")) == 4
    refused = found.of("infeasible")
    assert refused and all("Conv" in (t.cause or "") for t in refused)


def test_a_space_where_nothing_can_be_built_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"No design can be built: all 2 points.*Conv"):
        study(tmp_path / "s", space=unbuildable()).run()
    assert not (tmp_path / "s").exists()


def test_limits_refuse_a_design_before_it_is_built(tmp_path: Path) -> None:
    found = study(tmp_path / "s", limits=Limits(max_parameters=1000)).run()
    assert all((t.parameters or 0) <= 1000 for t in found.of("finished"))
    assert any("exceed the limit of 1,000" in (t.cause or "") for t in found.of("infeasible"))


def test_when_everything_fails_the_cause_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"all failed.*the loss became no number"):
        study(tmp_path / "s", space=broken(), budget=Budget(trials=30)).run()


def test_a_budget_too_small_for_one_trial(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"too small for one trial.*--seconds"):
        study(tmp_path / "s", space=tiny(epochs=5000), budget=Budget(seconds=1.2)).run()
    assert not (tmp_path / "s").exists()


def test_seconds_are_kept(tmp_path: Path) -> None:
    begun = time.monotonic()
    found = study(tmp_path / "s", budget=Budget(seconds=6.0)).run()
    assert time.monotonic() - begun < 7.0
    assert found.final is not None and len(found.of("finished")) > 3


def test_flops_are_kept(tmp_path: Path) -> None:
    free = study(tmp_path / "a").run()
    each = max(t.flops or 0 for t in free.trials)
    budget = Budget(flops=8 * each)
    found = study(tmp_path / "b", budget=budget).run()
    assert found.final is not None and found.ended is not None
    assert found.ended == "the last 10 designs needed more than was left"
    used = sum(t.flops or 0 for t in found.trials)
    used += sum(r["flops"] for r in found.final["rescored"])
    assert 5 * each < used <= 8 * each


def test_every_point_tried_ends_the_search(tmp_path: Path) -> None:
    space = dataclasses.replace(tiny().stages[1], optimizer=tiny().stages[1].optimizer)
    small = tiny().replace(
        stages=(tiny().stages[0], space.replace(batch_size=64), tiny().stages[2])
    )
    found = study(tmp_path / "s", space=small, budget=Budget(trials=100)).run()
    assert len(found.of("finished")) == 18


def test_another_study_in_the_folder_is_not_touched(tmp_path: Path) -> None:
    study(tmp_path / "s").run()
    before = events(tmp_path / "s")
    with pytest.raises(StudyError, match="another space"):
        study(tmp_path / "s", space=holed()).run()
    assert events(tmp_path / "s") == before


def test_two_processes_do_not_lead_one_study(tmp_path: Path) -> None:
    import fcntl

    folder = tmp_path / "s"
    folder.mkdir()
    with open(folder / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="Another process"):
            study(folder).run()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"):
        study(tmp_path / "file" / "s").run()


def test_a_study_is_reopened_as_it_was(tmp_path: Path) -> None:
    study(tmp_path / "s", seed=3, limits=Limits(max_parameters=10_000)).run()
    again = reopen(tmp_path / "s")
    assert again.space == tiny() and again.seed == 3
    assert again.limits.max_parameters == 10_000 and again.budget == Budget(trials=4)


def test_only_the_weights_of_the_best_are_kept(tmp_path: Path) -> None:
    found = study(tmp_path / "s", budget=Budget(trials=6)).run()
    kept = {int(p.parent.name) for p in (tmp_path / "s" / "trials").glob("*/model.safetensors")}
    assert kept == {t.number for t in found.leaders[:3]}


def test_a_worker_that_dies_is_a_failed_trial() -> None:
    heard: list[tuple] = []
    pool = Processes(1)
    try:
        pool.submit(Job(1, "run", {"node": "vitruvius.pipeline.pipeline:Pipeline"}, 0, "unused"))
        pool.workers[0].ready = True  # as if it had said so
        pool.workers[0].process.kill()
        while not heard:
            pool.work(lambda *message: heard.append(message), 1.0)
    finally:
        pool.close()
    kind, number, body = heard[0]
    assert (kind, number, body["status"]) == ("told", 1, "failed")
    assert "killed by signal 9; perhaps out of memory" in body["cause"]


def test_a_failure_keeps_its_traceback(tmp_path: Path) -> None:
    heard: list[tuple] = []
    job = Job(1, "run", {"node": "vitruvius.nowhere:Nothing"}, 0, str(tmp_path / "t"))
    perform(job, lambda kind, body: heard.append((kind, body)))
    assert heard[0][0] == "told" and heard[0][1]["status"] == "failed"
    assert "No module named" in heard[0][1]["cause"]
    assert "Traceback" in (tmp_path / "t" / "failure.txt").read_text()


def test_out_of_memory_is_told_in_plain_words() -> None:
    assert cause(MemoryError()) == "out of memory"
    assert cause(ValueError("first\nsecond")) == "ValueError: first"


def test_the_final_design_is_that_of_its_point(tmp_path: Path) -> None:
    found = study(tmp_path / "s").run()
    assert found.final is not None
    from vitruvius.space import from_json

    assert from_json(found.final["design"]) == replay(tiny(), found.final["point"])
