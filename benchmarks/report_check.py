"""Open reports in headless Chromium: no console message, no network request, readable pages.

    python benchmarks/report_check.py --quick         # one report, under a minute
    python benchmarks/report_check.py --check --save  # exit status 1 where the claim does not hold
    python benchmarks/report_check.py --pictures DIR  # screenshots: wide and narrow, light and dark
    python benchmarks/report_check.py --folder RUN    # also the report of a study that ran

Needs Debian's ``chromium`` (apt-get install chromium). A page that does log an error and does ask
for an address is opened beside the reports, so that a check that sees nothing is noticed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from _results import commit

from vitruvius.running import load
from vitruvius.study.report import render
from vitruvius.study.trials import summary
from vitruvius.testing.studies import made_up_events

RESULTS = Path(__file__).parent / "results"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
LARGEST = 400_000
BROWSER = "not an origin"  # the initiator of what Chromium itself asks for
SPOILT = """<!DOCTYPE html><html><head><title>spoilt</title></head><body>
<img src="http://report.invalid/picture.png"><p>spoilt</p>
<script>console.error("spoilt on purpose")</script></body></html>"""


@dataclass(frozen=True)
class Opened:
    """What Chromium made of one page."""

    page: str
    bytes: int
    seconds: float
    """To render; Chromium's start included."""
    console: tuple[str, ...]
    requests: tuple[str, ...]
    """Addresses asked for, the file itself left out."""
    sections: int
    pictures: int


def pages(quick: bool, folders: list[Path]) -> dict[str, str]:
    """Reports as HTML: of made-up studies of many kinds, and of studies that ran."""
    made = {"usual": render(summary(made_up_events(100, seed=1)), folder="usual")}
    if not quick:
        for name, events in {
            "thousand": made_up_events(1000, seed=2),
            "lower": made_up_events(150, seed=5, better="lower"),
            "under-way": made_up_events(8, seed=0, ended=None),
            "all-failed": made_up_events(6, failing=1.0, running=0),
            "one": made_up_events(1, running=0),
            "empty": made_up_events(0),
        }.items():
            made[name] = render(summary(events), folder=name)
    for folder in folders:
        made[folder.name] = render(load(folder).summary, folder=folder.name)
    return made


def chromium(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("chromium is not installed: apt-get install -y chromium")
    command = [program, *QUIET, f"--user-data-dir={home / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def opened(name: str, html: str) -> Opened:
    """Open a page, and tell what it logged and what it asked for."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        path, log = home / f"{name}.html", home / "net.json"
        path.write_text(html, encoding="utf-8")
        start = time.perf_counter()
        done = chromium(
            [
                "--enable-logging=stderr",
                "--v=0",
                f"--log-net-log={log}",
                "--dump-dom",
                path.as_uri(),
            ],
            home,
        )
        seconds = time.perf_counter() - start
        console = tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line)
        return Opened(
            page=name,
            bytes=len(html.encode()),
            seconds=round(seconds, 2),
            console=console,
            requests=requested(log, path),
            sections=done.stdout.count("<section"),
            pictures=done.stdout.count("<svg"),
        )


def requested(log: Path, page: Path) -> tuple[str, ...]:
    """Addresses that the page asked for, from a Chromium network log; data: asks for nothing.

    What Chromium asks for on its own (the time, an account) has no page as its initiator.
    """
    found = json.loads(log.read_text(encoding="utf-8", errors="replace"))
    kind = found["constants"]["logSourceType"]["URL_REQUEST"]
    known = [e["params"] for e in found["events"] if e["source"]["type"] == kind and "params" in e]
    asked = {p["url"] for p in known if p.get("initiator", BROWSER) != BROWSER}
    return tuple(sorted(a for a in asked - {page.as_uri()} if not a.startswith("data:")))


def pictures(made: dict[str, str], folder: Path) -> None:
    """Screenshots of each page: desktop and phone width, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        for name, html in made.items():
            path = home / f"{name}.html"
            path.write_text(html, encoding="utf-8")
            for width, height in ((1200, 5000), (500, 7000)):
                for scheme, number in (("light", 1), ("dark", 0)):
                    shot = folder / f"{name}-{width}-{scheme}.png"
                    chromium(
                        [
                            f"--window-size={width},{height}",
                            f"--blink-settings=preferredColorScheme={number}",
                            f"--screenshot={shot}",
                            path.as_uri(),
                        ],
                        home,
                    )


def claims(reports: list[Opened], spoilt: Opened) -> list[tuple[str, bool]]:
    return [
        ("the check sees a console error", any("on purpose" in x for x in spoilt.console)),
        ("the check sees a request", any("report.invalid" in x for x in spoilt.requests)),
        ("no report logs anything to the console", not any(r.console for r in reports)),
        ("no report asks for anything", not any(r.requests for r in reports)),
        ("every report has its eight sections", all(r.sections == 8 for r in reports)),
        (f"every report is under {LARGEST:,} bytes", all(r.bytes < LARGEST for r in reports)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one report; under a minute")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a claim fails")
    parser.add_argument("--save", action="store_true", help="write results/report_check.{json,md}")
    parser.add_argument("--pictures", type=Path, help="folder for screenshots")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="of a study")
    given = parser.parse_args()
    made = pages(given.quick, given.folder)
    spoilt = opened("spoilt", SPOILT)
    reports = [opened(name, html) for name, html in made.items()]
    if given.pictures:
        pictures(made, given.pictures)
    figures = {
        "reports": [asdict(report) for report in reports],
        "claims": dict(claims(reports, spoilt)),
        "made": surroundings(),
    }
    lines = [
        f"{r.page:12} {r.bytes / 1000:6.0f} kB  {r.seconds:5.2f} s  {r.pictures:3} pictures  "
        f"{len(r.console)} console messages  {len(r.requests)} requests"
        for r in reports
    ]
    lines += [line for r in reports for line in (*r.console, *r.requests)]
    lines += [f"{'holds' if holds else 'FAILS'}: {word}" for word, holds in claims(reports, spoilt)]
    text = "\n".join([*lines, "", json.dumps(figures["made"])])
    print(text)
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "report_check.json").write_text(json.dumps(figures, indent=1) + "\n")
        (RESULTS / "report_check.md").write_text(
            f"# benchmarks/report_check.py\n\n```\n{text}\n```\n"
        )
    return 1 if given.check and not all(holds for _, holds in claims(reports, spoilt)) else 0


def surroundings() -> dict[str, object]:
    """Under what the figures came about."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "seeds": "made-up studies: 0, 1, 2, 5",
        "chromium": chromium_version(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "vitruvius": importlib.metadata.version("vitruvius"),
    }


def chromium_version() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"[\d.]+", said.stdout)
    return found.group() if found else "unknown"


if __name__ == "__main__":
    sys.exit(main())
