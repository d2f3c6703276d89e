"""What adapters cost on MiniLM beside each other: bytes kept, FLOPs, seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _text_sets import mini_lm

from vitruvius.contracts import Adapted, Adapter, Given, Layout, Model, Stream
from vitruvius.interop.peft import LoRA
from vitruvius.interop.pretrained import load_pretrained
from vitruvius.techniques.adapters import LowRank, UniPT
from vitruvius.techniques.adapters.low_rank import ATTENTION
from vitruvius.train.adapter_costs import costs_of
from vitruvius.train.adapting import attach

ROWS, LENGTHS, PAIRS = 32, (16, 48, 128), 30
OURS, THEIRS = LowRank(6, sites=ATTENTION), LoRA(6)  # the same maps, the same 110,592 numbers
READER, EQUAL = UniPT(41), LowRank(12)  # 113,175 and 110,592 numbers, on queries and values
Step = Callable[[], float]


def measured(quick: bool) -> dict[str, Any]:
    """By number of tokens: costs of both, and medians of interleaved steps."""
    lengths, pairs = (LENGTHS[:1], 3) if quick else (LENGTHS, PAIRS)
    return {"lengths": {str(n): of_length(n, pairs) for n in lengths}, "pairs": pairs}


def of_length(tokens: int, pairs: int) -> dict[str, Any]:
    stream = texts(tokens)
    ours, theirs = attached(OURS), attached(THEIRS)
    found: dict[str, Any] = {}
    for name, adapted in (("ours", ours), ("peft", theirs)):
        cost = costs_of(adapted, stream)
        found[name] = {"count": cost.numbers, "saved": cost.saved_bytes, "flops": cost.flops}
    found["ours"]["seconds"], found["peft"]["seconds"] = medians(
        training(ours.model, stream), training(theirs.model, stream), pairs
    )
    merged, bare = ours.merge(), base()
    found["merged"], found["bare"] = medians(reading(merged, stream), reading(bare, stream), pairs)
    for name, adapter in (("reader", READER), ("equal", EQUAL)):
        cost = costs_of(attached(adapter), stream)
        found[name] = {"count": cost.numbers, "saved": cost.saved_bytes}
    return found


def texts(tokens: int) -> Stream:
    """Rows of random ids, none of them padded."""
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (ROWS, tokens), generator=rng)
    places = torch.arange(tokens).expand_as(ids)
    return Stream(ids, Layout(places, torch.ones_like(ids), packed=False, padded=False))


def base() -> Model:
    found = mini_lm()
    assert found is not None
    return load_pretrained(str(found))


def attached(adapter: Adapter) -> Adapted:
    """On a model of its own, in training."""
    adapted = attach(adapter, base(), Given(rng=torch.Generator().manual_seed(0)))
    adapted.model.bodies["input"].train()
    return adapted


def training(model: Model, stream: Stream) -> Step:
    """CPU seconds of a forward and a backward pass."""
    body = model.bodies["input"].train()

    def step() -> float:
        body.zero_grad(set_to_none=True)
        began = time.process_time()
        body(stream).hidden.square().mean().backward()
        return time.process_time() - began

    return step


def reading(model: Model, stream: Stream) -> Step:
    """CPU seconds of a forward pass that nothing learns from."""
    body = model.bodies["input"].eval()

    def step() -> float:
        began = time.process_time()
        with torch.inference_mode():
            body(stream)
        return time.process_time() - began

    return step


def medians(one: Step, other: Step, pairs: int) -> tuple[float, float]:
    """Of so many pairs, each in the other order than the one before; both are warm."""
    one(), other()
    first, second = [], []
    for number in range(pairs):
        for step, taken in ((one, first), (other, second))[:: -1 if number % 2 else 1]:
            taken.append(step())
    return statistics.median(first), statistics.median(second)
