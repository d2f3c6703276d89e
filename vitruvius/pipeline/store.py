"""States on disk under the key of everything that made them, shared by trials and studies.

    states/KEY.json      what a state is made of, what it took, what it reported, and a checksum
    rungs/KEY/STEP.json  where a training stood
    blobs/SHA256.*       tensors, arrays and texts, by their content: equal ones lie here once
    work/KEY/            the checkpoint of a stage that runs
    locks/KEY            held by who computes this key; the system frees it when a process dies
    pins/NAME.json       keys whose blobs stay
    damaged/             what was found damaged, set aside

Everything is written beside and renamed. A file is used only after its sha256 was found to be
right; what is damaged or missing counts as never stored and is computed again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Cost, Documents, State, Tensors
from vitruvius.pipeline.reader import Reader, referred
from vitruvius.pipeline.writer import Unstorable, Writer

FORMAT = 1
WAIT_SECONDS = 0.1  # between two looks at a lock that another process holds
ORPHAN_SECONDS = 3600.0  # after which an unfinished or unnamed file belongs to nobody


class StoreError(Exception):
    """A store that cannot be used, or a key that is not in it. One line."""


class Damaged(ValueError):
    """A file of the store that is not what was written."""


@dataclass(frozen=True)
class Entry:
    """What the store knows of a state, whether or not its tensors are still there."""

    key: str
    stage: str
    """Class of the stage that made it."""
    cost: Cost
    """What the stage took: its own FLOPs and seconds."""
    ingredients: Mapping[str, Any]
    reports: Sequence[Any] = ()
    """What the stage reported while it ran: told again when it is loaded."""
    blobs: tuple[str, ...] = ()
    unstorable: str | None = None
    """Why its result could not be written; the cost is known all the same."""
    written: Any = field(default=None, repr=False)

    @property
    def needs(self) -> set[str]:
        """Digests of documents that must be at hand to load it."""
        return referred(self.written)


@dataclass(frozen=True)
class Listed:
    """A row of ``Store.list``."""

    key: str
    stage: str
    bytes: int
    seconds: float
    used: float
    """Unix time of the last use."""
    pinned: bool
    status: str
    """ "whole", "trimmed" or "not storable"."""


@dataclass(frozen=True)
class Verified:
    """What ``Store.verify`` found."""

    whole: int
    trimmed: int
    damaged: tuple[str, ...]
    """Paths inside the store; they were set aside."""


class Store:
    """A folder of states. Several processes may use it at a time.

    ``limit_bytes`` bounds the blobs when ``trim`` is called, as a lab does after each run: the
    least recently used go first, pinned ones never.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        limit_bytes: int | None = None,
        allow: tuple[str, ...] = ("vitruvius",),
    ) -> None:
        self.folder, self.limit_bytes, self.allow = Path(folder), limit_bytes, allow
        self._costs: dict[str, tuple[str, Cost]] = {}
        for name in ("states", "rungs", "blobs", "work", "locks", "pins", "damaged"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------ in and out

    def put(
        self,
        key: str,
        state: State,
        *,
        stage: str,
        cost: Cost,
        ingredients: Mapping[str, Any],
        reports: Sequence[Any] = (),
        known: Mapping[str, Documents] | None = None,
    ) -> Entry:
        """Write a state. Documents in ``known`` are referred to by digest, not copied."""
        blobs: list[str] = []
        try:
            written = Writer(self._keeper(blobs), known or {}, self.allow).write(state)
            why = None
        except Unstorable as error:
            written, why = None, str(error)
        entry = Entry(key, stage, cost, ingredients, reports, tuple(blobs), why, written)
        self._write(self._state(key), {**asdict_shallow(entry), "cost": asdict(cost)})
        return entry

    def entry(self, key: str) -> Entry | None:
        """What is known of a key; None where it never was stored, or is damaged."""
        return self._entry(self._state(key))

    def has(self, key: str) -> bool:
        """Whether a state can be loaded, as far as a look at the names of its files tells."""
        found = self.entry(key)
        return found is not None and self._is_whole(found)

    def get(
        self,
        key: str,
        known: Mapping[str, Documents] | None = None,
        device: torch.device | None = None,
    ) -> State | None:
        """The state of a key, every file checked; None where it is not there whole, or where the
        documents that it refers to are not in ``known``."""
        found = self.entry(key)
        if found is None or not self._is_whole(found):
            return None
        if not found.needs <= (known or {}).keys():
            return None
        try:
            where = device or torch.device("cpu")
            state = Reader(self._opened, known or {}, where, self.allow).decode(found.written)
        except (Damaged, FileNotFoundError):  # set aside just now, or trimmed by another process
            return None
        except (ValueError, KeyError, AttributeError, TypeError, EOFError):
            self._set_aside(self._state(key))
            return None
        if not isinstance(state, State):
            self._set_aside(self._state(key))
            return None
        return state

    # ---------------------------------------------------------------------- rungs

    def keep_rung(self, key: str, step: int, tensors: Tensors, values: Mapping[str, Any]) -> None:
        """Write where a training stands after a step."""
        from vitruvius.train.checkpoint import save_tensors

        blobs: list[str] = []
        name = self._keeper(blobs)(".safetensors", lambda path: save_tensors(path, tensors, values))
        path = self._rung(key, step)
        path.parent.mkdir(exist_ok=True)
        self._write(path, {"key": key, "step": step, "blobs": [name]})

    def recall_rung(
        self, key: str, most: int
    ) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]] | None:
        """The last whole rung at a step of at most ``most``."""
        from vitruvius.train.checkpoint import CheckpointError, load_tensors

        for step in sorted((s for s in self.rungs(key) if s <= most), reverse=True):
            try:
                made = self._read(self._rung(key, step))
                tensors, values = load_tensors(self._opened(made["blobs"][0]))
                return step, tensors, values
            except (Damaged, CheckpointError, OSError):
                continue
        return None

    def rungs(self, key: str) -> tuple[int, ...]:
        """Steps of a stage at which it was kept."""
        return tuple(sorted(int(p.stem) for p in (self.folder / "rungs" / key).glob("*.json")))

    def taken(self, stage: str) -> Sequence[Cost]:
        """What stages of a class took so far."""
        names = os.listdir(self.folder / "states")
        for key in {n.removesuffix(".json") for n in names if n[0] != "."} - self._costs.keys():
            if (found := self.entry(key)) is not None:
                self._costs[key] = (found.stage, found.cost)
        return [cost for made_by, cost in self._costs.values() if made_by == stage]

    # ---------------------------------------------------------------- who computes

    @contextlib.contextmanager
    def lock(self, key: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Held by one process or thread at a time. ``waiting`` is called while another holds it,
        and may raise. The lock of a process that dies is free at once."""
        path = self.folder / "locks" / key
        while True:
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                while True:
                    try:
                        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        if waiting is not None:
                            waiting()
                        time.sleep(WAIT_SECONDS)
                if not _is_at(opened, path):  # who held it took the file away
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
            finally:
                os.close(opened)

    def work(self, key: str) -> Path:
        """A folder for the checkpoint of the stage that computes a key."""
        path = self.folder / "work" / key
        path.mkdir(exist_ok=True)
        return path

    def done(self, key: str) -> None:
        """The stage has ended: its checkpoint is not needed any more."""
        shutil.rmtree(self.folder / "work" / key, ignore_errors=True)

    # ------------------------------------------------------------------------ pins

    def pin(self, name: str, keys: Sequence[str]) -> None:
        """Let the blobs of these keys stay, under a name; it replaces what the name pinned."""
        self._write(self.folder / "pins" / f"{name}.json", {"keys": list(keys)})

    def unpin(self, name: str) -> None:
        (self.folder / "pins" / f"{name}.json").unlink(missing_ok=True)

    def pinned(self) -> set[str]:
        """Keys that are pinned, under whatever name."""
        found: set[str] = set()
        for path in (self.folder / "pins").glob("*.json"):
            with contextlib.suppress(Damaged, OSError):
                found.update(self._read(path)["keys"])
        return found

    # ------------------------------------------------------------------- to look at

    def entries(self) -> Iterator[Entry]:
        """All that is known and not damaged."""
        for path in sorted((self.folder / "states").glob("*.json")):
            if (found := self._entry(path)) is not None:
                yield found

    def list(self) -> list[Listed]:
        """One row for each state, the last used first."""
        pinned, rows = self.pinned(), []
        for entry in self.entries():
            sizes, used = [], _stat(self._state(entry.key))[1]
            for name in entry.blobs:
                size, at = _stat(self._blob(name))
                sizes.append(max(0, size))
                used = max(used, at)
            status = "whole" if self._is_whole(entry) else "trimmed"
            if entry.unstorable is not None:
                status = "not storable"
            row = (entry.key, entry.stage, sum(sizes), entry.cost.seconds, used)
            rows.append(Listed(*row, entry.key in pinned, status))
        return sorted(rows, key=lambda row: -row.used)

    def explain(self, key: str) -> Entry:
        """What made a state. ``key`` may be its beginning. Raises StoreError."""
        found = [p.stem for p in (self.folder / "states").glob(f"{key}*.json")]
        if len(found) != 1:
            many = f"{len(found)} keys begin with" if found else "No key begins with"
            raise StoreError(f"{many} {key!r} in {self.folder}. See: vitruvius store list")
        entry = self.entry(found[0])
        if entry is None:
            raise StoreError(f"The entry {found[0]} is damaged; it was set aside.")
        return entry

    def verify(self) -> Verified:
        """Read every file and check it. What is damaged is set aside."""
        damaged: list[str] = []
        for path in [*(self.folder / "blobs").iterdir()]:
            if not path.name.startswith("."):
                try:
                    self._opened(path.name)
                except Damaged:
                    damaged.append(f"blobs/{path.name}")
        manifests = [*(self.folder / "states").glob("*.json")]
        whole = trimmed = 0
        for path in [*manifests, *(self.folder / "rungs").glob("*/*.json")]:
            try:
                made = self._read(path)
            except Damaged:
                damaged.append(str(path.relative_to(self.folder)))
                self._set_aside(path)
                continue
            if all(self._blob(name).exists() for name in made["blobs"]):
                whole += 1
            else:
                trimmed += 1
        return Verified(whole, trimmed, tuple(damaged))

    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(_stat(p)[0] for p in (self.folder / "blobs").iterdir())

    def trim(self, limit_bytes: int | None = None) -> int:
        """Remove the blobs least recently used until the limit holds. Returns bytes removed.

        What is pinned or being computed stays, and every manifest.
        """
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        swept = self.folder / ".swept"
        by_itself = limit_bytes is None and limit is not None
        removed = 0
        if not by_itself or time.time() - _stat(swept)[1] > ORPHAN_SECONDS:
            removed = self._sweep()  # it reads every manifest: not after each run
            swept.touch()
        if limit is None:
            return removed
        found = {p.name: _stat(p) for p in (self.folder / "blobs").iterdir()}
        total = sum(size for size, _ in found.values())
        if total <= limit:
            return removed
        stay = self._blobs_of(self.pinned() | self._running())
        for name, (size, _) in sorted(found.items(), key=lambda item: item[1][1]):
            if total <= limit:
                break
            if name not in stay and not name.startswith("."):
                self._blob(name).unlink(missing_ok=True)
                total -= size
                removed += size
        return removed

    # --------------------------------------------------------------------- inside

    def _sweep(self) -> int:
        """Remove unfinished files, blobs that no manifest names, and checkpoints of dead stages,
        if they are old."""
        named: set[str] = set()
        states, rungs = (self.folder / "states").glob("*.json"), self.folder / "rungs"
        for path in [*states, *rungs.glob("*/*.json")]:
            with contextlib.suppress(Damaged, OSError):
                named.update(self._read(path)["blobs"])
        old, removed = time.time() - ORPHAN_SECONDS, 0
        places = [self.folder / name for name in ("states", "blobs", "pins")]
        for path in [p for place in places for p in place.iterdir()] + [*rungs.glob("*/.*")]:
            size, used = _stat(path)
            orphan = path.parent.name == "blobs" and path.name not in named
            if used < old and (path.name.startswith(".") or orphan):
                path.unlink(missing_ok=True)
                removed += size
        running = self._running()
        for path in (self.folder / "work").iterdir():
            if path.name not in running and _newest(path) < old:
                removed += sum(_stat(p)[0] for p in path.rglob("*") if p.is_file())
                shutil.rmtree(path, ignore_errors=True)
        return removed

    def _running(self) -> set[str]:
        """Keys that a living process computes."""
        found = set()
        for path in (self.folder / "locks").iterdir():
            with contextlib.suppress(FileNotFoundError), path.open() as opened:
                try:
                    fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.add(path.name)
        return found

    def _blobs_of(self, keys: set[str]) -> set[str]:
        found: set[str] = set()
        for key in keys:
            paths = [self._state(key), *(self.folder / "rungs" / key).glob("*.json")]
            for path in paths:
                with contextlib.suppress(Damaged, OSError):
                    found.update(self._read(path)["blobs"])
        return found

    def _keeper(self, blobs: list[str]) -> Callable[[str, Callable[[Path], None]], str]:
        def keep(suffix: str, write: Callable[[Path], None]) -> str:
            beside = self.folder / "blobs" / f".{os.getpid()}-{time.monotonic_ns()}{suffix}"
            try:
                write(beside)
                name = f"{_sha256(beside)}{suffix}"
                if self._is_right(name, beside.stat().st_size):
                    os.utime(self._blob(name))
                else:
                    _sync(beside)
                    os.replace(beside, self._blob(name))
            finally:
                beside.unlink(missing_ok=True)
            blobs.append(name)
            return name

        return keep

    def _is_right(self, name: str, size: int) -> bool:
        """Whether a blob is there and what its name says; it may have been damaged since."""
        path = self._blob(name)
        return _stat(path)[0] == size and _sha256(path) == path.stem

    def _opened(self, name: str) -> Path:
        """The path of a blob that was found to be right. Raises Damaged; FileNotFoundError."""
        path = self._blob(name)
        if _sha256(path) != path.stem:
            self._set_aside(path)
            raise Damaged(f"{path} is not what was written.")
        with contextlib.suppress(OSError):
            os.utime(path)
        return path

    def _blob(self, name: str) -> Path:
        return self.folder / "blobs" / Path(name).name

    def _state(self, key: str) -> Path:
        return self.folder / "states" / f"{key}.json"

    def _rung(self, key: str, step: int) -> Path:
        return self.folder / "rungs" / key / f"{step:012d}.json"

    def _is_whole(self, entry: Entry) -> bool:
        return entry.unstorable is None and all(self._blob(b).exists() for b in entry.blobs)

    def _entry(self, path: Path) -> Entry | None:
        try:
            made = self._read(path)
            made.pop("format")
            made["cost"], made["blobs"] = Cost(**made["cost"]), tuple(made["blobs"])
            return Entry(**made)
        except FileNotFoundError:
            return None
        except (Damaged, TypeError, KeyError):
            self._set_aside(path)
            return None

    def _write(self, path: Path, value: Mapping[str, Any]) -> None:
        text = json.dumps({"format": FORMAT, **value})
        check = hashlib.sha256(text.encode()).hexdigest()
        beside = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}")
        try:
            beside.write_text(f"{text}\n{check}\n")
            _sync(beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any]:
        """A manifest. Raises Damaged; FileNotFoundError."""
        lines = path.read_bytes().split(b"\n")
        if len(lines) != 3 or hashlib.sha256(lines[0]).hexdigest().encode() != lines[1]:
            raise Damaged(f"{path} is not what was written.")
        made = json.loads(lines[0])
        if made["format"] != FORMAT:
            raise Damaged(f"{path} is of format {made['format']}; this is {FORMAT}.")
        return made

    def _set_aside(self, path: Path) -> None:
        aside = self.folder / "damaged" / f"{path.name}.{time.time_ns()}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, aside)


def asdict_shallow(entry: Entry) -> dict[str, Any]:
    """The fields of an entry as JSON, not copied."""
    return {**vars(entry), "blobs": list(entry.blobs)}


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as opened:
        os.fsync(opened.fileno())


def _stat(path: Path) -> tuple[int, float]:
    """Size in bytes and Unix time of the last use; of what is not there: -1 and 0."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return -1, 0.0
    return found.st_size, found.st_mtime


def _newest(folder: Path) -> float:
    return max((_stat(p)[1] for p in (folder, *folder.rglob("*"))), default=0.0)


def _is_at(opened: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(opened)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
