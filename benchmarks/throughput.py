"""How many tokens per second does masked pretraining read, beside transformers' Trainer?

    python benchmarks/throughput.py                  # a quarter of an hour
    python benchmarks/throughput.py --quick          # bfloat16 alone: a minute of CPU time
    python benchmarks/throughput.py --check --save   # exit status 1 where a claim does not hold

The same encoder on the same texts: BERT's layers (width 256, 4 blocks, norms after the sums,
learned positions, GELU, dropout 0.1, also of attention), output layer tied, float32 weights, AdamW,
clipping at 1, 2,048 tokens a step, 15 % hidden. Texts: paragraphs of the standard library's
modules, cut at 128 tokens; WordPiece with 8,192 tokens. One thread. Three systems, each in a
process of its own, in turns:

- "dynamic padding": transformers' Trainer as it is, with DataCollatorForLanguageModeling; a batch
  has as many paragraphs as hold 2,048 tokens on average, padded to the longest;
- "packed": the same on blocks of 128 tokens of one stream of paragraphs;
- "ours": the stage ``Pretrain`` as it is.

The claims, in float32 and under bfloat16 autocast: ours reads at least 1.5 times the tokens of
"dynamic padding", and at least as many as "packed"; padding is no token. A rate is tokens over CPU
time of the process, which others on the machine hardly disturb; wall time is printed beside it.
FLOPs are those that were executed, counted by PyTorch in one more run; their share of the peak is
of the fastest product of matrices that this machine was seen to do.

With a GPU: BERT-base, rows of 512 tokens that are full, 30,522 tokens in the table, bfloat16
autocast; ours with and without ``torch.compile``, wall time. The claim is twice the tokens of
transformers' BertForMaskedLM.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import circumstances, ended, flags
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vitruvius.contracts import SPECIALS, Documents, Given, Lineage, Model, Progress, State
from vitruvius.data.corpora import open_texts
from vitruvius.data.packing import Concatenated
from vitruvius.data.tokens import Tokens, open_tokens, tokenise
from vitruvius.interop.families import config_of
from vitruvius.pipeline.beginning import begin
from vitruvius.pipeline.keys import Setting
from vitruvius.pipeline.lab import LocalLab
from vitruvius.pipeline.pretraining import Pretrain, held_loss
from vitruvius.techniques.layers import Attention, Block, Encoder, LearnedPositions
from vitruvius.techniques.layers import Tokens as Stem
from vitruvius.techniques.objectives import MaskedTokens
from vitruvius.techniques.optimizers import AdamW
from vitruvius.techniques.schedules import Cosine
from vitruvius.techniques.tokenizers import WordPiece
from vitruvius.train.flows import TokenStream
from vitruvius.train.loop import Course, train
from vitruvius.train.reading import frame_of
from vitruvius.train.text_feeding import TextFeed

RATE = 0.15
DROPOUT = 0.1
LEARNING_RATE = 1e-4
SEED = 0
CLS, SEP = SPECIALS.index("<cls>"), SPECIALS.index("<sep>")
OURS, COMPILED, DYNAMIC, PACKED = "ours", "ours, compiled", "dynamic padding", "packed"


@dataclass(frozen=True)
class Case:
    """What is trained, on what, and how long one measurement goes."""

    device: str
    width: int
    blocks: int
    heads: int
    longest: int
    batch: int
    """Tokens of a step."""
    vocabulary: int
    systems: tuple[str, ...]
    formats: tuple[str, ...]
    claims: tuple[tuple[str, str, float], ...]
    """System, baseline, and how many times its rate."""
    warm: int
    steps: int
    repeats: int


CPU = Case(
    device="cpu",
    width=256,
    blocks=4,
    heads=4,
    longest=128,
    batch=2048,
    vocabulary=8192,
    systems=(OURS, DYNAMIC, PACKED),
    formats=("float32", "bfloat16"),
    claims=((OURS, DYNAMIC, 1.5), (OURS, PACKED, 1.0)),
    warm=2,
    steps=6,
    repeats=5,
)
GPU = Case(
    device="cuda",
    width=768,
    blocks=12,
    heads=12,
    longest=512,
    batch=64 * 512,
    vocabulary=30_522,
    systems=(OURS, COMPILED, PACKED),
    formats=("bfloat16",),
    claims=((COMPILED, PACKED, 2.0),),
    warm=10,
    steps=40,
    repeats=5,
)
QUICK: dict[str, Any] = {"formats": ("bfloat16",), "warm": 1, "steps": 3, "repeats": 2}


@dataclass(frozen=True)
class Took:
    """Of the steps after the first ones: tokens, all slots, seconds, FLOPs if they were counted."""

    tokens: int
    slots: int
    steps: int
    cpu: float
    wall: float
    flops: float = 0.0


class Counter(TorchDispatchMode):
    """FLOPs of all that runs under it, the backward pass included, by PyTorch's formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        made = func(*args, **named)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **named, out_val=made)
        return made


