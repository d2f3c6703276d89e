"""The folder of a study: writable, led by one process, left clean where nothing began."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vitruvius.study.journal import Journal, JournalError
from vitruvius.study.settings import JOURNAL, SPACE_FILE, AllFailed, StudyError
from vitruvius.study.trials import Ledger

LOCK = ".lock"


def journal_of(folder: Path) -> Path:
    """The journal of a study's folder. Raises StudyError where there is none."""
    if not (folder / JOURNAL).exists():
        raise StudyError(
            f"{folder} holds no study (there is no {JOURNAL}). "
            f"Begin one with: vitruvius search SPACE --out {folder}"
        )
    return folder / JOURNAL


@contextlib.contextmanager
def led(folder: Path) -> Iterator[None]:
    """A folder that this process alone writes. Where a study could not begin, it is left as it
    was."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = {folder / LOCK} if not (folder / LOCK).exists() else set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StudyError(
            f"{folder} cannot be written ({error.strerror}). Choose another folder with --out."
        ) from None
    with _locked(folder):
        begun, before = (folder / JOURNAL).exists(), set(folder.iterdir()) - lock
        try:
            yield
        except Exception as error:
            if not begun and not isinstance(error, AllFailed) and not _has_finished(folder):
                for path in set(folder.iterdir()) - before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                for path in made:
                    with contextlib.suppress(OSError):
                        path.rmdir()
            raise


def _has_finished(folder: Path) -> bool:
    """Whether a journal holds a finished trial, which nothing may remove."""
    if not (folder / JOURNAL).exists():
        return False
    try:
        with Journal(folder / JOURNAL, read_only=True) as journal:
            return Ledger(journal.read()).summary.best is not None
    except JournalError:
        return True


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time leads the study of a folder."""
    with open(folder / LOCK, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StudyError(
                f"Another process ({lock.read().strip() or 'unknown'}) runs the study in {folder}. "
                "Wait for it, or end it."
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def keep_space_file(user_file: str, folder: Path) -> None:
    """A copy of the user's file in the study's folder: what workers and resume read."""
    kept = folder / SPACE_FILE
    beside = kept.with_name(f".{SPACE_FILE}.{os.getpid()}")
    try:
        shutil.copyfile(user_file, beside)
        os.replace(beside, kept)
    finally:
        beside.unlink(missing_ok=True)


def full(folder: Path, said: str) -> str:
    """What is said where nothing more can be written."""
    return (
        f"{folder} cannot be written ({said}). What was written stays: make room, and go on with: "
        f"vitruvius resume {folder}"
    )
