"""Where jobs run: in this process, or in processes beside it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import wait
from typing import Any, Protocol

from vitruvius.study.worker import Job, perform, serve

Hear = Callable[[str, int, Mapping[str, Any]], None]


class Executor(Protocol):
    """Takes jobs; ``work`` hands on what comes of them as ``hear(kind, number, body)``."""

    size: int
    """Jobs at a time."""

    @property
    def running(self) -> Mapping[int, Job]: ...
    def submit(self, job: Job) -> None: ...
    def work(self, hear: Hear, seconds: float) -> None:
        """Hear what happens, for at most about so many seconds where nothing does."""
        ...

    def close(self) -> None: ...


class Inline:
    """One job at a time, in this process: for notebooks and tests."""

    size = 1

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}

    @property
    def running(self) -> Mapping[int, Job]:
        return self.jobs

    def submit(self, job: Job) -> None:
        self.jobs[job.number] = job

    def work(self, hear: Hear, seconds: float) -> None:
        for number, job in list(self.jobs.items()):
            del self.jobs[number]
            perform(job, lambda kind, body, n=number: hear(kind, n, body))

    def close(self) -> None:
        self.jobs.clear()


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """A process that starts here never gets SIGINT: the study decides what an interrupt means."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        with _no_interrupts():
            self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.ready = False


class Processes:
    """A pool of processes, begun when they are needed. Of one that dies the job is a failure.

    A job that has not stopped ``grace`` seconds after its ``stop_at`` is ended with its process.
    """

    def __init__(self, size: int, grace: float = 5.0) -> None:
        if size < 1:
            raise ValueError(f"A pool needs at least one process; got {size}.")
        self.size, self.grace = size, grace
        self.workers: list[_Worker] = []

    @property
    def running(self) -> Mapping[int, Job]:
        return {w.job.number: w.job for w in self.workers if w.job is not None}

    def submit(self, job: Job) -> None:
        worker = next((w for w in self.workers if w.job is None), None)
        if worker is None:
            worker = _Worker()
            self.workers.append(worker)
        worker.job = job
        worker.connection.send(job)

    def work(self, hear: Hear, seconds: float) -> None:
        ends: dict[Any, _Worker] = {}
        for worker in self.workers:
            ends[worker.connection] = worker
            ends[worker.process.sentinel] = worker
        for end in wait(list(ends), timeout=seconds):
            worker = ends[end]
            if end is worker.connection:
                self._receive(worker, hear)
            elif worker in self.workers and not worker.connection.poll():
                self._bury(worker, hear)
        for worker in list(self.workers):
            job = worker.job
            if job and job.stop_at is not None and time.time() > job.stop_at + self.grace:
                self._end(worker)
                worker.job = None
                hear("stopped", job.number, {"cause": "the budget ended, and it did not stop"})

    def _receive(self, worker: _Worker, hear: Hear) -> None:
        try:
            while worker.connection.poll():
                kind, number, body = worker.connection.recv()
                if kind == "ready":
                    worker.ready = True
                    continue
                if kind in ENDS:
                    worker.job = None
                hear(kind, number, body)
        except (EOFError, OSError):
            self._bury(worker, hear)

    def _bury(self, worker: _Worker, hear: Hear) -> None:
        """A worker died by itself: say why, and replace it."""
        worker.process.join(1.0)
        code = worker.process.exitcode
        job, was_ready = worker.job, worker.ready
        worker.connection.close()
        self.workers.remove(worker)
        if not was_ready:
            raise RuntimeError(
                f"A worker process could not start (exit status {code}). Its message stands above. "
                "In a script, call the search under: if __name__ == '__main__':"
            )
        if job is not None:
            why = (
                f"its process was killed by signal {-code}"
                if code and code < 0
                else (f"its process ended with status {code}")
            )
            hint = "; perhaps out of memory" if code == -9 else ""
            body = {"status": "failed", "score": None, "cause": why + hint, "seconds": None}
            hear("told", job.number, body)

    def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()


ENDS = frozenset({"told", "tested", "souped", "stopped", "rejected", "halted"})
"""Messages after which a job is done."""