class Clock:
    """Reads time, and FLOPs of a counter, after ``warm`` steps and at the last one."""

    def __init__(self, case: Case, counter: Counter | None) -> None:
        self.case, self.counter = case, counter
        self.marks: list[tuple[float, float, float]] = []
        self.seen: list[int] = []
        """Tokens up to each mark."""

    def after(self, step: int, tokens: int) -> None:
        if step in (self.case.warm, self.case.warm + self.case.steps):
            if self.case.device == "cuda":
                torch.cuda.synchronize()
            flops = 0.0 if self.counter is None else self.counter.flops
            self.marks.append((time.process_time(), time.perf_counter(), flops))
            self.seen.append(tokens)

    def took(self, tokens: int, slots: int) -> Took:
        first, last = self.marks[:2]
        cpu, wall, flops = (b - a for a, b in zip(first, last, strict=True))
        return Took(tokens, slots, self.case.steps, cpu, wall, flops)


def design(case: Case) -> Encoder:
    """Of BERT, as transformers computes it."""
    attention = Attention(case.heads, dropout=DROPOUT)
    block = Block(attention, order="post", dropout=DROPOUT)
    stem = Stem(case.width, dropout=DROPOUT)
    return Encoder(stem, (block,) * case.blocks, LearnedPositions(case.longest), None)


def texts() -> Documents:
    """Paragraphs of the standard library's modules."""
    found: list[str] = []
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if file.stat().st_size:
            opened = open_texts(file, unit="paragraph").documents
            found += [str(text) for text in opened.payload["text"][:]]
    return Documents({"text": np.array(found, np.dtypes.StringDType())}, digest="paragraphs")


def prepare(folder: Path, case: Case) -> dict[str, Any]:
    """A tokenizer and the tokens, in files that all systems open."""
    documents = texts()
    node = WordPiece(case.vocabulary)
    codec = node.build(node.fit(Given(documents=documents)))
    tokens = tokenise(documents, codec, folder / "tokens")
    (folder / "tokenizer.json").write_text(codec.text, encoding="utf-8")
    lengths = tokens.lengths
    return {
        "documents": len(tokens),
        "tokens": int(lengths.sum()),
        "mean length": round(float(lengths.mean()), 1),
        "vocabulary": codec.vocabulary,
    }


class Ours:
    """The stage ``Pretrain``, and on a GPU its loop, with the network compiled or not."""

    def __init__(self, case: Case, system: str, kind: str, folder: Path) -> None:
        from vitruvius.techniques.tokenizers.trained import TrainedCodec

        self.case, self.system = case, system
        self.codec = TrainedCodec((folder / "tokenizer.json").read_text(encoding="utf-8"), False)
        tokens = open_tokens(folder / "tokens")
        held = tokens.take(np.arange(64))
        self.data = {
            "texts": Documents({"text": np.array([""])}, digest="paragraphs"),
            "tokens": Documents({"tokens": tokens}, digest="tokens"),
            "held_tokens": Documents({"tokens": held}, digest="held"),
        }
        self.setting = Setting(SEED, torch.device(case.device), getattr(torch, kind), 1)

    def measure(self, counter: Counter | None = None) -> Took:
        case, slots = self.case, 0
        clock = Clock(case, counter)

        def listen(now: Progress, measured: Sequence[Any]) -> None:
            clock.after(now.step, now.tokens)

        lab = LocalLab(self.setting, listen=listen)
        model = Model({}, {}, Lineage(""), tokenizer=self.codec)
        before = State(model=model, data=self.data)
        tokens = (case.warm + case.steps + 1) * case.batch
        stage = Pretrain(
            model=design(case),
            objective=MaskedTokens(),
            optimizer=AdamW(LEARNING_RATE),
            schedule=Cosine(),
            tokens=tokens,
            batch_tokens=case.batch,
            longest=case.longest,
            rounds=1,
        )
        if case.device == "cpu":
            stage.run({"before": before}, lab)
        else:
            self._on_rows_that_are_full(stage, before, lab, counter is None)
        slots = case.steps * case.batch
        return clock.took(clock.seen[1] - clock.seen[0], slots)

    def _on_rows_that_are_full(
        self, stage: Pretrain, before: State, lab: LocalLab, compiled: bool
    ) -> None:
        """What the stage does, with rows of one width and no padding, as a compiler wants them."""
        model = begin(stage.model, before, lab, stage.longest)
        body = model.bodies["input"]
        if compiled and self.system == COMPILED:
            body.compile()
        tokens: Any = before.data["tokens"].payload["tokens"]
        feed = TextFeed.of(
            tokens,
            stage.longest,
            lab.device,
            packer=Concatenated(),
            frame=frame_of(self.codec),
            full=True,
        )
        given = Given(rng=lab.generator("corrupt"), tokenizer=model.tokenizer)
        horizon = stage.tokens
        assert horizon is not None
        train(
            model,
            network=nn.ModuleDict(dict(model.bodies)),
            objective=stage.objective,
            optimizer=stage.optimizer,
            schedule=stage.schedule,
            course=Course(None, stage.clip, None, keep="last"),
            flow=TokenStream(feed, horizon, stage.batch_tokens, 1),
            judge=lambda parts: held_loss(model, parts, stage.objective, feed, given, lab),
            given=given,
            lab=lab,
            key="throughput",
        )


