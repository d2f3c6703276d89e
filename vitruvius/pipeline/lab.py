"""The lab: what surrounds a running stage on this machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vitruvius.contracts import (
    Cost,
    Found,
    Json,
    Lab,
    Limits,
    Measurement,
    Metric,
    Probe,
    Progress,
    State,
    Tensors,
)
from vitruvius.pipeline.forecast import added, cost_left
from vitruvius.pipeline.judging import judge
from vitruvius.pipeline.keys import (
    Keyed,
    Setting,
    ingredients,
    inner_pipelines,
    keys_of,
    rung_key,
)
from vitruvius.pipeline.pipeline import Pipeline
from vitruvius.pipeline.reports import Reports
from vitruvius.pipeline.state_digest import documents_in, state_digest
from vitruvius.pipeline.store import Store
from vitruvius.pipeline.writer import Unstorable
from vitruvius.space import Node
from vitruvius.train.meter import FlopMeter

Listener = Callable[[Progress, Sequence[Measurement]], None]
Inner = Callable[[Lab, Node, Sequence[Mapping[str, State]], Node | None, int], Found]
NOTHING = Progress(0, 0, 0, None)


def _silent(now: Progress, measured: Sequence[Measurement]) -> None:
    """Hears nothing."""


@dataclass(frozen=True, eq=False)
class LocalLab:
    """Runs stages in this process, or loads what they made from the store.

    ``listen`` hears each report and may raise Stopped. ``key`` is that of the stage at hand, and
    ``root`` what its seeds follow from (the key where it is empty), so that nothing carries over
    from what ran before; ``origin`` what its first seed follows from. ``meter.spent`` is what was
    computed here, and not loaded.
    """

    setting: Setting
    folder: Path | None = None
    limits: Limits = field(default_factory=Limits)
    meter: FlopMeter = field(default_factory=FlopMeter)
    listen: Listener = _silent
    inner: Inner | None = None
    key: str = ""
    root: str = ""
    origin: str = ""
    depth: int = 0
    store: Store | None = None
    reports: Reports = field(default_factory=Reports)
    """Of the stage at hand."""

    @property
    def device(self) -> torch.device:
        return self.setting.device

    @property
    def precision(self) -> torch.dtype:
        return self.setting.precision

    @property
    def seed(self) -> int:
        return self._number("seed")

    @property
    def first_seed(self) -> int:
        return _number(self.origin or self.root or self.key, "first")

    def generator(self, name: str) -> torch.Generator:
        """On the CPU, seeded by the stage's key and this name alone."""
        return torch.Generator().manual_seed(self._number(name))

    def _number(self, name: str) -> int:
        return _number(self.root or self.key, name)

    def report(self, now: Progress, measured: Sequence[Measurement] = ()) -> None:
        if self.depth == 0 and measured:
            self._tell_again(self.reports.due(now.step))
            self.reports.note(now, measured)
        self.listen(now, measured if self.depth == 0 else ())

    def keep(self, step: int, tensors: Tensors, values: Json) -> None:
        """Store where the stage stands after a step of its own."""
        if self.store is not None:
            self.store.keep_rung(self.key, step, tensors, values)

    def recall(self, most: int) -> tuple[int, Tensors, Json] | None:
        """The last rung of this stage. What it reported until there is told again."""
        found = None if self.store is None else self.store.recall_rung(self.key, most)
        if self.store is not None and found is not None:
            entry = self.store.entry(rung_key(self.key, found[0]))
            if entry is not None:
                self.reports.go_on(entry.reports, entry.cost)
        return found

    def run(self, pipeline: Node, inputs: Mapping[str, State]) -> State:
        """The state after the last stage; a field that holds a pipeline is run first.

        With a store, what was made before is loaded, and what is made now is kept.
        """
        try:
            digests = {role: state_digest(state) for role, state in inputs.items()}
            store = self.store
        except Unstorable:  # an object that only this process knows: nothing of it can be shared
            digests = {role: state.digest for role, state in inputs.items()}
            store = None
        keyed = keys_of(pipeline, digests, self.setting)
        work = _Work(replace(self, store=store), keyed, inputs)
        return work.run() if store is None else work.run_stored(store)

    def left(self, pipeline: Node, inputs: Mapping[str, State] | None = None) -> Cost:
        """What would have to be computed for a design, given what the store holds."""
        return cost_left(self, pipeline, inputs or {}, self.store)

    def took(self, pipeline: Node) -> Cost:
        """What all stages of a design took when they ran, as far as the store knows."""
        found = Cost()
        for one in keys_of(pipeline, {}, self.setting):
            entry = None if self.store is None else self.store.entry(one.state)
            if entry is not None:
                found = added(found, entry.cost)
        return found

    def evaluate(
        self, state: State, metric: Metric | Probe, split: str | None = None
    ) -> Measurement:
        """A metric or probe of the state's model on a split that may be read; None: validation, or
        the part that the probe looks at."""
        if split is None:
            split = metric.part if isinstance(metric, Probe) else "validation"
        documents = state.splits[split].documents
        return judge(state, documents, metric, self.device, self.precision)

    def study(
        self,
        space: Node,
        inputs: Sequence[Mapping[str, State]],
        searcher: Node | None,
        trials: int,
    ) -> Found:
        """The best design of a space under this stage, by a study of its own: the mean over the
        inputs counts. None draws designs at random."""
        if self.inner is None:
            raise ValueError(
                "This lab runs no studies: it was made without a study around it. "
                "Make it with inner=search_inside of vitruvius.study.inner."
            )
        return self.inner(replace(self, depth=self.depth + 1), space, inputs, searcher, trials)

    def _tell_again(self, reports: Sequence[Json]) -> None:
        """What a stage reported when it ran, so that who listens hears the same."""
        if self.depth == 0:
            for now, measured in self.reports.read(reports):
                self.listen(now, measured)


