"""A study in the terminal: a live view while it runs, and the leaderboard.

Where standard output is no terminal (a pipe, CI) the view prints a plain line per ended trial.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vitruvius.study.axes import Axis, axes, open_space
from vitruvius.study.earlier import earlier_word
from vitruvius.study.foresight import foresight
from vitruvius.study.souping import soup_words
from vitruvius.study.tradeoffs import front_word, tradeoffs
from vitruvius.study.trials import Summary, Trial
from vitruvius.study.words import count_word, plural, score_word, seconds_word, share_word

SPARKS = "▁▂▃▄▅▆▇█"
REFRESH_SECONDS = 0.25
RUNNING = 4  # trials under way that are listed


class View:
    """Shows a study while it runs; call it, or ``update``, with each new summary.

    ``spent`` is the seconds that the study has run. Use it as a context manager, so that the
    terminal is left in order. ``NO_COLOR`` is respected (by rich).
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self.console = console or Console(file=stream, highlight=False)
        self.clock = clock
        self.live: Live | None = None
        self.drawn = float("-inf")
        self.told: set[int] = set()
        self.best: int | None = None
        self.final = False
        self.axes: dict[str, Axis] = {}
        self.space: Any = None

    def __call__(self, study: Summary, spent: float) -> None:
        self.update(study, spent)

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the live view; what it showed last stays on the screen."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def update(self, study: Summary, spent: float) -> None:
        """Show a study that has run for so many seconds."""
        self._know(study)
        if self.console.is_terminal:
            self._draw(study, spent)
        else:
            self._print(study, spent)
        if study.ended is not None:
            self.close()

    # --------------------------------------------------------------- a terminal

    def _draw(self, study: Summary, spent: float) -> None:
        now = self.clock()
        if now - self.drawn < REFRESH_SECONDS and study.ended is None:
            return
        self.drawn = now
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False, transient=False)
            self.live.start()
        self.live.update(self.picture(study, spent), refresh=True)

    def picture(self, study: Summary, spent: float) -> RenderableType:
        """All that is shown, at most the console's width wide."""
        done, word = progress(study, spent)
        width = self.console.width
        head = Table.grid(padding=(0, 1), expand=False)
        head.add_column(no_wrap=True)
        head.add_column(no_wrap=True)
        bar = ProgressBar(total=1.0, completed=done or 0.0, width=max(10, min(40, width - 44)))
        head.add_row(
            bar if done is not None else Text("no budget"), Text(word, overflow="ellipsis")
        )
        lines: list[RenderableType] = [head]
        rows = Table.grid(padding=(0, 1))
        rows.add_column(style="dim", no_wrap=True, width=8)
        rows.add_column(no_wrap=True, overflow="ellipsis", max_width=max(20, width - 10))
        if study.best is None:
            rows.add_row("best", Text("none yet", style="dim"))
        else:
            best = Text(f"{study.metric} {score_word(study.best.score)}", style="bold green")
            best.append(share_word(study.best.share), style="yellow")
            best.append(f"  #{study.best.number}  ", style="dim")
            best.append(self.design(study.best), style="default")
            rows.add_row("best", best)
            curve = best_so_far(study)
            if len(curve) > 1:
                rows.add_row("so far", Text(sparkline(curve, min(40, width - 30))))
        if front := front_word(study):
            rows.add_row("front", Text(front))
        running = study.of("running")
        for i, trial in enumerate(running[:RUNNING]):
            rows.add_row("running" if i == 0 else "", self._line(trial))
        if len(running) > RUNNING:
            rows.add_row("", Text(f"and {len(running) - RUNNING} more", style="dim"))
        last = last_ended(study)
        if last is not None:
            rows.add_row("last", self._line(last))
        lines.append(rows)
        tail = tallies(study)
        if study.ended is not None:
            tail.append(f"ended: {study.ended}")
        lines.append(Text(" · ".join(tail), style="dim", overflow="ellipsis", no_wrap=True))
        return Group(*lines)

    def _line(self, trial: Trial) -> Text:
        text = Text(f"#{trial.number} ")
        if trial.status == "running":
            if trial.curve:
                _, share, score = trial.curve[-1]
                text.append(f"{share:.0%} {score_word(score)}  ")
        elif trial.status == "finished":
            score = score_word(trial.score) + share_word(trial.share)
            text.append(f"{score} in {seconds_word(trial.seconds)}  ")
        else:
            text.append(f"{trial.status}: {trial.cause or '-'}  ", style="yellow")
        text.append(self.design(trial), style="dim")
        return text

    # ---------------------------------------------------------- a pipe, or a log

    def _print(self, study: Summary, spent: float) -> None:
        ended = [t for t in study.trials if t.status in ("finished", "failed", "stopped")]
        for trial in sorted(ended, key=lambda t: (t.ended or 0.0, t.number)):
            if trial.number in self.told:
                continue
            self.told.add(trial.number)
            mark = ""
            if study.best is not None and trial.number == study.best.number != self.best:
                self.best, mark = trial.number, " (best so far)"
            if trial.status == "finished":
                score = score_word(trial.score) + share_word(trial.share)
                said = f"{study.metric} {score}{mark}"
            else:
                said = f"{trial.status}: {trial.cause or 'no cause given'}"
            self._say(f"[{seconds_word(spent)}] trial {trial.number}: {said}")
        if study.final is not None and not self.final:
            self.final = True
            tested = study.final.get("test")
            score = tested.get("score") if isinstance(tested, Mapping) else tested
            self._say(
                f"final: trial {study.final.get('trial')}, test {study.metric} {score_word(score)}"
            )
        if study.ended is not None:
            self._say(f"ended: {study.ended} ({', '.join(tallies(study))})")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)

    # ------------------------------------------------------------------- designs

    def design(self, trial: Trial) -> str:
        """What a trial decided, in short."""
        return ", ".join(
            self.axes[address].phrase(label)
            for address, label in trial.point.items()
            if address in self.axes
        )

    def _know(self, study: Summary) -> None:
        if self.space is None and study.meta:
            self.space = open_space(study.meta) or False
        known = [t.point for t in study.trials if any(a not in self.axes for a in t.point)]
        if known:
            found = axes([*known, dict.fromkeys(())], self.space or None)
            self.axes |= {axis.address: axis for axis in found}