class Theirs:
    """transformers' Trainer with its defaults."""

    def __init__(self, case: Case, system: str, kind: str, folder: Path) -> None:
        import transformers
        from tokenizers import Tokenizer

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.case, self.kind = case, kind
        names = {"pad", "unk", "cls", "sep", "mask"}
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")),
            **{f"{name}_token": f"<{name}>" for name in names},
        )
        tokens = open_tokens(folder / "tokens")
        made = paragraphs(tokens, case) if system == DYNAMIC else blocks(tokens, case)
        self.rows = list(made)
        mean = statistics.fmean(len(row["input_ids"]) for row in self.rows)
        self.size = max(1, round(case.batch / mean))

    def measure(self, counter: Counter | None = None) -> Took:
        from transformers import (
            BertConfig,
            BertForMaskedLM,
            DataCollatorForLanguageModeling,
            PrinterCallback,
            Trainer,
            TrainerCallback,
            TrainingArguments,
        )

        case, counts = self.case, []
        clock = Clock(case, counter)
        collator = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=RATE)

        def collate(rows: list[dict[str, Any]]) -> Any:
            batch = collator(rows)
            mask = batch["attention_mask"]
            counts.append((int(mask.sum()), mask.numel()))
            return batch

        class Watch(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                clock.after(state.global_step, 0)

        config = dict(config_of(design(case).sized(len(self.tokenizer))))
        config.pop("architectures")
        model = BertForMaskedLM(BertConfig(**config, pad_token_id=SPECIALS.index("<pad>")))
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                use_cpu=case.device == "cpu",
                bf16=self.kind == "bfloat16",
                per_device_train_batch_size=self.size,
                max_steps=case.warm + case.steps,
                learning_rate=LEARNING_RATE,
                weight_decay=0.01,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            )
            trainer = Trainer(
                model,
                arguments,
                data_collator=collate,
                train_dataset=self.rows,  # type: ignore[arg-type]
                callbacks=[Watch()],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        used = counts[case.warm : case.warm + case.steps]
        return clock.took(sum(n for n, _ in used), sum(n for _, n in used))


def paragraphs(tokens: Tokens, case: Case) -> Iterator[dict[str, Any]]:
    """A paragraph in each row, cut at its end."""
    for i in range(len(tokens)):
        inner = tokens.document(i)[: case.longest - 2].tolist()
        yield row([CLS, *inner, SEP])


def blocks(tokens: Tokens, case: Case) -> Iterator[dict[str, Any]]:
    """All paragraphs as one stream, in blocks of equal length; the rest is left out."""
    held: list[int] = []
    for i in range(len(tokens)):
        held += [CLS, *tokens.document(i).tolist(), SEP]
        while len(held) >= case.longest:
            yield row(held[: case.longest])
            held = held[case.longest :]


def row(ids: list[int]) -> dict[str, Any]:
    special = [int(i in (CLS, SEP)) for i in ids]
    return {"input_ids": ids, "special_tokens_mask": special, "attention_mask": [1] * len(ids)}


def serve(pipe: Connection, case: Case, system: str, kind: str, folder: str) -> None:
    """Measure when asked to; to count FLOPs where that is asked for."""
    if case.device == "cpu":
        torch.set_num_threads(1)
    made = (Ours if system in (OURS, COMPILED) else Theirs)(case, system, kind, Path(folder))
    pipe.send(None)
    while (count := pipe.recv()) is not None:
        if not count:
            pipe.send(made.measure())
            continue
        with Counter() as counter:
            pipe.send(made.measure(counter))


def measure(case: Case, folder: str) -> dict[str, list[dict[str, Any]]]:
    """``repeats`` rounds, in each of which all systems take their turn; the last counts FLOPs."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    workers = []
    for kind in case.formats:
        for system in case.systems:
            mine, other = spawn.Pipe()
            given = (other, case, system, kind, folder)
            workers.append(spawn.Process(target=serve, args=given, daemon=True))
            workers[-1].start()
            other.close()
            pipes[f"{kind} {system}"] = mine
    for pipe in pipes.values():
        pipe.recv()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in pipes}
    for number in range(case.repeats + 1):
        for name, pipe in pipes.items():
            pipe.send(number == case.repeats)
            found[name].append(dataclasses.asdict(pipe.recv()))
    for pipe, worker in zip(pipes.values(), workers, strict=True):
        pipe.send(None)
        worker.join()
    return found


def peak(device: str, kind: str) -> float:
    """FLOPs per second of the fastest product of matrices that was seen."""
    best, sizes = 0.0, (2048, 4096) if device == "cpu" else (4096, 8192)
    shapes = [(n, n, n) for n in sizes[:1]] + [(sizes[1], 256, 1024), (sizes[1], 1024, 256)]
    if device == "cuda":
        shapes = [(n, n, n) for n in sizes]
    for rows, inner, out in shapes:
        x = torch.randn(rows, inner, dtype=getattr(torch, kind), device=device)
        w = torch.randn(out, inner, dtype=getattr(torch, kind), device=device)
        took = min(_seconds(lambda x=x, w=w: nn.functional.linear(x, w), device) for _ in range(20))
        best = max(best, 2 * rows * inner * out / took)
    return best


def _seconds(call: Callable[[], Any], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / 10


def rates(case: Case, runs: Sequence[dict[str, Any]], clock: str = "") -> list[float]:
    """Tokens per second of each repeat, without the one that counted FLOPs."""
    clock = clock or ("cpu" if case.device == "cpu" else "wall")
    return [run["tokens"] / run[clock] for run in runs[:-1]]


def claims(case: Case, figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for kind in case.formats:
        for system, baseline, wanted in case.claims:
            found = ratio(case, figures, kind, system, baseline)
            spread = f"{min(found):.2f} to {max(found):.2f}"
            median = statistics.median(found)
            yield (
                f"{kind}: {system} reads at least {wanted} times the tokens of {baseline}: "
                f"{median:.2f} ({spread})",
                median >= wanted,
            )


def ratio(
    case: Case, figures: dict[str, Any], kind: str, system: str, baseline: str
) -> list[float]:
    """Of each round."""
    ours, theirs = (rates(case, figures["runs"][f"{kind} {name}"]) for name in (system, baseline))
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def report(case: Case, figures: dict[str, Any]) -> str:
    lines = [
        "| format | system | tokens/s | of the repeats | tokens/s, wall time | tokens a step | "
        "padding | MFLOP a token | of the peak |",
        "|---" * 9 + "|",
    ]
    for kind in case.formats:
        for system in case.systems:
            runs = figures["runs"][f"{kind} {system}"]
            found, wall = rates(case, runs), rates(case, runs, "wall")
            counted = runs[-1]["flops"] / runs[-1]["tokens"]
            median = statistics.median(found)
            tokens, slots = (sum(run[name] for run in runs) for name in ("tokens", "slots"))
            lines.append(
                f"| {kind} | {system} | {median:,.0f} | {min(found):,.0f} to {max(found):,.0f} | "
                f"{statistics.median(wall):,.0f} | {runs[0]['tokens'] / runs[0]['steps']:,.0f} | "
                f"{1 - tokens / slots:.1%} | {counted / 1e6:,.1f} | "
                f"{median * counted / figures['peak'][kind]:.1%} |"
            )
    lines.append("")
    lines += [f"{'holds' if ok else 'FAILS'}: {claim}" for claim, ok in claims(case, figures)]
    peaks = ", ".join(f"{kind} {flops / 1e9:,.0f}" for kind, flops in figures["peak"].items())
    lines.append(f"\nPeak, GFLOP/s: {peaks}. " + json.dumps(figures["made"]))
    return "\n".join(lines)


def made(case: Case, texts: dict[str, Any]) -> dict[str, Any]:
    """Under what the figures came about."""
    gpu = torch.cuda.get_device_name() if case.device == "cuda" else None
    libraries = ("torch", "transformers", "accelerate", "tokenizers")
    return circumstances(*libraries, seed=SEED, texts=texts, gpu=gpu)


def main() -> int:
    parser = flags(__doc__, "bfloat16 alone, and few steps")
    parser.add_argument("--cpu", action="store_true", help="do not use the GPU")
    given = parser.parse_args()
    case = GPU if torch.cuda.is_available() and not given.cpu else CPU
    if given.quick:
        case = dataclasses.replace(case, **QUICK)
    if case.device == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that measure
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        about = prepare(Path(folder), case)
        figures: dict[str, Any] = {
            "case": dataclasses.asdict(case),
            "made": made(case, about),
            "runs": measure(case, folder),
        }
    figures["peak"] = {kind: peak(case.device, kind) for kind in case.formats}
    name = "throughput" if case.device == "cpu" else "throughput_gpu"
    return ended(name, figures, report(case, figures), claims(case, figures), given)


if __name__ == "__main__":
    sys.exit(main())
