"""What goes from a store when it holds too much, and what stays."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from pathlib import Path

from vitruvius.pipeline.store_files import Damaged, StoreFiles, stat

ORPHAN_SECONDS = 3600.0  # after which an unfinished or unnamed file belongs to nobody


def trim(files: StoreFiles, limit: int | None, by_itself: bool) -> int:
    """Remove the blobs least recently used until the limit holds. Returns bytes removed.

    ``by_itself``: nobody asked for it, so files that nobody finished are looked for once an hour.
    """
    swept = files.folder / ".swept"
    removed = 0
    if not by_itself or time.time() - stat(swept)[1] > ORPHAN_SECONDS:
        removed = _sweep(files)  # it reads every manifest: not after each run
        swept.touch()
    if limit is None:
        return removed
    found = {p.name: stat(p) for p in (files.folder / "blobs").iterdir()}
    total = sum(size for size, _ in found.values())
    if total <= limit:
        return removed
    stay = _blobs_of(files, pinned(files) | _running(files))
    for name, (size, _) in sorted(found.items(), key=lambda item: item[1][1]):
        if total <= limit:
            break
        if name not in stay and not name.startswith("."):
            files.blob(name).unlink(missing_ok=True)
            total -= size
            removed += size
    return removed


def pinned(files: StoreFiles) -> set[str]:
    """Keys that are pinned, under whatever name."""
    found: set[str] = set()
    for path in (files.folder / "pins").glob("*.json"):
        with contextlib.suppress(Damaged, OSError):
            found.update(files.read(path)["keys"])
    return found


def _sweep(files: StoreFiles) -> int:
    """Remove unfinished files, blobs that no manifest names, and checkpoints of dead stages,
    if they are old."""
    named: set[str] = set()
    states, rungs = (files.folder / "states").glob("*.json"), files.folder / "rungs"
    for path in [*states, *rungs.glob("*/*.json")]:
        with contextlib.suppress(Damaged, OSError):
            named.update(files.read(path)["blobs"])
    old, removed = time.time() - ORPHAN_SECONDS, 0
    places = [files.folder / name for name in ("states", "blobs", "pins")]
    for path in [p for place in places for p in place.iterdir()] + [*rungs.glob("*/.*")]:
        size, used = stat(path)
        orphan = path.parent.name == "blobs" and path.name not in named
        if used < old and (path.name.startswith(".") or orphan):
            path.unlink(missing_ok=True)
            removed += size
    running = _running(files)
    for path in (files.folder / "work").iterdir():
        if path.name not in running and _newest(path) < old:
            removed += sum(stat(p)[0] for p in path.rglob("*") if p.is_file())
            shutil.rmtree(path, ignore_errors=True)
    return removed


def _running(files: StoreFiles) -> set[str]:
    """Keys that a living process computes."""
    found = set()
    for path in (files.folder / "locks").iterdir():
        with contextlib.suppress(FileNotFoundError), path.open() as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.add(path.name)
    return found


def _blobs_of(files: StoreFiles, keys: set[str]) -> set[str]:
    found: set[str] = set()
    for key in keys:
        paths = [files.state(key), *(files.folder / "rungs" / key).glob("*.json")]
        for path in paths:
            with contextlib.suppress(Damaged, OSError):
                found.update(files.read(path)["blobs"])
    return found


def _newest(folder: Path) -> float:
    return max((stat(p)[1] for p in (folder, *folder.rglob("*"))), default=0.0)
