"""The stage that trains a network on images or other items without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitruvius.contracts import (
    Batch,
    Cost,
    Documents,
    Encoder,
    Given,
    Head,
    Lab,
    Layer,
    Lineage,
    Measurement,
    Model,
    Objective,
    Optimizer,
    Outputs,
    Predictions,
    Progress,
    Schedule,
    State,
    Stream,
    Task,
)
from vitruvius.pipeline.beginning import Size, begin
from vitruvius.pipeline.rungs import Halting
from vitruvius.pipeline.training import PLAN, default_encoder, encode, item_shape, prepare
from vitruvius.space import Infeasible, hyper, one_of
from vitruvius.techniques.objectives import SimCLR, VICReg
from vitruvius.techniques.optimizers import SGD, AdamW
from vitruvius.techniques.schedules import WSD, Constant, Cosine
from vitruvius.train.building import Outline, outline, realise
from vitruvius.train.feeding import Feed
from vitruvius.train.flows import Epochs
from vitruvius.train.loop import Course, train
from vitruvius.train.meter import forward_flops, training_flops
from vitruvius.train.predicting import evaluating

TASK = Task("pretraining", "item")  # what a body is outlined for, whatever it is asked later


@dataclass(frozen=True, kw_only=True)
class PretrainItems(Halting):
    """Train a network on the training part, without its labels; the last weights remain.

    Items are images, arrays or table rows, as the view of the objective wants them. After each pass
    the loss on the validation part is measured, without labels too; there it may stand still as a
    rung (``until``). What is handed on has no head for an answer: ``Adapt`` puts one on it, and
    ``Evaluate(RankMe())`` scores it as it is, at a rung as well.
    """

    model: Layer | None = hyper(
        ..., doc="the network, input to hidden; None: that of the stage before"
    )
    objective: Objective = hyper(
        SimCLR(), one_of(SimCLR.space(), VICReg.space()), "what is minimised"
    )
    optimizer: Optimizer = hyper(AdamW(), one_of(AdamW.space(), SGD.space()), "update rule")
    schedule: Schedule[float] = hyper(
        Cosine(), one_of(Constant(), Cosine.space(), WSD.space()), "factor of the rate"
    )
    batch_size: int = hyper(256, one_of(64, 128, 256, 512), "items of a step, each in two views")
    epochs: int = hyper(40, one_of(20, 40, 80), "passes over the items")
    clip: float | None = hyper(1.0, doc="largest norm of the gradient")
    encoder: Encoder | None = hyper(
        None, doc="input preparation; None: Columns for tables, Pixels for images and arrays"
    )

    def check(self) -> None:
        super().check()
        if self.epochs < 1:
            raise ValueError(f"PretrainItems.epochs must be at least 1; got {self.epochs}.")
        terms = getattr(self.objective, "terms", ())
        for one in [term.objective for term in terms] or [self.objective]:
            if one.reads != "items":
                raise ValueError(
                    "PretrainItems.objective learns from items without labels, such as SimCLR(); "
                    f"got {type(one).__name__}, which reads {one.reads}."
                )
        if self.batch_size < 2:
            raise ValueError(
                "PretrainItems.batch_size must be at least 2, since items are told from each "
                f"other; got {self.batch_size}."
            )

    def foresee(self, inputs: Mapping[str, State], lab: Lab) -> Cost | None:
        """Parameters of the body, FLOPs up to its rung or end. Raises Infeasible as ``run``."""
        before = inputs.get("before")
        if before is None or "train" not in before.splits or self.model is None:
            return None
        seen = before.splits["train"].documents
        found = self._outline(item_shape(self.encoder or default_encoder(seen), seen), lab)
        size = self._size(_of(found), found.shape)
        size.refuse(self.epochs * len(seen), lab.limits)
        return self._cost(size, (self.rung() or self.epochs) * len(seen))

    def run(self, inputs: Mapping[str, State], lab: Lab) -> State:
        """Raises Infeasible where network, objective, items or limits do not fit."""
        before = inputs["before"]
        if "train" not in before.splits:
            raise ValueError("PretrainItems needs items: put Load before it.")
        seen = before.splits["train"].documents
        model, size = self._begun(before, seen, lab)
        size.refuse(self.epochs * len(seen), lab.limits)
        plan = self._cost(size, (self.rung() or self.epochs) * len(seen))
        start = Progress(0, 0, self.batch_size, 0.0)
        lab.report(start, (Measurement(PLAN, plan.flops, cost=plan),))
        feed = feed_without_labels(model, seen, lab)
        held = feed_without_labels(model, before.splits["validation"].documents, lab)
        given = Given(rng=lab.generator("corrupt"), documents=seen)
        made = train(
            model,
            network=nn.ModuleDict(dict(model.bodies)),
            objective=self.objective,
            optimizer=self.optimizer,
            schedule=self.schedule,
            course=Course(None, self.clip, self.rung(), keep="last"),
            flow=Epochs(feed, self.epochs, self.batch_size),
            judge=lambda parts: self._held(model, parts, held, given, lab),
            given=given,
            lab=lab,
            key=str(lab.seed),
        )
        heads = {**model.heads, **self.objective.heads(made.parts)}
        known = model.lineage
        lineage = Lineage(
            initial=known.initial or str(lab.seed),
            base=known.base,
            data=(*known.data, seen.digest),
            stages=(*(known.stages or (before.digest,)), str(lab.seed)),
            objectives=(*known.objectives, type(self.objective).__name__),
        )
        spent = self._cost(size, made.tokens)
        trained = Measurement("epochs", float(made.rounds), items=made.tokens, cost=spent)
        held_out = replace(made.best, better=None)
        return replace(
            before,
            model=replace(model, heads=heads, lineage=lineage),
            measurements=(*before.measurements, trained, held_out),
            digest="",
        )

    def _begun(self, before: State, seen: Documents, lab: Lab) -> tuple[Model, Size]:
        """A model of its own on the lab's device, and what an item takes."""
        if self.model is None:
            model = begin(None, before, lab, 0)
            if model.tokenizer is not None:
                raise ValueError(
                    "PretrainItems reads no texts, and this model does. Take Pretrain for it."
                )
            return model, self._size(model, feed_without_labels(model, seen, lab).shape)
        prepared = (prepare(self.encoder or default_encoder(seen), seen, lab),)
        shape = feed_without_labels(Model({}, {}, Lineage(""), prepared=prepared), seen, lab).shape
        found = self._outline(shape, lab)
        size = self._size(_of(found), shape)
        model = realise(found, lab.device, lab.seed, prepared=prepared)
        return replace(model, heads={}), size

    def _outline(self, shape: tuple[int, ...], lab: Lab) -> Outline:
        assert self.model is not None
        return outline(self.model, _NoHead(), shape, TASK, lab.meter, "model")

    def _size(self, model: Model, shape: tuple[int, ...]) -> Size:
        """Parameters of the body; FLOPs of an item with all that the objective adds."""
        body = model.bodies["input"]
        device = next((p.device for p in body.parameters()), torch.device("cpu"))
        count = 2  # variances of a batch need more than one
        rows = torch.arange(count, device=device)
        batch = Batch({"input": Stream(torch.zeros(count, *shape, device=device))}, {}, rows)
        given = Given(rng=torch.Generator().manual_seed(0))
        now = Progress(0, 0, self.batch_size, 0.0)
        still = [(part, part.training) for part in body.modules()]
        with torch.random.fork_rng(devices=[]):
            try:
                with device:
                    parts = self.objective.build(model).eval()
                body.eval()
                flops = forward_flops(lambda: self.objective.step(model, parts, batch, now, given))
            except ValueError as error:
                raise Infeasible("objective", str(error)) from error
            finally:
                for part, training in still:
                    part.training = training
        return Size(sum(p.numel() for p in body.parameters()), flops / count)

    def _cost(self, size: Size, items: int) -> Cost:
        return Cost(training_flops(size.flops, items), parameters=size.parameters)

    def _held(
        self, model: Model, parts: nn.Module, feed: Feed, given: Given, lab: Lab
    ) -> Measurement:
        """Mean loss on what is held out, in the same views each time."""
        now = Progress(0, 0, self.batch_size, 1.0)
        total, training = torch.zeros((), device=lab.device), parts.training
        parts.eval()
        with evaluating(model, lab.device, lab.precision):
            rows = torch.arange(len(feed))
            for number, some in enumerate(rows.tensor_split(-(-len(feed) // self.batch_size))):
                given.rng.manual_seed(number)
                loss = self.objective.step(model, parts, feed.batch(some), now, given)
                total += loss.value.float() * len(some)
        parts.train(training)
        return Measurement("held-out loss", float(total) / len(feed), "lower", items=len(feed))


def feed_without_labels(model: Model, documents: Documents, lab: Lab) -> Feed:
    """Items as the model reads them, and nothing else of them."""
    bare = Documents(documents.payload, {}, documents.digest)
    return Feed.of(encode(model.prepared, bare), lab.device)


def _of(found: Outline) -> Model:
    return Model({"input": found.network.body}, {}, Lineage(""))


class _Hidden(nn.Module):
    """Gives the hidden states as they are."""

    def forward(self, outputs: Outputs, batch: Batch | None = None) -> Tensor:
        return outputs.hidden


@dataclass(frozen=True)
class _NoHead(Head):
    """Stands where a body is outlined alone."""

    def build(self, hidden: Tensor, task: Task) -> nn.Module:
        return _Hidden()

    def predict(self, model: Model, batch: Batch, given: Given) -> Predictions:
        raise ValueError("A model that was only pretrained answers nothing: put Adapt after it.")
