"""The documentation is true: its examples run, its links resolve, its commands exist.

A block after ``<!-- run -->`` is run, one page in one namespace; ``<!-- run: a -> b -->`` first
puts b for a, to make it short. ``<!-- file: name.py -->`` writes the block to a file that later
blocks may import. A ``text`` block right after a block that is run is what it prints.
"""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from vitruvius import running
from vitruvius.catalogue import catalogue
from vitruvius.cli import app
from vitruvius.search import Searcher
from vitruvius.space import hyperparameters
from vitruvius.study.settings import Final

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("changelog.d/*.md"))
)
BLOCK = re.compile(
    r"^<!-- (?P<word>run|file)(?:: (?P<more>.*?))? -->\n```python\n(?P<code>.*?)^```$"
    r"(?:\n\n```text\n(?P<prints>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
every_page = pytest.mark.parametrize("page", PAGES, ids=str)


def read(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: Path) -> list[re.Match[str]]:
    return list(BLOCK.finditer(read(page)))


def shortened(block: re.Match[str]) -> str:
    """The code of a block with what its marker puts in place."""
    code = block["code"]
    for change in filter(None, (block["more"] or "").split(", ")):
        old, new = change.split(" -> ")
        assert old in code, f"{old!r} is not in the block that is to be shortened"
        code = code.replace(old, new)
    return code


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to run in, with less evidence at the end of a study than is usual; modules
    that lie there are forgotten afterwards."""
    monkeypatch.setattr(running, "Final", lambda: Final(top=1, seeds=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=str)
def test_the_examples_run(page: Path, workplace: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page):
        if block["word"] == "file":
            (workplace / block["more"]).write_text(block["code"], encoding="utf-8")
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(shortened(block), str(page), "exec"), namespace)
        if block["prints"] is not None:
            assert block["prints"].strip() in printed.getvalue()


def test_there_are_examples_to_run() -> None:
    found = {str(page) for page in PAGES if blocks(page)}
    assert {f"docs/{n}.md" for n in ("index", "data", "export", "searchers")} <= found
    assert "README.md" in found


def test_the_layer_of_the_guide_passes_its_test_and_the_contract_tests(workplace: Path) -> None:
    """The guide's file, as if it lay in the folder of layers, under the tests of every layer."""
    for block in blocks(Path("docs/add-a-technique.md")):
        if block["word"] == "file":
            (workplace / block["more"]).write_text(block["code"])
    (workplace / "guided.py").write_text(
        "def pytest_configure(config):\n"
        "    import vitruvius.techniques.layers as folder\n"
        f"    folder.__path__.append({str(workplace)!r})\n"
        "    from vitruvius.techniques.layers.maxout import Maxout\n"
        "    folder.Maxout = Maxout\n"
        "    folder.__all__ = [*folder.__all__, 'Maxout']\n"
    )
    path = os.pathsep.join(filter(None, (str(workplace), os.environ.get("PYTHONPATH"))))
    tests = ("contracts/test_layers.py", "contracts/test_common.py", "test_catalogue.py")
    found = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "guided"),
            *("-k", "maxout or largestpiece or exported or catalogue_finds"),
            *(f"tests/{name}" for name in tests),
            str(workplace / "test_maxout.py"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-3000:]
    assert int(re.findall(r"(\d+) passed", found.stdout)[0]) >= 20, found.stdout


@every_page
def test_relative_links_resolve(page: Path) -> None:
    text = FENCE.sub("", read(page))
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        link = next(filter(None, target))
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", found.read_text()), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page}: {link}"


def slug(heading: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


COMMANDS = typer.main.get_command(app)


def lines_of_commands(text: str) -> Iterator[str]:
    """What follows ``vitruvius`` in shell lines and in code that stands in a sentence."""
    for language, code in FENCE.findall(text):
        if language in ("console", "sh", "bash"):
            for line in code.splitlines():
                for part in re.split(r"&&|;", line.removeprefix("$ ")):
                    if re.match(r"\s*(\.venv/bin/)?vitruvius ", part):
                        yield part.split("vitruvius ", 1)[1]
    for line in re.findall(r"`vitruvius ([^`]+)`", FENCE.sub("", text)):
        yield line


def parse(line: str) -> None:
    """Parse a command line as the program would, and do nothing."""
    words = shlex.split(line, comments=True)
    if words[0].startswith("--"):
        assert words[0] in ("--help", "--install-completion", "--show-completion"), line
        return
    known: Any = COMMANDS
    assert words[0] in known.commands, f"vitruvius {line}: there is no such command"
    try:
        known.commands[words[0]].make_context(
            words[0], words[1:], resilient_parsing=len(words) == 1
        )
    except Exception as error:  # typer brings its own click, whose errors have a message of theirs
        message = getattr(error, "format_message", error.__repr__)()
        raise AssertionError(f"vitruvius {line}: {message}") from error


@every_page
def test_commands_exist_and_take_these_options(page: Path) -> None:
    for line in lines_of_commands(read(page)):
        parse(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serach digits", "no such command"),
        ("search digits --trails 3", "No such option"),
        ("search digits --trials many", "valid integer"),
        ("search --trials 3", "Missing argument"),
    ],
)
def test_a_wrong_command_line_is_noticed(line: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        parse(line)


def test_the_examples_of_the_help_are_command_lines() -> None:
    known: Any = COMMANDS
    found = 0
    for command in known.commands.values():
        for line in re.findall(r"vitruvius (.+)", command.help or ""):
            parse(line.split("&&")[0])
            found += 1
    assert found >= 10


def test_the_page_of_searchers_shows_their_defaults() -> None:
    known = {cls.__name__: cls for cls in catalogue(Searcher)}
    shown = re.findall(r"\*\*`((\w+)\([^`]*\))`\*\*", read(Path("docs/searchers.md")))
    calls = [(call, name) for call, name in shown if name != "Distinct"]
    assert len(calls) >= 5
    for call, name in calls:
        assert eval(call, dict(known)) == known[name](), call
        assert all(h.name in call for h in hyperparameters(known[name]) if h.name != "seed"), call


def test_the_page_of_techniques_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.page() == read(Path("docs/techniques.md")), "run: python docs/generate.py"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parts[0] == "docs":
            assert re.search(rf"\b{re.escape(str(page.relative_to('docs')))}\s*$", navigation, re.M)


def test_every_decision_is_listed() -> None:
    listed = read(Path("docs/decisions/README.md"))
    pages = [page.name for page in PAGES if page.match("docs/decisions/0*.md")]
    assert pages and all(name in listed for name in pages)
