"""The report: sound HTML, nothing from outside, all that a person wants to know, at any size."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from vitruvius.search import ASHA, TreeBO
from vitruvius.search.history import Event
from vitruvius.space import one_of, to_json
from vitruvius.study.axes import axes
from vitruvius.study.blueprint import Part, blueprint, folded, network_of
from vitruvius.study.branches import branches
from vitruvius.study.evidence import evidence, verdict
from vitruvius.study.report import leaderboard, render, write_report
from vitruvius.study.trials import Summary, Trial, summary
from vitruvius.techniques.layers import Branches, Conv, Graph, ReLU, Residual, Sequential, Wire
from vitruvius.testing.studies import made_up_events, made_up_space

VOID = {"meta", "link", "br", "hr", "img", "input"}
EVIL = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>"


class Reader(HTMLParser):
    """Checks that tags are nested and closed, and keeps what is of interest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def study(trials: int = 40, **more: object) -> Summary:
    return summary(made_up_events(trials, **more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def usual() -> Summary:
    return study(60, seed=1)


@pytest.fixture(scope="module")
def page(usual: Summary) -> str:
    return render(usual, folder="runs/first")


def test_nothing_comes_from_outside_and_nothing_runs(page: str) -> None:
    reader = read(page)
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert not re.search(r"url\(", page)
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "img", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value is not None and value.startswith(("#", "data:,"))


def test_sections_are_headed_and_all_anchors_lead_somewhere(page: str) -> None:
    reader = read(page)
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.tags:
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids  # type: ignore[index]
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids
    headings = [tag for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == "h1" and headings.count("h1") == 1
    assert all(int(b[1]) <= int(a[1]) + 1 for a, b in pairwise(headings))
    pictures = [a for tag, a in reader.tags if tag == "svg"]
    assert len(pictures) >= 10
    assert all(a.get("role") == "img" and a.get("aria-label") for a in pictures)


def test_the_numbers_of_the_study_are_in_it(usual: Summary, page: str) -> None:
    words = read(page).words
    assert usual.best is not None and usual.final is not None
    assert f"{usual.best.score:.4f}" in words
    assert f"{usual.final['test']['score']:.4f}" in words
    for entry in usual.final["rescored"]:
        assert f"{entry['score']:.4f}" in words and entry["folder"] in words
    for cause in {t.cause for t in usual.of("failed") if t.cause and "memory" in t.cause}:
        assert cause in words
    assert "does not fit into an image" in words or not usual.of("infeasible")
    assert usual.best.digest in words and "torch 2.13.0" in words
    assert "the budget of seconds is spent" in words
    assert page.count("<title>trial") >= len(usual.of("finished"))


@pytest.mark.parametrize(
    ("trials", "more", "said"),
    [
        (0, {}, "No trial has begun"),
        (1, {"running": 0, "failing": 0.0}, "Too few trials to tell: 1 finished trial"),
        (1, {"running": 1, "ended": None}, "No trial has a score yet"),
        (4, {"running": 0, "failing": 1.0}, "4 trials failed"),
        (9, {"ended": None}, "The study has not ended: 2 trials under way"),
        (40, {"better": "lower"}, "log_loss (lower is better)"),
    ],
)
def test_small_and_unlucky_studies_have_a_sound_page(
    trials: int, more: dict[str, object], said: str
) -> None:
    assert said in read(render(study(trials, **more))).words


def test_a_journal_without_a_word_of_the_study_has_a_page() -> None:
    assert "No trial has begun" in read(render(summary([]))).words


def test_a_thousand_trials_take_less_than_400_kilobytes() -> None:
    assert len(render(study(1000, seed=2)).encode()) < 400_000


def test_no_string_of_a_user_becomes_markup() -> None:
    point = {"a": EVIL, EVIL: 3, "@name": "x & y"}
    events = [
        Event(
            1,
            "study",
            0,
            {
                "metric": EVIL,
                "source": EVIL,
                "task": {"name": EVIL, "labels": [EVIL]},
                "versions": {EVIL: EVIL},
                "machine": EVIL,
                "seed": EVIL,
                "searcher": {"node": f"x:{EVIL}", "k": EVIL},
                "floor": {"name": EVIL, "value": 0.1},
                "data": {EVIL: EVIL},
                "budget": {"trials": 4},
            },
        )
    ]
    number = 1
    for trial, status in enumerate(["finished", "finished", "failed", "finished"]):
        events.append(Event(number := number + 1, "asked", trial, {"point": {**point, "i": trial}}))
        rung = {"step": 1, "fraction": 0.5, "score": 0.1}
        events.append(Event(number := number + 1, "rung", trial, rung))
        events.append(Event(number := number + 1, "rung", trial, {**rung, "step": 2, "score": 0.2}))
        told = {"status": status, "score": 0.5 + trial / 10, "cause": EVIL, "scores": {EVIL: 1.0}}
        events.append(Event(number := number + 1, "told", trial, told))
    rejected = {"point": point, "attempt": 0, "address": EVIL, "reason": EVIL}
    events.append(Event(number := number + 1, "rejected", 9, rejected))
    design = {"node": f"x:{EVIL}", "label": EVIL, "field": EVIL, "body": {"node": "y:Z"}}
    final = {
        "trial": 1,
        "design": design,
        "test": {"score": 0.5, "data": EVIL},
        "folder": EVIL,
        "rescored": [{"trial": 1, "seed": EVIL, "score": 0.5, "folder": EVIL}],
    }
    events.append(Event(number := number + 1, "final", 1, final))
    events.append(Event(number + 1, "ended", 0, {"cause": EVIL}))
    html = render(summary(events), folder=EVIL)
    reader = read(html)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "img"})
    assert not any(name.startswith("on") for _, a in reader.tags for name in a)
    assert "alert('x')" in reader.words  # it is told, as text


def test_the_searcher_is_told_briefly_and_in_full() -> None:
    searcher = ASHA(TreeBO(niches=0), rungs="measured")
    events = made_up_events(3)
    events[0] = replace(events[0], body={**events[0].body, "searcher": to_json(searcher)})
    words = read(render(summary(events))).words
    assert "ASHA(searcher=TreeBO(niches=0), rungs='measured')." in words
    assert "rungs=measured, whole=12" in words


def test_verdict_compares_with_the_floor() -> None:
    def said(score: float, better: str, floor: float) -> str:
        meta = {"floor": {"name": "majority", "value": floor}, "better": better}
        best = Trial(0, {}, "finished", score=score)
        return verdict(Summary(meta, (best,), best, better, "m", None, None), best)  # type: ignore[arg-type]

    assert said(0.9, "higher", 0.5).endswith(
        "80.0% of the way from there to a perfect 1 is gained."
    )
    assert said(0.5, "lower", 2.0).endswith("75.0% of the way from there to a perfect 0 is gained.")
    assert "nothing was learned" in said(0.4, "higher", 0.5)
    assert "nothing was learned" in said(2.1, "lower", 2.0)


def test_evidence_names_the_source_of_each_number(usual: Summary) -> None:
    rows = evidence(usual)
    assert [row.what.split(",")[0] for row in rows] == ["validation"] * 3 + ["test"]
    assert {row.seed for row in rows} == {"1", "2"}
    assert all(row.state != "-" and row.data != "-" for row in rows)


def test_leaderboard_says_what_differs_from_the_first(usual: Summary) -> None:
    found = axes(t.point for t in usual.trials)
    lines = leaderboard(usual, found, 5)
    scores = [line.trial.score for line in lines]
    assert len(lines) == 5 and scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert lines[0].differs == () and all(line.differs for line in lines[1:])


def test_the_tree_counts_every_trial_once_at_each_fork(usual: Summary) -> None:
    found = axes((t.point for t in usual.trials), made_up_space())
    root = branches(usual, found)
    tried = [t for t in usual.trials if t.status != "infeasible"]
    assert root.taken == len(tried)
    assert usual.best is not None and root.best == usual.best.score

    def check(forks: tuple, met: int) -> None:  # type: ignore[type-arg]
        for fork in forks:
            assert fork.met <= met and sum(b.taken for b in fork.branches) == fork.met
            for branch in fork.branches:
                check(branch.decisions, branch.taken)

    check(root.decisions, root.taken)
    optimizer = next(f for f in root.decisions if f.address == "optimizer")
    inner = {b.word: {f.address for f in b.decisions} for b in optimizer.branches}
    assert inner["Momentum"] == {"optimizer=Momentum.learning_rate", "optimizer=Momentum.momentum"}


def test_the_file_is_whole_or_not_there(tmp_path: Path, usual: Summary) -> None:
    path = write_report(tmp_path / "report.html", usual)
    assert path.read_text().endswith("</html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OSError):
        write_report(tmp_path / "gone" / "report.html", usual)


def test_equal_stretches_are_drawn_once() -> None:
    conv, relu, pool = Part("leaf", "Conv"), Part("leaf", "ReLU"), Part("leaf", "MaxPool")
    found = folded(Part("stack", children=(conv, relu, conv, relu, conv, relu, pool)))
    assert [child.times for child in found.children] == [3, 1]
    assert found.children[0].children == (conv, relu)
    kept = folded(Part("stack", children=(conv, replace(conv, shape=(1,)), pool)))
    assert len(kept.children) == 3


def test_branches_skips_and_graphs_are_drawn() -> None:
    network = Sequential(
        Conv(8),
        Residual(Sequential(Conv(8), ReLU())),
        Branches(Conv(8, kernel=1), Conv(8, kernel=5), combine="concat"),
        Graph(
            ("x",),
            (Wire("a", Conv(4), ("x",)), Wire("b", ReLU(), ("a",)), Wire("c", ReLU(), ("x", "b"))),
            "c",
        ),
    )
    svg = str(blueprint(to_json(network), [{"path": "0", "shape": [8, 4, 4], "parameters": 80}]))
    read(svg)
    assert svg.count('class="layer') == 8
    assert "filters 8, kernel 5" in svg and "join" in svg and "wire skip" in svg
    assert "8 \u00d7 4 \u00d7 4" in svg and ">80<" in svg


def test_the_network_is_found_inside_a_pipeline() -> None:
    model = {"node": "a:Net"}
    assert network_of({"node": "p:P", "stages": [{"node": "l:L"}, {"node": "t:T", "model": model}]})
    assert network_of({"node": "p:P", "stages": [{"node": "t:T", "model": model}]}) == model
    assert network_of(None) is None


def test_labels_without_the_space_still_make_axes() -> None:
    points = [{"a": 1, "b": "x", "c": True}, {"a": 2, "b": "y", "c": 1}]
    found = {axis.address: axis for axis in axes(points)}
    assert found["a"].kind == "ordered" and found["b"].kind == "categorical"
    assert found["c"].position(True) != found["c"].position(1)  # three different labels
    assert found["c"].position(1.0) == len(found["c"].labels)


def test_names_are_the_shortest_ends() -> None:
    space = Sequential(Conv(one_of(8, 16), kernel=one_of(3, 5)), Conv(one_of(8, 16, name="width")))
    names = {axis.address: axis.name for axis in axes((), space)}
    assert names["conv.kernel"] == "kernel" and names["@width"] == "width"