class _Work:
    """One run of a pipeline in a lab."""

    def __init__(
        self, lab: LocalLab, keyed: tuple[Keyed, ...], inputs: Mapping[str, State]
    ) -> None:
        self.lab, self.keyed, self.inputs = lab, keyed, inputs
        self.state = inputs.get("before")
        self.known = documents_in(dict(inputs))

    def run(self) -> State:
        """Every stage, in order."""
        for keyed in self.keyed:
            self._measured(keyed, self.lab.folder, Reports())
        assert self.state is not None
        return self.state

    def run_stored(self, store: Store) -> State:
        """Load the last state that is there, and run the stages behind it."""
        first = self._source()
        begin = first
        for i in range(len(self.keyed) - 1, first - 1, -1):
            if self._load(store, self.keyed[first : i + 1]):
                begin = i + 1
                break
        for keyed in self.keyed[begin:]:
            with store.lock(keyed.key, lambda: self.lab.listen(NOTHING, ())):
                if not self._load(store, (keyed,)):
                    self._make(store, keyed)
        if begin < len(self.keyed) and store.limit_bytes is not None:
            store.trim()
        assert self.state is not None
        return self.state

    def _source(self) -> int:
        """Run the stages at the beginning that give their data again; how many there are."""
        count = 0
        for keyed in self.keyed:
            if not keyed.stage.sourced:
                break
            self.state = self._compute(keyed, None, Reports())
            self.known |= documents_in(self.state)
            count += 1
        return count

    def _load(self, store: Store, keyed: tuple[Keyed, ...]) -> bool:
        """Load what the last of these stages made, and tell what all of them reported."""
        entry = store.entry(keyed[-1].state)
        if entry is None or not entry.needs <= self.known.keys():
            return False
        found = store.get(keyed[-1].state, self.known, self.lab.device)
        if found is None:
            return False
        for one in keyed:
            if (told := store.entry(one.state)) is not None:
                self.lab._tell_again(told.reports)
        self.state = found
        return True

    def _make(self, store: Store, keyed: Keyed) -> None:
        work = store.work(keyed.key)
        reports = Reports.of(work)
        cost = self._measured(keyed, work, reports)
        assert self.state is not None
        self.lab._tell_again(reports.due())
        roles = ingredients(keyed.stage, keyed.inputs, self.lab.setting)
        store.put(
            keyed.state,
            self.state,
            stage=roles["stage"]["node"],
            cost=cost,
            ingredients=roles,
            reports=reports.written,
            known=self.known,
        )
        store.done(keyed.key)

    def _measured(self, keyed: Keyed, folder: Path | None, reports: Reports) -> Cost:
        """Run a stage. What it took, and what a rung before it had taken."""
        began = time.perf_counter()
        before = self.state.measurements if self.state is not None else ()
        self.state = self._compute(keyed, folder, reports)
        seconds = time.perf_counter() - began
        cost = _cost(self.state, before)
        self.lab.meter.add(max(0.0, cost.flops - reports.before.flops), seconds)
        return replace(cost, seconds=seconds + reports.before.seconds)

    def _compute(self, keyed: Keyed, folder: Path | None, reports: Reports) -> State:
        lab = self.lab
        roles = {role: made for role, made in self.inputs.items() if role != "before"}
        for name, inner in inner_pipelines(keyed.stage):
            roles[name] = self._inner(inner)
        if self.state is not None:
            roles["before"] = self.state
        around = replace(
            lab,
            key=keyed.key,
            root=keyed.root,
            origin=keyed.origin,
            folder=folder,
            reports=reports,
        )
        return replace(keyed.stage.run(roles, around), digest=keyed.state)

    def _inner(self, pipeline: Pipeline) -> State:
        return replace(self.lab, depth=self.lab.depth + 1).run(pipeline, {})


def _number(root: str, name: str) -> int:
    made = hashlib.sha256(f"{root} {name}".encode()).digest()
    return int.from_bytes(made[:8], "little") % 2**63


def _cost(state: State, before: tuple[Measurement, ...]) -> Cost:
    """FLOPs and parameters of what a stage measured beside what was known before it."""
    known = {id(m) for m in before}
    new = [m.cost for m in state.measurements if id(m) not in known]
    return Cost(
        flops=sum(cost.flops for cost in new),
        parameters=max((cost.parameters for cost in new), default=0),
        memory_bytes=max((cost.memory_bytes for cost in new), default=0),
    )
