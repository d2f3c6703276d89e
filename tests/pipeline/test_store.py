"""States on disk: equal to the bit, whole or not at all, shared, trimmed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from vitruvius.contracts import (
    Cost,
    Documents,
    Fitted,
    Lab,
    Measurement,
    Progress,
    SealedError,
    Split,
    Stage,
    State,
    Stopped,
)
from vitruvius.pipeline.evaluation import Evaluate, score_of
from vitruvius.pipeline.keys import Setting, keys_of
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.load import Load
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.store import Store, StoreError
from vitruvius.pipeline.training import Train, weights_digest
from vitruvius.space import Node
from vitruvius.techniques.layers import Affine, BatchNorm, Conv, Dropout, Flatten, ReLU, Sequential
from vitruvius.techniques.optimizers import AdamW

SETTING = Setting(0, torch.device("cpu"), torch.float32, 1)
NETWORK = Sequential(Conv(4), BatchNorm(), ReLU(), Flatten(), Dropout(0.3), Affine(10))
ALLOWED = ("vitruvius", "tests")


def design(epochs: int = 2, **fields: Any) -> Pipeline:
    return Pipeline(Load("digits"), Train(model=NETWORK, epochs=epochs, **fields), Evaluate())


def lab_of(store: Store | None, **fields: Any) -> LocalLab:
    return replace(LocalLab(SETTING, store=store), **fields)


def key_of(pipeline: Node, stage: int = -1) -> str:
    return keys_of(pipeline, {}, SETTING)[stage].state


def same(a: State, b: State) -> bool:
    """Equal to the last bit: weights, what was learned of the inputs, scores, names."""
    assert a.model is not None and b.model is not None
    return (
        weights_digest(a.model) == weights_digest(b.model)
        and a.digest == b.digest
        and a.model.lineage == b.model.lineage
        and score_of(a).value == score_of(b).value
        and [(m.name, m.value, m.cost) for m in a.measurements]
        == [(m.name, m.value, m.cost) for m in b.measurements]
        and all(
            torch.equal(t, q.fitted.tensors[n]) and p.encoder == q.encoder
            for p, q in zip(a.model.prepared, b.model.prepared, strict=True)
            for n, t in p.fitted.tensors.items()
        )
        and {n: s.digest for n, s in a.splits.items()} == {n: s.digest for n, s in b.splits.items()}
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", allow=ALLOWED)


@dataclass(frozen=True)
class Counting(Stage):
    """Adds a measurement, and notes in a file that it ran."""

    note: str = ""
    seconds: float = 0.0
    number: int = 0
    unkeyed: ClassVar[tuple[str, ...]] = ("note", "seconds")

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        with open(self.note, "a") as opened:
            opened.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        drawn = float(torch.rand(1, generator=lab.generator("count")))
        before = inputs.get("before", State())
        return replace(before, measurements=(*before.measurements, Measurement("drawn", drawn)))


def runs(note: Path) -> int:
    return len(note.read_text().splitlines()) if note.exists() else 0


# ------------------------------------------------------------------------- equality


def test_run_loaded_and_after_another_are_equal_to_the_bit(store: Store) -> None:
    alone = lab_of(None).run(design(), {})
    made = lab_of(store).run(design(), {})
    torch.rand(7)  # a global generator that stands elsewhere changes nothing
    lab = lab_of(store)
    loaded = lab.run(design(), {})
    assert lab.meter.spent.flops == 0
    other = Store(store.folder.with_name("other"))
    lab_of(other).run(design(batch_size=32), {})
    after = lab_of(other).run(design(), {})
    assert same(alone, made) and same(made, loaded) and same(made, after)


def test_a_stage_goes_on_from_a_loaded_state_as_from_a_made_one(store: Store) -> None:
    lab_of(store).run(Pipeline(*design().stages[:2]), {})
    assert not store.has(key_of(design())) and store.has(key_of(design(), 1))
    lab = lab_of(store)
    state = lab.run(design(), {})
    assert lab.meter.spent.flops == 0 and same(state, lab_of(None).run(design(), {}))


def test_a_loaded_model_trains_and_reads_as_the_one_that_was_made(store: Store) -> None:
    made = lab_of(store).run(design(), {})
    loaded = store.get(made.digest, {s.digest: c for s, c in contents(made)})
    assert loaded is not None and loaded.model is not None and made.model is not None
    for name, module in loaded.model.bodies["input"].named_modules():
        assert module.training == made.model.bodies["input"].get_submodule(name).training
    x = torch.randn(4, 1, 8, 8)
    answers = []
    for state in (made, loaded):
        assert state.model is not None
        torch.manual_seed(0)
        answers.append(state.model.bodies["input"].network(x))  # type: ignore[operator]
    assert torch.equal(*answers)
    torch.sum(answers[1]).backward()
    assert all(p.grad is not None for p in loaded.model.bodies["input"].parameters())


def contents(state: State) -> list[tuple[Split, Documents]]:
    return [(s, s.opened().documents) for s in state.splits.values()]


def test_what_a_stage_reported_is_told_again(store: Store) -> None:
    def heard(lab: LocalLab) -> list[Any]:
        found: list[Any] = []

        def listen(now: Progress, measured: Sequence[Measurement]) -> None:
            found.extend((now, m.name, m.value) for m in measured if m.name != "plan")

        replace(lab, listen=listen).run(design(), {})
        return found

    assert heard(lab_of(None)) == heard(lab_of(store)) == heard(lab_of(store)) != []


def test_the_test_part_stays_sealed_and_data_are_not_copied(store: Store) -> None:
    lab_of(store).run(design(), {})
    loaded = lab_of(store).run(design(), {})
    with pytest.raises(SealedError, match="sealed"):
        _ = loaded.splits["test"].documents
    with pytest.raises(SealedError):
        _ = loaded.splits["test"].content
    assert {p.suffix for p in (store.folder / "blobs").iterdir()} == {".safetensors"}
    needs = store.explain(loaded.digest).needs
    assert needs == {split.digest for split in loaded.splits.values()}


def test_documents_that_a_stage_makes_are_kept(store: Store) -> None:
    texts = np.array(["a", None, "ü", "\ud800"], object)
    documents = Documents(
        {"text": texts[:3], "odd": texts[1:], "image": np.arange(6.0).reshape(3, 2)},
        {"label": np.array([0, 1, 1]), "parts": _objects([(1, "x"), (), (2.5,)])},
    )
    guarded = Split(documents, labels=False).documents
    split = Split(documents, sealed=True, targets=("label",))
    fitted = {"f": Fitted({"t": torch.arange(3)}, {"n": [1, float("inf")], "m": {"k": (1, 2)}})}
    state = State(data={"one": documents, "part": guarded}, splits={"s": split}, fitted=fitted)
    put(store, "k", state)
    found = store.get("k")
    assert found is not None
    for name, column in documents.payload.items():
        read = found.data["one"].payload[name]
        assert read.dtype == column.dtype and np.array_equal(read, column)  # type: ignore[union-attr]
    assert found.data["one"].attributes["parts"].tolist() == [(1, "x"), (), (2.5,)]
    assert found.data["one"].digest == documents.digest
    with pytest.raises(SealedError, match="label"):
        _ = found.data["part"].attributes["label"]
    with pytest.raises(SealedError):
        _ = found.splits["s"].documents
    assert found.splits["s"].opened().documents.digest == documents.digest
    assert found.fitted["f"].values == fitted["f"].values
    assert torch.equal(found.fitted["f"].tensors["t"], torch.arange(3))


def _objects(items: list[Any]) -> Any:
    made = np.empty(len(items), object)
    made[:] = items
    return made


def put(store: Store, key: str, state: State, **known: Documents) -> None:
    store.put(key, state, stage="s", cost=Cost(), ingredients={}, known=known)


def test_a_state_that_cannot_be_written_is_made_again(store: Store, tmp_path: Path) -> None:
    state = State(fitted={"x": Fitted(values={"generator": torch.Generator()})})
    put(store, "k", state)
    assert store.get("k") is None and not store.has("k")
    assert [row.status for row in store.list()] == ["not storable"]
    assert "Generator" in (store.explain("k").unstorable or "")


# ------------------------------------------------------------------------ damage


def damaged_somehow(store: Store, key: str) -> dict[str, Callable[[], None]]:
    manifest = store.folder / "states" / f"{key}.json"
    (blob,) = (store.folder / "blobs").iterdir()

    def change(path: Path, new: Callable[[bytes], bytes]) -> None:
        path.write_bytes(new(path.read_bytes()))

    def flip(whole: bytes) -> bytes:
        at = len(whole) * 3 // 4
        return whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]

    def half_written() -> None:
        manifest.unlink()
        blob.rename(blob.with_name(f".1{blob.suffix}"))

    return {
        "truncated manifest": lambda: change(manifest, lambda b: b[: len(b) // 2]),
        "flipped manifest": lambda: change(manifest, flip),
        "empty manifest": lambda: change(manifest, lambda _: b""),
        "truncated tensors": lambda: change(blob, lambda b: b[: len(b) // 2]),
        "flipped tensors": lambda: change(blob, flip),
        "empty tensors": lambda: change(blob, lambda _: b""),
        "no tensors": lambda: blob.unlink(),
        "half-written": half_written,
    }


@pytest.mark.parametrize(
    "how",
    [
        "truncated manifest", "flipped manifest", "empty manifest", "truncated tensors",
        "flipped tensors", "empty tensors", "no tensors", "half-written",
    ],
)  # fmt: skip
def test_what_is_damaged_is_found_and_made_again(store: Store, how: str) -> None:
    short = Pipeline(*design(1).stages[:2])
    made = lab_of(store).run(short, {})
    assert made.model is not None
    damaged_somehow(store, made.digest)[how]()
    lab = lab_of(store)
    again = lab.run(short, {})
    assert again.model is not None
    assert lab.meter.spent.flops > 0  # it was computed, and not loaded
    assert weights_digest(again.model) == weights_digest(made.model)
    fresh = lab_of(store)
    fresh.run(short, {})
    assert fresh.meter.spent.flops == 0  # and stored anew


def test_verify_sets_aside_what_is_damaged(store: Store) -> None:
    state = lab_of(store).run(design(1), {})
    assert store.verify().damaged == () and store.verify().whole == 2
    damaged_somehow(store, state.digest)["flipped tensors"]()
    damaged_somehow(store, state.digest)["flipped manifest"]()
    found = store.verify()
    assert len(found.damaged) == 2 and (found.whole, found.trimmed) == (0, 1)
    assert store.verify().damaged == ()
    assert len(list((store.folder / "damaged").iterdir())) == 2


def test_a_manifest_names_nothing_outside_of_allowed_packages(store: Store, tmp_path: Path) -> None:
    put(store, "k", State())
    path = store.folder / "states" / "k.json"
    made = store.files.read(path)
    made["written"]["holds"] = {"made": "subprocess:Popen", "arguments": [["args", "true"]]}
    store.files.write(path, {k: v for k, v in made.items() if k != "format"})
    assert store.get("k") is None


# -------------------------------------------------------------------- processes


def _run_counting(folder: str, note: str, seconds: float, out: Any) -> None:
    pipeline = Pipeline(Counting(note, seconds))
    state = lab_of(Store(folder, allow=ALLOWED)).run(pipeline, {})
    out.put(state.measurements[0].value)


def _spawn(*arguments: Any) -> tuple[Any, Any]:
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    process = context.Process(target=_run_counting, args=(*arguments, out))
    process.start()
    return process, out


def test_two_processes_on_one_key_compute_once(store: Store, tmp_path: Path) -> None:
    note = tmp_path / "note"
    both = [_spawn(str(store.folder), str(note), 0.5) for _ in range(2)]
    values = [out.get(timeout=60) for _, out in both]
    for process, _ in both:
        process.join()
    assert values[0] == values[1] and runs(note) == 1


def test_who_waits_takes_over_from_who_was_killed(store: Store, tmp_path: Path) -> None:
    note = tmp_path / "note"
    first, _ = _spawn(str(store.folder), str(note), 600.0)
    while not runs(note):
        time.sleep(0.01)
    second, out = _spawn(str(store.folder), str(note), 0.0)
    time.sleep(0.3)
    assert runs(note) == 1  # it waits
    os.kill(first.pid, signal.SIGKILL)
    value = out.get(timeout=60)
    first.join()
    second.join()
    alone = lab_of(None).run(Pipeline(Counting(str(tmp_path / "other"))), {})
    assert value == alone.measurements[0].value and runs(note) == 2


def test_who_waits_may_be_stopped(store: Store, tmp_path: Path) -> None:
    def stop(now: Progress, measured: Sequence[Measurement]) -> None:
        raise Stopped("the budget ended")

    pipeline = Pipeline(Counting(str(tmp_path / "note")))
    with store.lock(key_of(pipeline)), pytest.raises(Stopped):
        lab_of(store, listen=stop).run(pipeline, {})
    lab_of(store).run(pipeline, {})
    assert list((store.folder / "locks").iterdir()) == []


def _train_and_die(folder: str) -> None:
    from vitruvius.train import loop

    loop.CHECKPOINT_SECONDS = 0.0

    def listen(now: Progress, measured: Sequence[Measurement]) -> None:
        if now.fraction is not None and now.fraction > 0.7:
            os.kill(os.getpid(), signal.SIGKILL)

    lab_of(Store(folder), listen=listen).run(design(4), {})


def test_a_training_that_was_killed_goes_on_to_the_same_bits(store: Store) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_train_and_die, args=(str(store.folder),)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((store.folder / "work").glob("*/checkpoint.safetensors"))) == 1
    steps: list[int] = []
    curve: list[float] = []

    def listen(now: Progress, measured: Sequence[Measurement]) -> None:
        if measured:
            curve.extend(m.value for m in measured if m.name == "accuracy")
        elif now.step:
            steps.append(now.step)

    state = lab_of(store, listen=listen).run(design(4), {})
    alone = lab_of(None).run(design(4), {})
    assert same(state, alone)
    total = 4 * 17
    assert steps[0] > total * 0.4  # it went on, and did not begin anew
    assert len(curve) == 4  # and told all of its curve
    assert list((store.folder / "work").iterdir()) == []


# ------------------------------------------------------------------------- rungs


def test_a_promotion_goes_on_from_its_rung(store: Store) -> None:
    whole = lab_of(None).run(design(4), {})
    steps: list[int] = []

    def listen(now: Progress, measured: Sequence[Measurement]) -> None:
        if not measured and now.step:
            steps.append(now.step)

    flops = []
    for until in (1, 3, None):
        lab = lab_of(store, listen=listen)
        state = lab.run(design(4, until=until), {})
        flops.append(lab.meter.spent.flops)
    assert same(state, whole)
    assert steps == list(range(1, len(steps) + 1))  # no step was done twice
    assert flops[0] > 0 and flops[1] == 2 * flops[0] and flops[2] == flops[0]
    keys = [key_of(design(4, until=until)) for until in (1, 3, 4, None)]
    assert len(set(keys)) == 3 and keys[2] == keys[3]
    rung = lab_of(Store(store.folder.with_name("new"))).run(design(4, until=3), {})
    assert same(rung, lab_of(store).run(design(4, until=3), {}))


def test_a_rung_of_another_horizon_is_not_used(store: Store) -> None:
    lab_of(store).run(design(4, until=2), {})
    lab = lab_of(store)
    lab.run(design(2), {})
    assert lab.meter.spent.flops == lab_of(None).left(design(2)).flops > 0


# -------------------------------------------------------------------------- cost


def test_what_is_left_to_compute(store: Store) -> None:
    lab = lab_of(store)
    planned = lab.left(design(4))
    assert planned.flops > 0 and planned.parameters > 0 and planned.seconds == 0
    lab.run(design(4, until=1), {})
    after = lab.left(design(4))
    assert after.flops == planned.flops * 3 / 4 and after.seconds > 0
    lab.run(design(4), {})
    assert lab.left(design(4)) == Cost()
    new = lab.left(design(4, batch_size=32))
    assert new.flops == planned.flops and new.seconds > 0
    only_scored = Pipeline(*design(4).stages[:2], Evaluate(also=()), Counting("unused"))
    assert lab.left(only_scored).flops == 0


# ---------------------------------------------------------------------- trimming


def test_trimming_takes_the_least_recently_used_and_keeps_pins(store: Store) -> None:
    for i in range(4):
        put(store, f"k{i}", State(fitted={"x": Fitted({"t": torch.full((1000,), float(i))})}))
        for blob in (store.folder / "blobs").iterdir():
            if time.time() - blob.stat().st_mtime < 50:
                os.utime(blob, (time.time() - 1000 + i, time.time() - 1000 + i))
    size = next((store.folder / "blobs").iterdir()).stat().st_size
    store.pin("best", ["k1"])
    assert store.get("k0") is not None  # used just now
    with store.lock("k2"):  # someone computes it again
        assert store.trim(3 * size) == size
    assert [store.has(f"k{i}") for i in range(4)] == [True, True, True, False]
    assert store.trim(0) == 2 * size
    assert [store.has(f"k{i}") for i in range(4)] == [False, True, False, False]
    assert len(list(store.entries())) == 4  # manifests stay
    store.unpin("best")
    store.trim(0)
    assert not store.has("k1")
    assert [row.status for row in store.list()] == ["trimmed"] * 4


def test_a_trimmed_state_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=0)
    made = lab_of(store).run(design(1), {})
    assert not store.has(made.digest)
    assert same(made, lab_of(store).run(design(1), {}))


def test_unfinished_files_go_once_they_are_old(store: Store) -> None:
    lab_of(store).run(design(1), {})
    young, old = store.folder / "blobs" / ".1", store.folder / "blobs" / ".2"
    stale = store.work("dead") / "checkpoint.safetensors"
    for path in (young, old, stale):
        path.write_bytes(b"half")
    for path in (old, stale, stale.parent):
        os.utime(path, (0, 0))
    store.trim()
    assert young.exists() and not old.exists() and not stale.parent.exists()
    assert store.has(key_of(design(1)))


def test_a_key_is_explained_by_its_ingredients(store: Store) -> None:
    state = lab_of(store).run(design(1), {})
    found = store.explain(state.digest[:8])
    assert found.stage == "vitruvius.pipeline.evaluation:Evaluate"
    assert found.ingredients["inputs"] == {"before": key_of(design(1), 1)}
    assert set(found.ingredients) == {"stage", "inputs", "setting", "libraries", "code"}
    json.dumps(found.ingredients)
    with pytest.raises(StoreError, match="No key begins with 'nothing'"):
        store.explain("nothing")
    with pytest.raises(StoreError, match="2 keys begin with ''"):
        store.explain("")


def test_equal_weights_lie_in_one_file(store: Store) -> None:
    lab_of(store).run(design(1), {})  # of Train, and of Evaluate behind it
    assert len(list(store.entries())) == 2
    assert len(list((store.folder / "blobs").iterdir())) == 1


def test_a_state_from_outside_is_named_by_what_it_holds(store: Store) -> None:
    """A state that was changed and kept its digest is not mistaken for the one it came from."""
    before = lab_of(store).run(Load("digits"), {})
    train = Train(model=NETWORK, epochs=1, optimizer=AdamW(1e-2))
    first = lab_of(store).run(train, {"before": before})
    less = {
        n: s if s.sealed else Split(s.documents.take(np.arange(100)))
        for n, s in before.splits.items()
    }
    second = lab_of(store).run(train, {"before": replace(before, splits=less)})
    assert first.digest != second.digest
    assert first.digest == lab_of(store).run(train, {"before": before}).digest
