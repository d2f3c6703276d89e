"""Does a study survive ``kill -9``, and is a damaged journal noticed?

    python benchmarks/kill.py                 # ten kills, about five minutes on 2 cores
    python benchmarks/kill.py --quick         # under a minute: two kills
    python benchmarks/kill.py --check --save  # exit status 1 where the claim does not hold

The claim: a `vitruvius search` with a budget in trials, of which every process is killed at a
random moment, loses no finished trial, and after `vitruvius resume` (one local worker) has the
points, scores and final evidence of the search that was never killed. A journal that was cut off
or has a flipped bit is refused, never read wrongly, and goes on after `resume --repair`.

A moment is some time up to half a second after a random event of the journal; half of these events
are of the search, half of what follows it: the trainings with fresh seeds, the test, report and
export.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from _results import circumstances, ended, flags

os.environ.setdefault("OMP_NUM_THREADS", "1")

from vitruvius.search.history import Event
from vitruvius.study.journal import Journal, JournalError
from vitruvius.study.trials import summary

JOURNAL = "journal.sqlite"
PATIENCE = 600.0  # seconds that a command may take


SPACE = """
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.training import Train
from vitruvius.recipes.mlp import mlp_network
from vitruvius.space import log_uniform, one_of
from vitruvius.techniques.heads import Readout
from vitruvius.techniques.optimizers import AdamW

training = Train(
    optimizer=AdamW(learning_rate=log_uniform(1e-4, 3e-2)),
    batch_size=one_of(32, 64, 128),
    epochs=EPOCHS,
    model=mlp_network(),
    head=Readout(),
)
space = Pipeline(Load("digits"), training, Evaluate())
"""


def command(*argv: object) -> list[str]:
    return [sys.executable, "-m", "vitruvius.cli", *map(str, argv)]


def search(folder: Path, trials: int) -> list[str]:
    """The file of the space lies beside the folder."""
    space = folder.parent / "space.py"
    return command("search", space, "--searcher", "mcts", "--trials", trials, "--out", folder)


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)


def must(argv: list[str]) -> None:
    done = run(argv)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr}")


def events(folder: Path) -> list[Event]:
    with Journal(folder / JOURNAL, read_only=True) as journal:
        return journal.read()


def outcome(found: list[Event]) -> dict[str, Any]:
    """All that a study found, without times."""
    told = summary(found)
    final: Any = dict(told.final or {})
    again = [(r["trial"], r["seed"], r["score"]) for r in final.get("rescored", ())]
    return {
        "trials": [
            (t.number, dict(t.point), t.status, t.score, t.curve, t.parameters) for t in told.trials
        ],
        "chosen": (final.get("trial"), final.get("validation"), final.get("folder")),
        "rescored": again,
        "test": (final.get("test") or {}).get("score"),
    }


def phase(found: list[Event]) -> str:
    """What was under way when these were the last events."""
    kinds = [e.kind for e in found]
    if "ended" in kinds:
        return "report or export"
    if "final" in kinds:
        return "end"
    if "rescored" in kinds:
        return "fresh seeds or test"
    told = summary(found)
    if told.of("running") or not told.of("finished"):
        return "search"
    return "between trials, or first fresh seed"


def killed(folder: Path, trials: int, after: int, delay: float) -> bool:
    """Begin a search and kill all of its processes so many seconds after an event.
    False where it had ended by then."""
    process = subprocess.Popen(
        search(folder, trials),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while newest(folder / JOURNAL) < after and process.poll() is None:
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    ended = process.poll() is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return not ended


def newest(journal: Path) -> int:
    """The number of the last event in a journal that is being written; 0 where there is none."""
    if not journal.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT max(sequence) FROM events").fetchone()
        return found[0] or 0


def kills(work: Path, reference: Path, trials: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Kill and resume so many searches, each a new one."""
    whole = events(reference)
    half = next(e.sequence for e in whole if e.kind == "rescored")
    rng, rows = Random(seed), []
    while len(rows) < count:
        span = (0, half - 1) if len(rows) % 2 == 0 else (half, len(whole))
        event, delay = rng.randint(*span), rng.uniform(0.0, 0.5)
        folder = work / f"kill-{len(rows)}"
        shutil.rmtree(folder, ignore_errors=True)
        if not killed(folder, trials, event, delay):
            continue
        before = events(folder) if (folder / JOURNAL).exists() else []
        must(command("resume", folder) if before else search(folder, trials))
        after = events(folder)
        rows.append(
            {
                "event": f"{event} of {len(whole)}",
                "and seconds": round(delay, 3),
                "under way": phase(before),
                "finished before": len(summary(before).of("finished")),
                "events kept": after[: len(before)] == before,
                "same": outcome(after) == outcome(whole),
                "report and model": all(
                    (folder / part).exists() for part in ("report.html", "model/model.py")
                ),
            }
        )
        print(f"kill {len(rows)}: {json.dumps(rows[-1])}", file=sys.stderr, flush=True)
    return rows