def progress(study: Summary, spent: float) -> tuple[float | None, str]:
    """Share of the budget that binds (the one that is furthest), and the words beside the bar."""
    budget = study.meta.get("budget")
    given: Mapping[str, Any] = budget if isinstance(budget, Mapping) else {}
    ended = study.of("finished", "failed", "stopped")
    flops = sum(t.flops or 0.0 for t in ended)
    used = {"seconds": spent, "trials": float(len(ended)), "flops": flops}
    shares = {k: used[k] / given[k] for k in used if given.get(k)}
    if not shares:
        return None, f"{plural(len(ended), 'trial')}, {seconds_word(spent)}"
    binding = max(shares, key=lambda k: shares[k])
    share = min(shares[binding], 1.0)
    words = {
        "seconds": f"{seconds_word(spent)} of {seconds_word(given.get('seconds'))}",
        "trials": f"{len(ended)} of {plural(given.get('trials') or 0, 'trial')}",
        "flops": f"{count_word(flops)} of {count_word(given.get('flops'), 'FLOP')}",
    }
    left = ""
    if study.ended is None and share < 1.0:
        if binding == "seconds":
            left = f", {seconds_word(given['seconds'] - spent)} left"
        elif share > 0:
            left = f", about {seconds_word(spent * (1 - share) / share)} left"
    return share, words[binding] + left


def best_so_far(study: Summary) -> list[float]:
    """The best score after each finished trial, in the order in which they ended; of the trials at
    the best one's share of the horizon."""
    share = 1.0 if study.best is None else study.best.share
    done = [t for t in study.of("finished") if t.score is not None and t.share == share]
    done.sort(key=lambda t: (t.ended if t.ended is not None else float("inf"), t.number))
    curve: list[float] = []
    for trial in done:
        assert trial.score is not None
        pick = max if study.better == "higher" else min
        curve.append(pick(curve[-1], trial.score) if curve else trial.score)
    return curve


