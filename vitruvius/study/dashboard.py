"""A study as Optuna sees it: a view for ``optuna-dashboard``, rebuilt from the journal.

Nothing is ever read back from it. Needs ``pip install 'vitruvius[dashboard]'``.
"""

from __future__ import annotations

import datetime
import json
import math
import socketserver
import sys
import threading
import warnings
import wsgiref.simple_server
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvius.space import digest
from vitruvius.study.axes import Axis, axes, open_space
from vitruvius.study.trials import Summary, Trial, summary

if TYPE_CHECKING:
    import optuna

REFRESH_SECONDS = 2.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
ENDED = ("finished", "failed", "stopped")


class DashboardError(ValueError):
    """The dashboard cannot be shown. One line: why, and how to mend."""


def to_optuna(
    study: Summary,
    space: Any | None = None,
    *,
    storage: optuna.storages.BaseStorage | None = None,
    name: str = "vitruvius",
) -> optuna.Study:
    """The ended trials of a study as an Optuna study, in memory unless a storage is given.

    Finished trials are COMPLETE, stopped ones PRUNED, failed ones FAIL; learning curves are
    intermediate values. A storage that holds the study already gets the trials that it lacks, if
    their distributions are the same, and is filled anew if not.
    """
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.InMemoryStorage() if storage is None else storage
    ended = [t for t in study.trials if t.status in ENDED]
    space = open_space(study.meta) if space is None else space
    codes = {a.address: _Code(a, ended) for a in axes((t.point for t in ended), space)}
    described = digest({address: repr(code.distribution) for address, code in codes.items()})
    direction = "maximize" if study.better == "higher" else "minimize"
    known = {s.study_name: s for s in optuna.get_all_study_summaries(storage)}
    if name in known and known[name].user_attrs.get("distributions") != described:
        optuna.delete_study(study_name=name, storage=storage)
    found = optuna.create_study(
        storage=storage, study_name=name, direction=direction, load_if_exists=True
    )
    if found.user_attrs.get("distributions") != described:
        found.set_user_attr("distributions", described)
        found.set_user_attr("metric", study.metric)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            found.set_metric_names([study.metric])
    there = {trial.user_attrs.get("trial") for trial in found.get_trials(deepcopy=False)}
    for trial in ended:
        if trial.number not in there:
            found.add_trial(_frozen(trial, codes))
    return found