def damaged(content: bytes, how: str, rng: Random) -> bytes:
    if how == "cut off":
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def misread(work: Path, reference: Path, count: int, seed: int) -> dict[str, dict[str, int]]:
    """Damage the journal at random places: how often it was refused, read as it was written
    (a bit that carries nothing, such as in an unused part of a page), or read wrongly."""
    whole, content = events(reference), (reference / JOURNAL).read_bytes()
    rng, found = Random(seed), {}
    folder = work / "bits"
    folder.mkdir()
    for how in ("flipped bit", "cut off"):
        row = {"refused": 0, "read as written": 0, "read wrongly": 0}
        for _ in range(count):
            (folder / JOURNAL).write_bytes(damaged(content, how, rng))
            try:
                read = events(folder)
            except JournalError:
                row["refused"] += 1
            else:
                row["read as written" if read == whole else "read wrongly"] += 1
            for path in folder.iterdir():
                path.unlink()
        found[how] = row
    return found


def repairs(work: Path, reference: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """The same through the command line: resume refuses, and resume --repair goes on."""
    whole, content = events(reference), (reference / JOURNAL).read_bytes()
    rng, rows = Random(seed), []
    while len(rows) < count:
        how = ("flipped bit", "cut off")[len(rows) % 2]
        folder = work / f"repair-{len(rows)}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(reference, folder)
        (folder / JOURNAL).write_bytes(damaged(content, how, rng))
        refused = run(command("resume", folder))
        if refused.returncode == 0 or "no event is intact" in refused.stderr:
            continue  # nothing was damaged, or nothing is left
        mended = run(command("resume", folder, "--repair"))
        kept = mended.stderr.partition("Kept the first ")[2].partition(" event")[0]
        rows.append(
            {
                "damage": how,
                "refused with a clear word": refused.returncode == 2
                and "is damaged" in refused.stderr
                and "--repair" in refused.stderr
                and "Traceback" not in refused.stderr,
                "events": len(whole),
                "kept": int(kept or 0),
                "went on": mended.returncode == 0,
                "same": outcome(events(folder)) == outcome(whole),
            }
        )
        print(f"repair {len(rows)}: {json.dumps(rows[-1])}", file=sys.stderr, flush=True)
    return rows


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    rows, bits, mended = figures["kills"], figures["journals read"], figures["repairs"]
    yield (
        f"{len(rows)} kills: no event that was acknowledged is lost",
        all(r["events kept"] for r in rows),
    )
    yield (
        "after resume: the points, scores and final evidence of the search never killed",
        all(r["same"] for r in rows),
    )
    yield "after resume: report and model are there", all(r["report and model"] for r in rows)
    for how, row in bits.items():
        yield f"{sum(row.values())} journals ({how}): none read wrongly", not row["read wrongly"]
    yield (
        f"{len(mended)} damaged studies: resume refuses with a clear word",
        all(r["refused with a clear word"] for r in mended),
    )
    yield (
        "resume --repair goes on to the same result",
        all(r["went on"] and r["same"] for r in mended),
    )


def report(figures: dict[str, Any]) -> str:
    lines = [
        f"A search of {figures['trials']} trials (perceptrons on digits, "
        f"{figures['epochs']} epochs, MCTS) took {figures['reference seconds']} s, "
        "its start and final evidence included.",
        "",
    ]
    for name in ("kills", "repairs"):
        heads = list(figures[name][0])
        lines += [f"| {' | '.join([name, *heads])} |", "|---" * (len(heads) + 1) + "|"]
        for i, row in enumerate(figures[name], 1):
            words = ("yes" if v is True else "NO" if v is False else str(v) for v in row.values())
            lines.append(f"| {' | '.join([str(i), *words])} |")
        lines.append("")
    heads = list(figures["journals read"]["cut off"])
    lines += [f"| journals | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for how, row in figures["journals read"].items():
        lines.append(f"| {how} | {' | '.join(str(v) for v in row.values())} |")
    lines += [
        "",
        *(f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)),
        "",
        json.dumps(figures["made"]),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = flags(__doc__, "two kills; under a minute")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the damages")
    given = parser.parse_args()
    began = time.perf_counter()
    trials, epochs = (3, 5) if given.quick else (8, 12)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "space.py").write_text(SPACE.replace("EPOCHS", str(epochs)))
        reference = work / "reference"
        must(search(reference, trials))
        took = time.perf_counter() - began
        figures: dict[str, Any] = {
            "trials": trials,
            "epochs": epochs,
            "reference seconds": round(took, 1),
            "kills": kills(work, reference, trials, 2 if given.quick else 10, given.seed),
            "journals read": misread(work, reference, 50 if given.quick else 500, given.seed),
            "repairs": repairs(work, reference, 1 if given.quick else 6, given.seed),
        }
    figures["made"] = circumstances(
        "torch", "SQLAlchemy", seed=given.seed, seconds=round(time.perf_counter() - began)
    )
    return ended("kill", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
