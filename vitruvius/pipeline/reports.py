"""What a stage reports while it runs, kept so that it can be told again when it is loaded."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitruvius.contracts import Cost, Measurement, Progress
from vitruvius.pipeline.training import PLAN

FILE = "reports.json"


@dataclass(eq=False)
class Reports:
    """Measurements of a stage with where it stood, as JSON, in the order of its steps.

    With a file they outlive the process, as the checkpoint does that the stage goes on from.
    """

    written: list[Any] = field(default_factory=list)
    file: Path | None = None
    untold: list[Any] = field(default_factory=list)
    """Of an earlier process or rung: told before what comes next."""
    before: Cost = field(default_factory=Cost)
    """What had been spent when the stage went on from a rung."""

    @classmethod
    def of(cls, folder: Path) -> Reports:
        """Those of a stage that was interrupted in this folder, if any."""
        file = folder / FILE
        try:
            written = json.loads(file.read_text())
            return cls(written, file, list(written))
        except (FileNotFoundError, ValueError):
            return cls([], file)

    def go_on(self, written: Sequence[Any], before: Cost) -> None:
        """The stage goes on from a rung that had reported this."""
        if not self.written:
            self.written, self.untold = list(written), list(written)
        self.before = before

    def due(self, step: float = math.inf) -> list[Any]:
        """What was not told yet of steps before this one."""
        found = [one for one in self.untold if one["now"]["step"] < step]
        self.untold = self.untold[len(found) :]
        return found

    def note(self, now: Progress, measured: Sequence[Measurement]) -> None:
        """Keep what was measured; the plan of a training is for who looks on, and is not kept."""
        kept = [m for m in measured if m.name != PLAN]
        if not kept:
            return
        while self.written and self.written[-1]["now"]["step"] >= now.step:
            self.written.pop()  # an interrupted run was ahead of its checkpoint
        self.untold = []
        numbers = [{k: v for k, v in vars(m).items() if k != "details"} for m in kept]
        costs = [{**n, "cost": asdict(m.cost)} for n, m in zip(numbers, kept, strict=True)]
        self.written.append({"now": vars(now), "measured": costs})
        if self.file is not None:
            beside = self.file.with_name(f".{FILE}.{os.getpid()}")
            beside.write_text(json.dumps(self.written))
            os.replace(beside, self.file)

    @staticmethod
    def read(written: Sequence[Any]) -> Iterator[tuple[Progress, tuple[Measurement, ...]]]:
        """Reports as they were made, details aside."""
        for one in written:
            now = Progress(**{**one["now"], "history": tuple(one["now"]["history"])})
            yield (
                now,
                tuple(Measurement(**{**m, "cost": Cost(**m["cost"])}) for m in one["measured"]),
            )