def serve(
    folder: str | Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    announce: Callable[[str], None] = print,
) -> None:
    """Show the study of a folder in optuna-dashboard until interrupted.

    The journal is looked at every two seconds; new trials appear when the page refreshes itself.
    Raises DashboardError where the extra is missing or the port is taken.
    """
    optuna = _optuna()
    app_of = _dashboard()
    storage = optuna.storages.InMemoryStorage()
    feed = _Feed(Path(folder), storage)
    feed.refresh()
    app = app_of(storage)
    try:
        server = wsgiref.simple_server.make_server(
            host, port, app, server_class=_Server, handler_class=_Handler
        )
    except OSError as error:
        raise DashboardError(
            f"The dashboard cannot listen on {host}:{port} ({error.strerror}). "
            f"Choose another port: vitruvius dashboard {folder} --port {port + 1}"
        ) from None
    if host not in LOOPBACK:
        print(
            f"Warning: {host} can be reached from other machines, and the dashboard asks for no "
            "password.",
            file=sys.stderr,
        )
    stop = threading.Event()
    watcher = threading.Thread(target=feed.follow, args=(stop,), daemon=True)
    watcher.start()
    shown = f"[{host}]" if ":" in host else host
    announce(f"{folder}: http://{shown}:{server.server_port}/dashboard (ctrl-c ends it)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        server.server_close()


class _Feed:
    """Keeps an Optuna storage in step with a journal."""

    def __init__(self, folder: Path, storage: optuna.storages.BaseStorage) -> None:
        self.folder, self.storage = folder, storage
        self.seen = -1

    def refresh(self) -> bool:
        """Read the journal, and add what is new. True where there was something."""
        from vitruvius.study.journal import Journal
        from vitruvius.study.settings import JOURNAL, StudyError

        path = self.folder / JOURNAL
        if not path.exists():
            raise StudyError(
                f"{self.folder} holds no study (there is no {JOURNAL}). "
                f"Begin one with: vitruvius search SPACE --out {self.folder}"
            )
        with Journal(path, read_only=True) as journal:
            events = journal.read()
        if not events or events[-1].sequence == self.seen:
            return False
        self.seen = events[-1].sequence
        to_optuna(summary(events), storage=self.storage, name=self.folder.resolve().name)
        return True

    def follow(self, stop: threading.Event) -> None:
        """Refresh until told to stop. A journal that cannot be read now is read later."""
        told = ""
        while not stop.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except Exception as error:
                if str(error) != told:
                    told = str(error)
                    print(f"The journal cannot be read now: {told}", file=sys.stderr)


class _Code:
    """How the labels of one decision are written for Optuna, under one distribution."""

    def __init__(self, axis: Axis, trials: list[Trial]) -> None:
        from optuna import distributions

        self.axis = axis
        self.words: dict[tuple[str, str], str] = {}
        """Labels of several types as text: Optuna takes 1, 1.0 and True for one."""
        self.distribution: optuna.distributions.BaseDistribution
        if axis.labels:
            labels = list(axis.labels)
            seen = [t.point[axis.address] for t in trials if axis.address in t.point]
            gone = {_typed(x): x for x in seen if axis.position(x) >= len(axis.labels)}
            labels += [gone[key] for key in sorted(gone, key=str)]
            if {type(x) for x in labels} not in ({int}, {float}, {str}):
                words = [x if isinstance(x, str) else _word(x) for x in labels]
                distinct = len(set(words)) == len(words)
                self.words = {
                    _typed(x): word if distinct else json.dumps(x)
                    for x, word in zip(labels, words, strict=True)
                }
            self.distribution = distributions.CategoricalDistribution(tuple(map(self, labels)))
        elif axis.kind == "integer":
            low, high = int(axis.low), int(axis.high)
            self.distribution = distributions.IntDistribution(low, high, log=axis.log and low > 0)
        else:
            self.distribution = distributions.FloatDistribution(axis.low, axis.high, log=axis.log)

    def __call__(self, label: Any) -> Any:
        if not self.axis.labels:
            return int(label) if self.axis.kind == "integer" else float(label)
        return self.words[_typed(label)] if self.words else label


def _word(label: Any) -> str:
    return "none" if label is None else json.dumps(label)


def _typed(label: Any) -> tuple[str, str]:
    return type(label).__name__, json.dumps(label)


def _frozen(trial: Trial, codes: Mapping[str, _Code]) -> optuna.trial.FrozenTrial:
    """An ended trial as Optuna stores it."""
    from optuna.trial import TrialState, create_trial

    state = {
        "finished": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }[trial.status]
    score = trial.score if trial.status == "finished" else None
    if trial.status == "finished" and (score is None or not math.isfinite(score)):
        state, score = TrialState.FAIL, None
    if score is not None and trial.share < 1:  # of a rung: no match for a whole training
        state = TrialState.PRUNED
    facts = {
        "trial": trial.number,
        "digest": trial.digest,
        "share": None if trial.share == 1 else trial.share,
        "parameters": trial.parameters,
        "flops": trial.flops,
        "seconds": trial.seconds,
        "cause": trial.cause,
        **{f"score: {name}": value for name, value in trial.scores.items()},
    }
    frozen = create_trial(
        state=state,
        value=score,
        params={address: codes[address](label) for address, label in trial.point.items()},
        distributions={address: codes[address].distribution for address in trial.point},
        user_attrs={name: value for name, value in facts.items() if value is not None},
        intermediate_values={step: value for step, _, value in trial.curve if math.isfinite(value)},
    )
    if trial.started is not None:
        frozen.datetime_start = datetime.datetime.fromtimestamp(trial.started)
    if trial.ended is not None:
        frozen.datetime_complete = datetime.datetime.fromtimestamp(trial.ended)
    return frozen


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise DashboardError(_missing("optuna")) from None
    return optuna


def _dashboard() -> Callable[[Any], Any]:
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise DashboardError(_missing("optuna-dashboard")) from None
    return wsgi


def _missing(what: str) -> str:
    return f"The dashboard needs {what}, an extra: pip install 'vitruvius[dashboard]'"


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
