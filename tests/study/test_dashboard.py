"""The Optuna view: every ended trial, the same values, one distribution per name."""

import _thread
import signal
import socket
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vitruvius.space import Node, one_of
from vitruvius.study.dashboard import DashboardError, _Feed, serve, to_optuna
from vitruvius.study.journal import Journal
from vitruvius.study.trials import Summary, Trial, summary
from vitruvius.testing.studies import made_up_events

optuna = pytest.importorskip("optuna")
EVENTS = made_up_events(50, seed=4)


def test_every_ended_trial_enters_with_its_values() -> None:
    study = summary(EVENTS)
    found = to_optuna(study)
    ended = study.of("finished", "failed", "stopped")
    assert len(found.trials) == len(ended)
    by_number = {t.user_attrs["trial"]: t for t in found.trials}
    for trial in ended:
        frozen = by_number[trial.number]
        state = {"finished": "COMPLETE", "failed": "FAIL", "stopped": "PRUNED"}[trial.status]
        assert frozen.state.name == state
        assert frozen.params.keys() == trial.point.keys()
        assert frozen.intermediate_values == {s: v for s, _, v in trial.curve}
        assert frozen.user_attrs.get("cause") == trial.cause
        if trial.status == "finished":
            assert frozen.value == trial.score
    assert study.best is not None and found.best_value == study.best.score
    for address, label in study.best.point.items():
        assert found.best_trial.params[address] == ("none" if label is None else label)


def test_distributions_are_constant_per_name() -> None:
    seen: dict[str, object] = {}
    for trial in to_optuna(summary(EVENTS)).trials:
        for name, distribution in trial.distributions.items():
            assert seen.setdefault(name, distribution) == distribution
    assert len(seen) > 10


def test_lower_is_better_is_minimized() -> None:
    study = summary(made_up_events(20, better="lower"))
    found = to_optuna(study)
    assert found.direction.name == "MINIMIZE" and study.best is not None
    assert found.best_value == study.best.score


@dataclass(frozen=True)
class Holder(Node):
    """Holds anything."""

    width: object = None


def test_labels_that_python_holds_equal_stay_apart() -> None:
    labels = (1, True, 1.0, "none", None, "1")
    made = tuple(Trial(i, {"width": x}, "finished", score=0.5) for i, x in enumerate(labels))
    study = Summary({}, made, made[0], "higher", "m", None, None)
    space = Holder(one_of(*labels))
    coded = [t.params["width"] for t in to_optuna(study, space).trials]
    assert len(set(coded)) == len(labels) and all(isinstance(x, str) for x in coded)


def test_a_storage_grows_with_the_journal_and_takes_no_trial_twice() -> None:
    storage = optuna.storages.InMemoryStorage()
    for end in (120, 300, 300, len(EVENTS)):
        study = summary(EVENTS[:end])
        found = to_optuna(study, storage=storage)
        assert len(found.trials) == len(study.of("finished", "failed", "stopped"))
    assert len(optuna.get_all_study_summaries(storage)) == 1


def test_an_edited_space_fills_the_storage_anew() -> None:
    storage = optuna.storages.InMemoryStorage()
    to_optuna(summary(EVENTS), storage=storage)
    other = summary([EVENTS[0].__class__(1, "study", 0, {}), *EVENTS[1:]])
    found = to_optuna(other, storage=storage)
    assert len(found.trials) == len(other.of("finished", "failed", "stopped"))


def written(folder: Path, count: int) -> None:
    with Journal(folder / "journal.sqlite") as journal:
        have = len(journal.read())
        for event in EVENTS[have:count]:
            journal.append(event.kind, event.trial, event.body)


def test_the_feed_sees_a_journal_grow(tmp_path: Path) -> None:
    written(tmp_path, 40)
    storage = optuna.storages.InMemoryStorage()
    feed = _Feed(tmp_path, storage)
    assert feed.refresh() and not feed.refresh()
    before = len(optuna.load_study(study_name=tmp_path.name, storage=storage).trials)
    written(tmp_path, 90)
    assert feed.refresh()
    assert len(optuna.load_study(study_name=tmp_path.name, storage=storage).trials) > before


def test_the_server_answers_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna_dashboard")
    written(tmp_path, 60)
    said: list[str] = []
    ready = threading.Event()
    answers: list[Any] = []

    def announce(line: str) -> None:
        said.append(line)
        ready.set()

    def ask() -> None:
        try:
            assert ready.wait(60)
            address = said[0].split(": ", 1)[1].split(" ")[0]
            assert address.startswith("http://127.0.0.1:")
            place = f"{address.rsplit('/', 1)[0]}/api/studies"
            with urllib.request.urlopen(place, timeout=30) as reply:
                answers.append(reply.status)
        except Exception as error:
            answers.append(error)
        _thread.interrupt_main()
        while not ended.wait(5):  # an interrupt may be lost in a finalizer, where nothing can raise
            _thread.interrupt_main()

    ended = threading.Event()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever set another
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        serve(tmp_path, port=0, announce=announce)
    finally:
        ended.set()
        signal.signal(signal.SIGINT, before)
    asking.join(10)
    assert answers == [200]


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    written(tmp_path, 10)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DashboardError, match=f"127.0.0.1:{port}.*--port {port + 1}"):
            serve(tmp_path, port=port)


def test_a_missing_extra_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(DashboardError, match=r"pip install 'vitruvius\[dashboard\]'"):
        serve(tmp_path)
