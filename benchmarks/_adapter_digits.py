"""Every method of one task on the transfer of ``_transfer.py``, at equal numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from _transfer import HEAD, adapt, pretrained, target

from vitruvius.contracts import Adapter, Head, Sites
from vitruvius.interop.peft import LoRA
from vitruvius.interop.peft_methods import AdaLoRA, LoHa, VeRA
from vitruvius.techniques.adapters import (
    DID,
    MAM,
    SAID,
    Aside,
    BitFit,
    Bottleneck,
    FullTuning,
    HeadBottlenecks,
    LayerMix,
    LinearProbe,
    LowRank,
    LowRankSparse,
    Prefix,
    Prompts,
    RandomEntries,
    RandomTensors,
    Recalibrate,
    Together,
    Tucker,
    UniPT,
    Within,
)
from vitruvius.techniques.adapters.bottleneck import ATTENTIONS, FEED_FORWARDS
from vitruvius.techniques.heads import Moments

BUDGET = 2500
FIRST = Sites(("ffn",), depths=(0.0,))
OTHERS = Sites(("ffn",), depths=(0.5, 1.0))
USUAL = (2e-3, 5e-3, 1.5e-2, 4e-2)
HIGH = (1e-2, 3e-2, 1e-1, 3e-1)
LOW = (5e-4, 1e-3, 2e-3, 5e-3)
PROBE, LOW_RANK, PARALLEL, BOTH = "linear probe", "low rank", "parallel bottleneck", "MAM"


@dataclass(frozen=True)
class Method:
    """An adapter, the learning rates it may have, and the head above it."""

    adapter: Adapter
    rates: tuple[float, float, float, float] = USUAL
    head: Head = HEAD


def within(adapter: Adapter) -> Method:
    """In the largest size that the budget allows."""
    return Method(Within(adapter, BUDGET))


BESIDE = {  # of another size than the budget
    PROBE: Method(LinearProbe()),
    "mean of the layers": Method(LayerMix()),
    "moments (MP)": Method(LinearProbe(), head=Moments(4, 8, down="conv1")),
    "BitFit": Method(BitFit()),
    "full tuning": Method(FullTuning(), LOW),
}
METHODS = {
    LOW_RANK: within(LowRank()),
    "low rank and sparse (DSEE)": Method(LowRankSparse(2, 224)),
    "Tucker core": within(Tucker()),
    PARALLEL: within(Bottleneck()),
    "bottlenecks of heads": within(HeadBottlenecks()),
    "serial bottleneck": within(Bottleneck(order="serial", composition="add")),
    # 4 wide behind both is above the budget, 3 wide a fifth below it
    "Houlsby": Method(
        Together(
            (
                Bottleneck(3, "serial", "add", activation="gelu", sites=ATTENTIONS),
                Bottleneck(4, "serial", "add", activation="gelu", sites=FEED_FORWARDS),
            )
        )
    ),
    "prefix": within(Prefix()),
    "prompts of every layer": within(Prompts()),
    BOTH: within(MAM(length=2)),
    "aside of layers": within(Aside()),
    "low rank and aside": Method(Together((LowRank(2), Aside(width=4)))),
    "recalibrated": Method(
        Together((Recalibrate(6, sites=FIRST), Recalibrate(5, sites=OTHERS))),
    ),
    "moments, recalibrated (MP+)": Method(
        Together((Recalibrate(6, sites=FIRST), Recalibrate(5, sites=OTHERS))),
        head=Moments(4, 8, down="conv1"),
    ),
    "UniPT": within(UniPT()),
    "DID": Method(DID(BUDGET), HIGH),
    "SAID": Method(SAID(BUDGET), HIGH),
    "drawn entries (APET)": Method(RandomEntries(BUDGET)),
    "drawn tensors (APET)": Method(RandomTensors(BUDGET)),
    "LoRA of peft": Method(LoRA(2)),
    "AdaLoRA of peft": Method(AdaLoRA(4)),
    "LoHa of peft": Method(LoHa(2)),
    "VeRA of peft": Method(VeRA(368), HIGH),
}
ALL = {**METHODS, **BESIDE}
CLAIMED = (LOW_RANK, PARALLEL, BOTH)


def seeded(adapter: Adapter, seed: int) -> Adapter:
    """What is drawn from a field of its own is drawn anew for each seed."""
    drawn = isinstance(adapter, (RandomEntries, RandomTensors))
    return adapter.replace(seed=seed) if drawn else adapter


def run(name: str, rate: float, seed: int, quick: bool) -> dict[str, Any]:
    """One adaptation; the base and the labels follow from the seed."""
    method = ALL[name]
    adapter = seeded(method.adapter, seed)
    base = pretrained(seed, epochs=10) if quick else pretrained(seed)
    epochs = 10 if quick else 40
    made = adapt(base, adapter, target(seed), rate, seed, epochs, head=method.head)
    return {
        "validation": made.validation,
        "test": made.test,
        "count": made.count,
        "seconds": made.seconds,
        "saved": made.saved,
    }