def sparkline(values: Sequence[float], width: int) -> str:
    """Values as blocks of eight heights, lowest to highest; at most ``width`` of them."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    low, high = min(values), max(values)
    steps = (round(7 * (v - low) / (high - low)) if high > low else 0 for v in values)
    return "".join(SPARKS[i] for i in steps)


def tallies(study: Summary) -> list[str]:
    """How many trials of each kind, in words."""
    words = ("finished", "stopped", "failed", "running", "infeasible")
    found = [f"{len(study.of(word))} {word}" for word in words if study.of(word)]
    return found or ["no trial yet"]


def last_ended(study: Summary) -> Trial | None:
    """The trial that ended last."""
    ended = [t for t in study.of("finished", "failed", "stopped") if t.ended is not None]
    return max(ended, key=lambda t: (t.ended, t.number), default=None)


@contextlib.contextmanager
def watching(quiet: bool = False) -> Iterator[list[View]]:
    """The views of a study that is about to run: one, or none if ``quiet``."""
    if quiet:
        yield []
        return
    with View() as view:
        yield [view]


def outcome(
    study: Summary, folder: str | os.PathLike[str] | None = None, most: int = 10
) -> RenderableType:
    """What a study found: leaderboard, final evidence, and where everything lies."""
    lines: list[RenderableType] = []
    if study.leaders:
        number = (study.final or {}).get("trial")
        chosen = next((t for t in study.leaders if t.number == number), study.leaders[0])
        lines += [leaderboard(study, most), ""]
        if front := tradeoffs(study):
            lines += [*front, ""]
        ill = study.of("failed", "stopped")
        if ill:
            told = Text(
                f"{', '.join(tallies(study))}. Trial {ill[-1].number} {ill[-1].status}: ", "dim"
            )
            told.append(str(ill[-1].cause or "no cause given"))
            lines += [told, ""]
        lines.append(_design_line(study, chosen))
        if any(trial.share < 1 for trial in study.trials):
            ahead = foresight(study)
            lines += [] if ahead is None else [Text(ahead.verdict)]
    else:
        lines.append(Text(f"No trial has finished ({', '.join(tallies(study))})."))
    lines += [Text(told, "dim") for told in earlier_word(study)]
    final = study.final
    if final is not None:
        said = Text("Final: ", style="bold")
        said.append(f"trial {final.get('trial')}", style="default")
        again = [
            entry["score"]
            for entry in final.get("rescored") or ()
            if entry.get("trial") == final.get("trial") and entry.get("score") is not None
        ]
        kept = bool((final.get("soup") or {}).get("kept"))
        if kept:
            said.append(" and others", style="default")
            runs = " (of the soup, which was chosen by it)"
            said.append(f", validation {score_word(final['validation'])}{runs}", style="default")
        elif final.get("validation") is not None:
            runs = f" (mean of {plural(len(again), 'fresh training')})" if again else ""
            said.append(f", validation {score_word(final['validation'])}{runs}", style="default")
        tested = final.get("test")
        if isinstance(tested, Mapping) and tested.get("score") is not None:
            error = tested.get("stderr")
            spread = f" +- {score_word(error)}" if error else ""
            on = " after training on all that has labels" if final.get("refit") else ""
            said.append(f", test {study.metric} {score_word(tested['score'])}{spread}{on}")
        if final.get("rule"):
            said.append(f"; chosen: {final['rule']}", style="default")
        lines.append(said)
        if told := soup_words(final):
            lines.append(Text(told))
    elif study.leaders:
        lines.append(Text("No final evidence yet: the test part has not been opened.", "dim"))
    if folder is not None:
        for name, what in (("report.html", "report"), ("model", "model")):
            path = Path(folder) / name
            if path.exists():
                lines.append(Text(f"{what}: {path}", overflow="fold"))
    return Group(*lines)


def plain(study: Summary, folder: str | os.PathLike[str] | None = None, width: int = 100) -> str:
    """The outcome as text without colours, lines of at most so many characters."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, highlight=False).print(
        outcome(study, folder)
    )
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _design_line(study: Summary, trial: Trial) -> Text:
    found = axes([trial.point], open_space(study.meta))
    said = [a.phrase(trial.point[a.address]) for a in found if a.address in trial.point]
    return Text.assemble((f"Trial {trial.number}: ", "bold"), ", ".join(said))


def leaderboard(study: Summary, most: int = 10, space: Any | None = None) -> Table:
    """The best trials: score, costs, and what each decides otherwise than the first."""
    leaders = study.leaders[:most]
    space = open_space(study.meta) if space is None else space
    found = axes((t.point for t in leaders), space)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    rungs = ("trained",) if any(trial.share < 1 for trial in leaders) else ()
    for word in ("rank", "trial", study.metric, *rungs, "parameters", "time"):
        table.add_column(escape(word), justify="right", no_wrap=True)
    table.add_column("decides otherwise than the first", no_wrap=True, overflow="ellipsis", ratio=1)
    for rank, trial in enumerate(leaders, 1):
        first = leaders[0].point
        phrases = [
            axis.phrase(trial.point[axis.address])
            for axis in found
            if axis.address in trial.point
            and first.get(axis.address, found) != trial.point[axis.address]
        ]
        table.add_row(
            str(rank),
            str(trial.number),
            Text(score_word(trial.score), style="bold" if rank == 1 else ""),
            *(f"{100 * trial.share:.2g} %" for _ in rungs),
            count_word(trial.parameters),
            seconds_word(trial.seconds),
            Text(", ".join(phrases) or ("" if rank == 1 else "the same design")),
        )
    return table
