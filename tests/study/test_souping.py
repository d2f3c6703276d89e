"""A study that ends with the soup of its own trials: what began alike, judged, kept or not."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands import calling
from tests.interop.tiny import folder as tiny_folder
from tests.pipeline import text_data
from tests.study.spaces import tiny
from tests.study.test_study import events
from vitruvius.interop.pretrained import FromPretrained
from vitruvius.pipeline.adapting import Adapt
from vitruvius.pipeline.card import scores
from vitruvius.pipeline.evaluation import Evaluate
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.load_texts import LoadTexts
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.retrieval import Index
from vitruvius.pipeline.saving import load_model
from vitruvius.pipeline.training import Train
from vitruvius.running import conclude, evidence, load
from vitruvius.search import RandomSearch
from vitruvius.space import one_of, to_json
from vitruvius.study.budget import Budget
from vitruvius.study.evidence import evidence as rows
from vitruvius.study.settings import Final, Surroundings
from vitruvius.study.souping import kin, soup_words
from vitruvius.study.study import Study, reopen
from vitruvius.study.trials import Summary
from vitruvius.study.worker import Job, perform
from vitruvius.techniques.adapters import BitFit, FullTuning, LinearProbe
from vitruvius.techniques.heads import PooledReadout, Readout
from vitruvius.techniques.layers import Affine, Flatten, ReLU, Sequential
from vitruvius.techniques.mergers import GreedySoup, LearnedSoup, UniformSoup, WiSE
from vitruvius.techniques.optimizers import AdamW


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soups")
    text_data.labelled(folder)
    text_data.pairs(folder)
    tiny_folder(folder / "base", "bert")
    return folder


def space(data: Path, labels: str = "labels.csv", **changes: Any) -> Pipeline:
    """Ways to adapt one pretrained model."""
    given = {
        "adapter": one_of(FullTuning(), BitFit(), LinearProbe()),
        "optimizer": AdamW(one_of(1e-3, 2e-3, 4e-3)),
        "epochs": one_of(1, 2),
        "longest": 32,
        "model": FromPretrained(str(data / "base")),
        **changes,
    }
    last = (Index(), Evaluate()) if labels == "pairs.csv" else (Evaluate(),)
    return Pipeline(LoadTexts(None, str(data / labels)), Adapt(**given), *last)


def study(folder: Path, tree: Any, **changes: Any) -> Study:
    given = {
        "budget": Budget(trials=5),
        "searcher": RandomSearch(seed=1),
        "final": Final(top=1, seeds=1, merger=GreedySoup()),
    }
    return Study(space=tree, folder=folder, **{**given, **changes})


@pytest.fixture(scope="module")
def kept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """A study whose soup was kept, with report and export."""
    folder = tmp_path_factory.mktemp("kept") / "s"
    return folder, study(folder, several(data), finish=(conclude,), budget=Budget(trials=6)).run()


def several(data: Path) -> Pipeline:
    """Full trainings of several lengths and batch sizes, of which some are better together."""
    sizes = one_of(8, 16, 32)
    return space(data, adapter=FullTuning(), epochs=one_of(4, 6), batch_size=sizes)


def final_of(found: Summary) -> Mapping[str, Any]:
    assert found.final is not None
    return found.final


def test_a_soup_that_is_better_takes_the_place_of_the_best(kept: tuple[Path, Summary]) -> None:
    folder, found = kept
    final, soup = final_of(found), final_of(found)["soup"]
    assert soup["kept"] and soup["cause"] is None
    assert soup["score"] > soup["single"] == max(t.score or 0 for t in found.of("finished"))
    assert final["folder"] == "final/soup" and final["validation"] == soup["score"]
    assert sum(m["share"] for m in soup["members"]) == pytest.approx(1)
    assert sum(m["share"] > 0 for m in soup["members"]) >= 2
    assert final["trial"] == soup["members"][0]["trial"]
    assert [e.kind for e in events(folder)].count("soup") == 1


def test_it_is_the_mean_of_its_members_and_what_is_exported(kept: tuple[Path, Summary]) -> None:
    import torch

    from vitruvius import text_models
    from vitruvius.train.candidates import tensors_of

    folder, found = kept
    design = load(folder).design
    device = torch.device("cpu")
    chosen = [m for m in final_of(found)["soup"]["members"] if m["share"] > 0]
    parts = [tensors_of(load_model(folder / m["folder"], design, device).model) for m in chosen]
    whole = tensors_of(load_model(folder / "final/soup", design, device).model)
    exported = tensors_of(text_models.opened(folder).model)
    for name, tensor in whole.items():
        if tensor.is_floating_point():
            mean = torch.stack([p[name] for p in parts]).mean(0)
            torch.testing.assert_close(tensor, mean, rtol=1e-6, atol=1e-6)
        assert torch.equal(exported[name], tensor)


def test_its_validation_score_is_marked_wherever_it_is_told(kept: tuple[Path, Summary]) -> None:
    folder, found = kept
    said = soup_words(found.final)
    assert "The weights are a soup of" in said and "it was chosen by: it flatters." in said
    html = (folder / "report.html").read_text()
    assert "validation, of the soup that was chosen by it: flatters" in html
    assert said.split(" by GreedySoup")[0] in html
    card = (folder / "model/README.md").read_text()
    assert "validation, of the soup that was chosen by it: flatters" in card and said in card
    what = [row.what for row in rows(found)]
    assert "validation, in the search (its best training alone)" in what
    assert ("validation, of the best training in the soup, alone") in [
        one for one, _ in scores(evidence(found))
    ]


def test_the_terminal_tells_it(kept: tuple[Path, Summary]) -> None:
    from rich.console import Console

    from vitruvius.study.terminal import outcome

    console = Console(width=400, record=True, file=io.StringIO())
    console.print(outcome(kept[1]))
    told = console.export_text()
    assert "(of the soup, which was chosen by it)" in told and soup_words(kept[1].final) in told


def test_what_was_cut_off_before_the_end_makes_no_second_soup(
    kept: tuple[Path, Summary], tmp_path: Path, data: Path
) -> None:
    import shutil

    from vitruvius.study.journal import Journal
    from vitruvius.study.settings import JOURNAL

    folder, found = kept
    cut = tmp_path / "s"
    shutil.copytree(folder, cut)
    written = events(folder)
    until = next(e.sequence for e in written if e.kind == "soup")
    for path in cut.glob(f"{JOURNAL}*"):
        path.unlink()
    with Journal(cut / JOURNAL) as journal:
        for event in written[:until]:
            journal.append(event.kind, event.trial, event.body)
    again = reopen(cut)
    assert again.final == Final(top=1, seeds=1, merger=GreedySoup())
    ended = again.run()
    assert final_of(ended)["test"]["score"] == final_of(found)["test"]["score"]
    assert [e.kind for e in events(cut)].count("soup") == 1


def test_a_process_makes_the_same_soup(
    kept: tuple[Path, Summary], tmp_path: Path, data: Path
) -> None:
    around = Surroundings(workers=1)
    there = study(tmp_path / "s", several(data), budget=Budget(trials=6), around=around).run()
    mine, theirs = final_of(kept[1])["soup"], final_of(there)["soup"]
    assert (mine["score"], mine["weights"]) == (theirs["score"], theirs["weights"])


def test_adapters_of_one_base_are_kin_and_other_heads_are_not(data: Path, tmp_path: Path) -> None:
    heads = one_of(PooledReadout(pool="mean", dense=False), PooledReadout(pool="cls", dense=False))
    found = study(tmp_path / "s", space(data, head=heads), budget=Budget(trials=8)).run()
    soup = final_of(found)["soup"]
    told = {e.trial: e.body["lineage"] for e in events(tmp_path / "s") if e.kind == "told"}
    points = {t.number: t.point for t in found.trials}
    of_head: dict[str, set[tuple[str, ...]]] = {}
    for number, family in told.items():
        head = json.dumps({k: v for k, v in points[number].items() if ".head" in k})
        of_head.setdefault(head, set()).add(tuple(family))
    assert len(of_head) == 2
    assert all(len(families) == 1 for families in of_head.values()), "whatever trained them"
    assert len(set.union(*of_head.values())) == 2
    assert len({tuple(told[m["trial"]]) for m in soup["members"] if m["seed"] == 0}) == 1


def test_images_that_are_adapted_to_are_souped_too(tmp_path: Path) -> None:
    """One network that was trained from scratch, adapted in several ways."""
    network = Sequential(Flatten(), Affine(16), ReLU())
    tree = Pipeline(
        Load("digits"),
        Train(model=network, head=Readout(), epochs=1),
        Adapt(epochs=2, optimizer=AdamW(one_of(1e-3, 3e-3, 1e-2)), head=Readout()),
        Evaluate(),
    )
    final = Final(top=1, seeds=0, merger=UniformSoup())
    found = study(tmp_path / "s", tree, budget=Budget(trials=3), final=final).run()
    soup = final_of(found)["soup"]
    assert soup["score"] is not None, soup["cause"]
    assert [m["share"] for m in soup["members"]] == pytest.approx([1 / 3] * 3)


def test_fresh_seeds_begin_elsewhere(kept: tuple[Path, Summary]) -> None:
    """Their heads are drawn anew, so that they are of another family."""
    soup = final_of(kept[1])["soup"]
    assert {m["seed"] for m in soup["members"]} == {0}
    assert final_of(kept[1])["rescored"][0]["lineage"]


def test_where_no_two_began_alike_it_says_so(tmp_path: Path) -> None:
    """Networks from scratch each begin with weights of their own."""
    found = study(tmp_path / "s", tiny(), finish=(conclude,)).run()
    soup = final_of(found)["soup"]
    assert not soup["kept"] and soup["members"] == []
    said = "no two trainings that were finished began with the same weights"
    assert soup["cause"] == said
    assert soup_words(found.final) == f"No soup was kept (GreedySoup()): {said}."
    assert said in (tmp_path / "s/report.html").read_text()
    assert said in (tmp_path / "s/model/README.md").read_text()
    assert not (tmp_path / "s/final/soup").exists()


def test_a_soup_that_is_not_better_is_not_kept(data: Path, tmp_path: Path) -> None:
    tree = space(data, adapter=FullTuning(), optimizer=AdamW(one_of(3e-2, 1e-1)))
    final = Final(top=1, seeds=1, merger=UniformSoup())
    found = study(tmp_path / "s", tree, final=final, budget=Budget(trials=4)).run()
    soup = final_of(found)["soup"]
    assert not soup["kept"] and soup["score"] <= soup["single"]
    assert soup["cause"] == "the best single training is as good or better"
    assert final_of(found)["folder"] != "final/soup"
    assert "No soup was kept (UniformSoup() of" in soup_words(found.final)
    assert not (tmp_path / "s/final/soup").exists()


def test_a_learned_soup_learns_from_the_validation_part(data: Path, tmp_path: Path) -> None:
    tree = space(data, adapter=FullTuning(), epochs=2)
    final = Final(top=1, seeds=1, merger=LearnedSoup(epochs=2))
    found = study(tmp_path / "s", tree, final=final, budget=Budget(trials=3)).run()
    soup = final_of(found)["soup"]
    assert soup["score"] is not None, soup["cause"]
    assert len({m["share"] for m in soup["members"]}) == len(soup["members"])


def test_what_cannot_be_merged_so_is_told_and_the_study_ends(data: Path, tmp_path: Path) -> None:
    """Queries and their answers have no classes that a learned soup could learn from."""
    tree = space(data, "pairs.csv", adapter=FullTuning(), epochs=1)
    final = Final(top=1, seeds=1, merger=LearnedSoup())
    found = study(tmp_path / "s", tree, final=final, budget=Budget(trials=2)).run()
    assert final_of(found)["test"]["score"] is not None
    assert "Take GreedySoup" in final_of(found)["soup"]["cause"]


def test_a_soup_of_retrievers_has_an_index_of_its_own(data: Path, tmp_path: Path) -> None:
    import torch

    tree = space(data, "pairs.csv", adapter=FullTuning(), epochs=2)
    folder = tmp_path / "s"
    final = Final(top=1, seeds=1, merger=GreedySoup(ties=True))
    found = study(folder, tree, final=final, budget=Budget(trials=3)).run()
    soup = final_of(found)["soup"]
    assert soup["score"] is not None, soup["cause"]
    if soup["kept"]:
        saved = load_model(folder / "final/soup", load(folder).design, torch.device("cpu"))
        assert saved.index is not None and len(saved.index.documents) > 10


def test_a_soup_that_finds_no_time_is_told(kept: tuple[Path, Summary], tmp_path: Path) -> None:
    folder, found = kept
    final = final_of(found)
    family = events(folder)[1:]
    lineage = next(e.body["lineage"] for e in family if e.kind == "told")
    given = tuple(
        {
            "folder": str(folder / m["folder"]),
            "design": final["design"],
            "score": m["score"],
            "lineage": lineage,
        }
        for m in final["soup"]["members"]
    )
    heard: list[tuple[str, Mapping[str, Any]]] = []
    job = Job(
        1,
        "soup",
        final["design"],
        0,
        str(tmp_path / "out"),
        stop_at=0.0,
        merger=to_json(GreedySoup()),
        members=given,
    )
    perform(job, lambda kind, body: heard.append((kind, body)))
    assert [kind for kind, _ in heard] == ["stopped"]
    assert heard[0][1]["cause"] == "the budget ended"


def test_the_command_line_asks_for_a_soup(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = ("--trials", 2, "--flops", 2e8, "--precision", "float32", "--quiet", "--soup")
    status, told, err = calling(monkeypatch, capsys)(
        "build", "--labels", data / "labels.csv", "--base", data / "base", "--out", out, *given
    )
    assert status == 0, err
    assert "soup" in told
    assert reopen(out).final == Final(top=2, seeds=1, refit=True, merger=GreedySoup())


def test_a_merger_that_needs_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"WiSE needs the weights that trainings began with.*Take"):
        Final(merger=WiSE())


def test_the_best_family_of_two_or_more_is_chosen() -> None:
    known = [
        {"trial": 1, "lineage": ["a", "", ""]},
        {"trial": 2, "lineage": ["b", "", ""]},
        {"trial": 3, "lineage": ["c", "", ""]},
        {"trial": 4, "lineage": ["c", "", ""]},
        {"trial": 5, "lineage": ["b", "", "other"]},
        {"trial": 6, "lineage": ["b", "", ""]},
        {"trial": 7, "lineage": None},
    ]
    assert [one["trial"] for one in kin(known)] == [2, 6]
    assert kin(known[:3]) == []
