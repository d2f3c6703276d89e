"""Which ended trial a new one begins with: a fold over the events of a study.

A trial whose design says ``Train(inherit=0.8)`` begins with the weights of the nearest ended trial,
where that gives at least such a share of its parameters. The event that asks for it names the
parent, so that it is run again as it was. What inherits has learned for longer than its epochs say:
its score is of the whole line. Fresh trainings of the best few, at the end of a study, begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vitruvius.search.history import Event
from vitruvius.space import Infeasible, Node, canonical, to_json

if TYPE_CHECKING:
    from vitruvius.pipeline.training import Train
    from vitruvius.study.session import Session

NEAREST = 16  # ended trials that are looked at: those whose points agree most with the new one
GENERATIONS = 10  # of a line, at most: each names the one before it in its design


class Parents:
    """Trials that may be a parent, and what each trial began with."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.wanted = any(_inherits(to_json(session.settings.space)))
        self.points: dict[int, Mapping[str, Any]] = {}
        self.parents: dict[int, int | None] = {}
        self.first: dict[str, Mapping[str, Any] | None] = {}  # parent of each point, as first asked
        self.ended: dict[int, tuple[float, float]] = {}  # score and share of the horizon
        self.networks: dict[str, Any] = {}
        self.states: dict[str, Any] = {}

    def hear(self, event: Event) -> None:
        """One event more."""
        body, number = event.body, event.trial
        if not self.wanted or number < 0:
            return
        if event.kind == "asked":
            told = body.get("parent")
            self.points[number] = body["point"]
            self.parents[number] = None if told is None else told["trial"]
            self.first.setdefault(canonical(body["point"]), told)
        elif event.kind == "told" and body.get("status") == "finished" and body.get("state"):
            self.ended[number] = body["score"], body.get("share", 1.0)

    def choose(self, point: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The parent of a point: its number under "trial", and the "overlap"; None: none.

        The nearest is the ended trial with the largest overlap; of equal ones that with the better
        score, then the earlier. A point that was asked before keeps what it had, so that a longer
        run of it continues.
        """
        if not self.wanted:
            return None
        key = canonical(point)
        if key in self.first:
            return self.first[key]
        try:
            design = self.session.program.build(point)
            stage = _training(design)
            if stage is None or stage.inherit is None:
                return None
            sign = 1.0 if self.session.meta["better"] == "higher" else -1.0
            found = [
                (overlap, sign * self.ended[number][0], -number)
                for number in self._near(point)
                if (overlap := self._overlap(design, number)) >= stage.inherit
            ]
        except Infeasible:
            return None
        if not found:
            return None
        overlap, _, number = max(found)
        return {"trial": -number, "overlap": round(overlap, 6)}

    def design(self, point: Mapping[str, Any], parent: Mapping[str, Any] | None) -> Node:
        """The design of a point, with its parent in it. Raises Infeasible."""
        from vitruvius.pipeline.pipeline import Pipeline, stages_of

        design = self.session.program.build(point)
        if parent is None:
            return design
        stages, place = list(stages_of(design)), _place(design)
        line = self._line(parent["trial"])
        stages[place] = stages[place].replace(parent=line)
        return Pipeline(*stages)

    def of(self, number: int) -> Mapping[str, Any] | None:
        """The parent that a trial was asked with."""
        parent = self.parents.get(number)
        return None if parent is None else {"trial": parent}

    def _line(self, number: int) -> Node:
        """The pipeline of an ended trial up to its training, its own parent in it."""
        from vitruvius.pipeline.cutting import cut
        from vitruvius.pipeline.pipeline import Pipeline, stages_of

        design = self.design(self.points[number], self.of(number))
        design = cut(design, self.ended[number][1], self.session.search.stage) or design
        return Pipeline(*stages_of(design)[: _place(design) + 1])

    def _near(self, point: Mapping[str, Any]) -> list[int]:
        """Ended trials whose points agree most with this one, and whose line is not too long."""

        def agreeing(number: int) -> float:
            other = self.points[number]
            shared = sum(name in other and other[name] == value for name, value in point.items())
            return shared / max(len(point), len(other), 1)

        able = [number for number in self.ended if self._generations(number) < GENERATIONS]
        return sorted(able, key=lambda number: (-agreeing(number), number))[:NEAREST]

    def _generations(self, number: int) -> int:
        count, parent = 1, self.parents.get(number)
        while parent is not None:
            count, parent = count + 1, self.parents.get(parent)
        return count

    def _overlap(self, design: Node, number: int) -> float:
        """Of a design with an ended trial; 0 where they differ in what comes before the network."""
        from vitruvius.pipeline.pipeline import stages_of
        from vitruvius.train.inheriting import inherit

        other = self.session.program.build(self.points[number])
        ours, theirs = _training(design), _training(other)
        if ours is None or theirs is None or ours.encoder != theirs.encoder:
            return 0.0
        before = [tuple(stages_of(d)[: _place(d)]) for d in (design, other)]
        if before[0] != before[1] or not all(stage.sourced for stage in before[0]):
            return 0.0
        return inherit(self._network(ours, before[0]), self._network(theirs, before[0])).overlap

    def _network(self, stage: Train, before: tuple[Any, ...]) -> Any:
        """The network of a stage on meta, for the data that the stages before it open."""
        from vitruvius.pipeline.pipeline import Pipeline
        from vitruvius.study.costing import lab_of

        lab = lab_of(self.session)
        opened = canonical(to_json(Pipeline(*before)))
        if opened not in self.states:
            self.states[opened] = lab.run(Pipeline(*before), {})
        bare = stage.replace(parent=None)
        key = f"{opened} {canonical(to_json(bare))}"
        if key not in self.networks:
            self.networks[key] = bare.network(self.states[opened], lab)
        return self.networks[key]


def _place(design: Node) -> int:
    """Which of a design's stages trains a network from scratch: the last one that does."""
    from vitruvius.pipeline.pipeline import stages_of
    from vitruvius.pipeline.training import Train

    places = [i for i, stage in enumerate(stages_of(design)) if isinstance(stage, Train)]
    return places[-1] if places else -1


def _training(design: Node) -> Train | None:
    from vitruvius.pipeline.pipeline import stages_of

    place = _place(design)
    return None if place < 0 else stages_of(design)[place]  # type: ignore[return-value]


def _inherits(written: Any) -> Iterator[bool]:
    """Whether a field of this name holds anything, for each in the JSON of a space."""
    if isinstance(written, dict):
        yield written.get("inherit") is not None
        written = list(written.values())
    if isinstance(written, list):
        for inner in written:
            yield from _inherits(inner)
