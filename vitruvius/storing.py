"""Looking into a store of states: what the command ``vitruvius store`` shows and does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitruvius.pipeline.store import Entry, Listed, Store, StoreError
from vitruvius.study.settings import STORE

UNITS = ("B", "kB", "MB", "GB", "TB")


def opened(folder: Path) -> Store:
    """The store in a folder, or that of the study in it. Raises StoreError where there is none."""
    for place in (folder, folder / STORE):
        if (place / "states").is_dir() and (place / "blobs").is_dir():
            return Store(place)
    raise StoreError(
        f"{folder} holds no store. Give the folder of a study, or one that was given as --store."
    )


def listed(store: Store) -> str:
    """One line for each state, the last used first."""
    rows = store.list()
    if not rows:
        return f"{store.folder} is empty."
    lines = [
        f"{'key':<12}  {'stage':<14} {'size':>9} {'took':>10}  {'last used':<16}  state",
        *(_row(row) for row in rows),
        f"{len(rows):,} states; {_bytes(store.size())} of tensors and arrays.",
    ]
    return "\n".join(lines)


def _row(row: Listed) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.used))
    state = row.status + (", pinned" if row.pinned else "")
    name = row.stage.rpartition(":")[2]
    seconds = f"{row.seconds:,.1f} s"
    return f"{row.key[:12]}  {name:<14} {_bytes(row.bytes):>9} {seconds:>10}  {used}  {state}"


def explained(store: Store, key: str) -> str:
    """What a state was made of."""
    entry = store.explain(key)
    lines = [f"key      {entry.key}", f"stage    {entry.stage}", f"took     {_took(entry)}"]
    made: Mapping[str, Any] = entry.ingredients
    for role, digest in made.get("inputs", {}).items():
        known = store.entry(digest)
        what = "" if known is None else f"  ({known.stage.rpartition(':')[2]})"
        lines.append(f"input    {role}: {digest}{what}")
    lines.append(f"setting  {_words(made.get('setting', {}))}")
    lines.append(f"versions {_words(made.get('libraries', {}))}")
    lines.append(f"code     {made.get('code', '')}")
    if entry.unstorable:
        lines.append(f"not storable: {entry.unstorable}")
    lines += [f"file     {name}" for name in entry.blobs]
    lines.append(json.dumps(made.get("stage", {}), indent=1, ensure_ascii=False))
    return "\n".join(lines)


def verified(store: Store) -> tuple[str, bool]:
    """What was found when every file was checked, and whether all is well."""
    found = store.verify()
    words = f"{found.whole:,} whole, {found.trimmed:,} trimmed, {len(found.damaged):,} damaged."
    if found.damaged:
        words += " Set aside, to be computed again when wanted:\n" + "\n".join(found.damaged)
    return words, not found.damaged


def trimmed(store: Store, limit_bytes: float) -> str:
    """Remove what was not used for longest, until the limit holds."""
    removed = store.trim(int(limit_bytes))
    return f"{_bytes(removed)} removed, {_bytes(store.size())} left. Pinned states stay."


def _took(entry: Entry) -> str:
    flops = f", {entry.cost.flops:.3g} FLOPs" if entry.cost.flops else ""
    return f"{entry.cost.seconds:,.2f} s{flops}"


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _bytes(size: float) -> str:
    """A size in the unit that fits."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 else f"{size:.1f} {UNITS[unit]}"
