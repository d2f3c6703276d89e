"""One job of a study: run a design, or test a model. In this process or in another."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import linecache
import math
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

USER_MODULE = "user_space"  # what a user's space file is imported as, in every process
DIGEST = "__digest__"  # of the text that this module was made from
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
FAILURE = "failure.txt"
NOT_BEGUN = "not started"  # how the cause begins where a training did not

Send = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do. Plain data: it crosses processes.

    ``flops_left`` is what a training may take. ``stop_at`` is Unix time in seconds; a training
    that has not ended by then stops at its next step. ``kind`` "run" makes a state of the design,
    "test" measures the one in ``folder`` on the test part, which it opens, and "soup" puts there
    what ``merger`` makes of ``members`` (``souping.members``).
    """

    number: int
    kind: Literal["run", "test", "soup"]
    design: Any
    seed: int
    folder: str
    stop_at: float | None = None
    flops_per_second: float | None = None
    flops_left: float | None = None
    max_parameters: int | None = None
    max_flops: float | None = None
    device: str = "cpu"
    threads: int = 1
    precision: str | None = None
    store: str | None = None
    store_bytes: int | None = None
    user_file: str | None = None
    modules: tuple[str, ...] = ("vitruvius",)
    merger: Any = None
    members: tuple[Mapping[str, Any], ...] = ()
    latency: bool = False
    """Whether to time its answers."""


ENDING = {"run": "told", "test": "tested", "soup": "souped"}  # the message that a job ends with


def perform(job: Job, send: Send) -> None:
    """Do a job; ``send(kind, body)`` gets what happens. Never raises what the job itself raised."""
    begun = time.monotonic()

    def spent() -> float:
        return round(time.monotonic() - begun, 4)

    from vitruvius.contracts import Stopped
    from vitruvius.space import Infeasible

    try:
        with _settings(job):
            body = _run(job, send) if job.kind == "run" else _close(job)
        send(ENDING[job.kind], {**body, "seconds": spent()})
    except Infeasible as error:
        send("rejected", {"address": error.address, "reason": error.reason, "seconds": spent()})
    except Stopped as error:
        stopped = {"cause": str(error) or "the budget ended", "seconds": spent()}
        send("stopped", {**stopped, "begun": not str(error).startswith(NOT_BEGUN)})
    except Exception as error:
        if (full := no_room(error)) is not None:
            send("halted", {"cause": full})
            return
        note = Path(job.folder) / FAILURE
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(traceback.format_exc())
        send("told", {"status": "failed", "score": None, "cause": cause(error), "seconds": spent()})


def cause(error: BaseException) -> str:
    """One line on why a job failed."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return "out of memory"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{name}: {first}" if first else name


def no_room(error: BaseException | None) -> str | None:
    """What the system says where a disk is full or read-only; None where the error is another."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return os.strerror(error.errno)
        told = re.search(r"\(os error (\d+)\)", str(error))  # as safetensors says it
        if told and int(told[1]) in NO_ROOM:
            return os.strerror(int(told[1]))
        error = error.__cause__
    return None


