"""What does a network beside a frozen one keep for the backward pass?

    python benchmarks/unipt.py                # bytes of a step at three lengths, its seconds
    python benchmarks/unipt.py --quick        # bytes alone
    python benchmarks/unipt.py --check --save # exit status 1 where the claim does not hold

MiniLM (6 layers, 384 wide), 32 random texts a step. UniPT of width 41 against low-rank updates of
rank 12 on queries and values: 113,175 and 110,592 numbers. The claim (card 49): UniPT keeps at most
20 % of the bytes, measured by torch's saved-tensors hooks, each storage once, weights not counted.
Where the package with MiniLM's weights is not installed, weights are drawn: bytes are the same.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch
from _compared import arguments, finish
from _text_sets import mini_lm
from _transfer import saved_bytes

from vitruvius.contracts import Adapter, Batch, Given, Layout, Lineage, Model, Stream, Task
from vitruvius.interop.pretrained import PretrainedBody, load_pretrained
from vitruvius.techniques.adapters import FullTuning, LayerMix, LinearProbe, LowRank, UniPT
from vitruvius.techniques.heads import PooledReadout
from vitruvius.train.adapting import attach
from vitruvius.train.building import network_of

ROWS, LENGTHS, MOST = 32, (16, 48, 128), 0.20
OURS, OTHER = "UniPT", "low rank"
METHODS: dict[str, Adapter] = {
    "full tuning": FullTuning(),
    OTHER: LowRank(12),
    OURS: UniPT(41),
    "layer mix": LayerMix(),
    "linear probe": LinearProbe(),
}
REPEATS = 5


def body() -> torch.nn.Module:
    found = mini_lm()
    if found is not None:
        return load_pretrained(str(found)).bodies["input"]
    from transformers import AutoModel, BertConfig

    config = BertConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    return PretrainedBody(AutoModel.from_config(config), packs=True)


def batch(tokens: int) -> Batch:
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (ROWS, tokens), generator=rng)
    places = torch.arange(tokens).expand_as(ids)
    layout = Layout(places, torch.ones_like(ids), packed=False, padded=False)
    return Batch({"input": Stream(ids, layout)}, {"label": torch.arange(ROWS) % 3}, places[:, 0])


def model(adapter: Adapter, seed: int = 0) -> tuple[Model, int]:
    """In training, with a head of three classes; and how many numbers train in the body."""
    torch.manual_seed(seed)
    task = Task("three", "item", ("a", "b", "c"))
    head = PooledReadout("mean", dense=False, dropout=0.0).build(torch.zeros(2, 3, 384), task)
    made = Model({"input": body()}, {"task": head}, Lineage("start"))
    adapted = attach(adapter, made, Given(rng=torch.Generator().manual_seed(seed)))
    network_of(adapted.model).train()
    return adapted.model, adapted.count


def seconds(made: Model, seen: Batch) -> float:
    """Of CPU time: forward and backward of one step."""
    spent = []
    for _ in range(REPEATS):
        began = time.process_time()
        outputs = made.bodies["input"](seen.streams["input"])
        answer = made.heads["task"](outputs, seen)
        torch.nn.functional.cross_entropy(answer, seen.fields["label"]).backward()
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def measure(quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, adapter in METHODS.items():
        made, count = model(adapter)
        kept = {tokens: saved_bytes(made, batch(tokens)) for tokens in LENGTHS}
        found[name] = {"count": count, "bytes": kept}
        if not quick:
            found[name]["seconds"] = seconds(made, batch(48))
    return found


def main() -> int:
    asked = arguments(__doc__)
    found = measure(asked.quick)
    claims = []
    for tokens in LENGTHS:
        share = found[OURS]["bytes"][tokens] / found[OTHER]["bytes"][tokens]
        claim = f"{tokens} tokens: UniPT keeps {share:.1%} of what low-rank updates keep"
        claims.append((f"{claim} (at most {MOST:.0%})", share <= MOST))
    lines = [
        f"MiniLM, {ROWS} texts a step.",
        "",
        "| adapter | numbers | " + " | ".join(f"MB, {t} tokens" for t in LENGTHS) + " | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in found.items():
        kept = " | ".join(f"{entry['bytes'][t] / 1e6:.1f}" for t in LENGTHS)
        spent = entry.get("seconds")
        told = "-" if spent is None else f"{spent:.2f}"
        lines.append(f"| {name} | {entry['count']:,} | {kept} | {told} |")
    return finish("unipt", {"methods": found}, "\n".join(lines), claims, asked)


if __name__ == "__main__":
    sys.exit(main())
