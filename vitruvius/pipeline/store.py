"""States on disk under the key of everything that made them, shared by trials and studies.

    states/KEY.json      what a state is made of, what it took, what it reported, and a checksum
    rungs/KEY/STEP.json  where a training stood
    blobs/SHA256.*       tensors, arrays and texts, by their content: equal ones lie here once
    work/KEY/            the checkpoint of a stage that runs
    locks/KEY            held by who computes this key; the system frees it when a process dies
    pins/NAME.json       keys whose blobs stay
    damaged/             what was found damaged, set aside

Everything is written beside and renamed (``store_files``). A file is used only after its sha256
was found to be right; what is damaged or missing counts as never stored and is computed again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from vitruvius.contracts import Cost, Documents, State, Tensors
from vitruvius.pipeline import trimming
from vitruvius.pipeline.reader import Reader, referred
from vitruvius.pipeline.store_files import Damaged, StoreFiles, stat
from vitruvius.pipeline.writer import Unstorable, Writer

WAIT_SECONDS = 0.1  # between two looks at a lock that another process holds


class StoreError(Exception):
    """A store that cannot be used, or a key that is not in it. One line."""


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
        self.files = StoreFiles(self.folder)
        self._costs: dict[str, tuple[str, Cost]] = {}

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
            written = Writer(self.files.keeper(blobs), known or {}, self.allow).write(state)
            why = None
        except Unstorable as error:
            written, why = None, str(error)
        entry = Entry(key, stage, cost, ingredients, reports, tuple(blobs), why, written)
        self.files.write(self.files.state(key), {**asdict_shallow(entry), "cost": asdict(cost)})
        return entry

    def entry(self, key: str) -> Entry | None:
        """What is known of a key; None where it never was stored, or is damaged."""
        return self._entry(self.files.state(key))

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
            state = Reader(self.files.opened, known or {}, where, self.allow).decode(found.written)
        except (Damaged, FileNotFoundError):  # set aside just now, or trimmed by another process
            return None
        except (ValueError, KeyError, AttributeError, TypeError, EOFError):
            self.files.set_aside(self.files.state(key))
            return None
        if not isinstance(state, State):
            self.files.set_aside(self.files.state(key))
            return None
        return state

    # ---------------------------------------------------------------------- rungs

    def keep_rung(self, key: str, step: int, tensors: Tensors, values: Mapping[str, Any]) -> None:
        """Write where a training stands after a step."""
        from vitruvius.train.checkpoint import save_tensors

        blobs: list[str] = []
        name = self.files.keeper(blobs)(
            ".safetensors", lambda path: save_tensors(path, tensors, values)
        )
        path = self.files.rung(key, step)
        path.parent.mkdir(exist_ok=True)
        self.files.write(path, {"key": key, "step": step, "blobs": [name]})

    def recall_rung(
        self, key: str, most: int
    ) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]] | None:
        """The last whole rung at a step of at most ``most``."""
        from vitruvius.train.checkpoint import CheckpointError, load_tensors

        for step in sorted((s for s in self.rungs(key) if s <= most), reverse=True):
            try:
                made = self.files.read(self.files.rung(key, step))
                tensors, values = load_tensors(self.files.opened(made["blobs"][0]))
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
        self.files.write(self.folder / "pins" / f"{name}.json", {"keys": list(keys)})

    def unpin(self, name: str) -> None:
        (self.folder / "pins" / f"{name}.json").unlink(missing_ok=True)

    def pinned(self) -> set[str]:
        """Keys that are pinned, under whatever name."""
        return trimming.pinned(self.files)

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
            sizes, used = [], stat(self.files.state(entry.key))[1]
            for name in entry.blobs:
                size, at = stat(self.files.blob(name))
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
                    self.files.opened(path.name)
                except Damaged:
                    damaged.append(f"blobs/{path.name}")
        manifests = [*(self.folder / "states").glob("*.json")]
        whole = trimmed = 0
        for path in [*manifests, *(self.folder / "rungs").glob("*/*.json")]:
            try:
                made = self.files.read(path)
            except Damaged:
                damaged.append(str(path.relative_to(self.folder)))
                self.files.set_aside(path)
                continue
            if all(self.files.blob(name).exists() for name in made["blobs"]):
                whole += 1
            else:
                trimmed += 1
        return Verified(whole, trimmed, tuple(damaged))

    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(stat(p)[0] for p in (self.folder / "blobs").iterdir())

    def trim(self, limit_bytes: int | None = None) -> int:
        """Remove the blobs least recently used until the limit holds. Returns bytes removed.

        What is pinned or being computed stays, and every manifest.
        """
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        by_itself = limit_bytes is None and limit is not None
        return trimming.trim(self.files, limit, by_itself)

    # --------------------------------------------------------------------- inside

    def _is_whole(self, entry: Entry) -> bool:
        return entry.unstorable is None and all(self.files.blob(b).exists() for b in entry.blobs)

    def _entry(self, path: Path) -> Entry | None:
        try:
            made = self.files.read(path)
            made.pop("format")
            made["cost"], made["blobs"] = Cost(**made["cost"]), tuple(made["blobs"])
            return Entry(**made)
        except FileNotFoundError:
            return None
        except (Damaged, TypeError, KeyError):
            self.files.set_aside(path)
            return None


def asdict_shallow(entry: Entry) -> dict[str, Any]:
    """The fields of an entry as JSON, not copied."""
    return {**vars(entry), "blobs": list(entry.blobs)}


def _is_at(opened: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(opened)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