def _run(job: Job, send: Send) -> dict[str, Any]:
    from vitruvius.contracts import Limits, Measurement, Progress, Stopped
    from vitruvius.pipeline.evaluation import score_of
    from vitruvius.pipeline.lab import LocalLab
    from vitruvius.pipeline.latency import latency
    from vitruvius.pipeline.saving import save_state
    from vitruvius.pipeline.store import Store
    from vitruvius.pipeline.training import PLAN
    from vitruvius.space import from_json
    from vitruvius.study.budget import predicted_seconds
    from vitruvius.study.inner import search_inside

    load_user_file(job.user_file)
    design = from_json(job.design, job.modules)

    def listen(now: Progress, measured: Sequence[Measurement]) -> None:
        for one in measured:
            if one.name == PLAN:
                plan = {"flops": one.cost.flops, "parameters": one.cost.parameters}
                send("planned", plan)
                if job.flops_left is not None and one.cost.flops > job.flops_left:
                    raise Stopped(
                        f"{NOT_BEGUN}: it needs {one.cost.flops:.3g} FLOPs, and "
                        f"{job.flops_left:.3g} are left"
                    )
                if job.stop_at is not None:
                    needed = predicted_seconds(one.cost.flops, job.flops_per_second)
                    if needed is not None and time.time() + needed > job.stop_at:
                        raise Stopped(
                            f"{NOT_BEGUN}: it needs about {needed:.0f} s, and "
                            f"{max(0.0, job.stop_at - time.time()):.0f} s are left"
                        )
            elif one.better is not None:
                annealed = now.fraction is not None and now.fraction >= 1
                rung = {"step": now.step, "fraction": now.fraction, "score": one.value}
                send("rung", {**rung, "annealed": annealed})
        if job.stop_at is not None and time.time() > job.stop_at:
            raise Stopped("the budget ended")

    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    limits = Limits(job.max_parameters, job.max_flops)
    store = None if job.store is None else Store(job.store, job.store_bytes, job.modules)
    lab = LocalLab(_setting(job), folder, limits, listen=listen, store=store, inner=search_inside)
    state = lab.run(design, {})
    score = score_of(state)
    if not math.isfinite(score.value):
        raise ValueError(f"the score ({score.name}) is {score.value}")
    flops = sum(m.cost.flops for m in state.measurements)
    parameters = max((m.cost.parameters for m in state.measurements), default=0)
    weights = save_state(folder, design, state)
    lineage = state.model.lineage if state.model else None
    return {
        "status": "finished",
        "score": score.value,
        "scores": {m.name: m.value for m in state.measurements},
        "stderr": score.stderr,
        **({"comparable": score.comparable} if score.comparable else {}),
        "flops": flops,
        "parameters": parameters,
        "computed": {"flops": lab.meter.spent.flops, "seconds": lab.meter.spent.seconds},
        "alone": lab.took(design).seconds if store is not None else None,
        "state": state.digest,
        "weights": weights,
        **({"latency": latency(state, lab.device, lab.precision)} if job.latency else {}),
        "lineage": None if lineage is None else list(lineage.family),
        "seed": job.seed,
    }


def _close(job: Job) -> dict[str, Any]:
    from vitruvius.study import closing

    return closing.test(job) if job.kind == "test" else closing.soup(job)


def _setting(job: Job) -> Any:
    return setting_of(job.seed, job.device, job.threads, job.precision)


def setting_of(seed: int, device: str, threads: int, precision: str | None = None) -> Any:
    """What surrounds the stages of a trial, and is part of their keys."""
    import torch

    from vitruvius.pipeline.keys import Setting

    where = torch.device(device)
    usual = "bfloat16" if where.type == "cuda" else "float32"
    return Setting(seed, where, getattr(torch, precision or usual), threads)


@contextlib.contextmanager
def _settings(job: Job) -> Iterator[None]:
    """Threads and determinism of a job; what was set before comes back after it."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warned)
        memory.fill_uninitialized_memory = filled


def load_user_file(path: str | None) -> Any:
    """A user's space file as the module ``user_space``; imported once for each text of a file."""
    if path is None:
        return None
    text = Path(path).read_bytes()
    made = hashlib.sha256(text).hexdigest()
    known = sys.modules.get(USER_MODULE)
    if known is not None and getattr(known, DIGEST, None) == made:
        return known
    spec = importlib.util.spec_from_file_location(USER_MODULE, path)
    if spec is None:
        raise ValueError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    setattr(module, DIGEST, made)
    sys.modules[USER_MODULE] = module
    lines = text.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[path] = (len(text), None, lines, path)  # the file may be gone at the export
    try:
        exec(compile(text, path, "exec"), vars(module))
    except BaseException:
        if known is None:
            del sys.modules[USER_MODULE]
        else:
            sys.modules[USER_MODULE] = known
        raise
    return module


def serve(connection: Connection) -> None:
    """What a worker process does: jobs come in, messages go out, until the other end closes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the study decides what an interrupt means
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _die_with_parent()
    import torch  # noqa: F401  (so that the first job is not charged for it)

    connection.send(("ready", 0, {}))
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        perform(job, lambda kind, body, job=job: connection.send((kind, job.number, dict(body))))


def _die_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
