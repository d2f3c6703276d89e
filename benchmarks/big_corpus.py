"""Does a corpus larger than memory go through tokenising and packing?

    python benchmarks/big_corpus.py                  # 2 GB: minutes; half an hour with BPE
    python benchmarks/big_corpus.py --quick          # 50 MB: half a minute
    python benchmarks/big_corpus.py --check --save   # exit status 1 where the claim does not hold

The claim: 2 GB of text (4,000 files of 500 kB; repetition with changes of the texts in a folder, or
of the standard library's sources) is opened, tokenised (bytes; BPE with 8,192 tokens), packed into
rows of 512 and read in batches, all of it in a process of its own whose peak memory stays below
1.5 GB; every token arrives once, and no more than 1 % of the slots are padding. Peak memory is what
the system says of that process (``getrusage``), pages of mapped files included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _results import circumstances, ended, flags

SIZES = {"full": 2_000_000_000, "quick": 50_000_000}
LIMIT_BYTES = 1_500_000_000
LEAST_FULL = 0.99
FILE_BYTES = 500_000
DOCUMENT_BYTES = 3_000
CAPACITY = 512
BATCH_ROWS = 128
SEED = 0
TOKENIZERS = ("bytes", "bpe")


def originals(kit: Path | None) -> list[str]:
    """Paragraphs to repeat: of the kit's raw corpora where it is, else of Python's sources."""
    found = []
    if kit is not None:
        from vitruvius.data.corpora import open_texts

        for folder in sorted(kit.glob("corpus_*")):
            found += list(open_texts(folder, unit="paragraph").documents.payload["text"])
    else:
        for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
            found += path.read_text(encoding="utf-8", errors="replace").split("\n\n")
    return [paragraph for paragraph in found if paragraph.strip()]


def write(folder: Path, size: int, paragraphs: list[str]) -> int:
    """Files of JSON lines: paragraphs drawn with changed numbers and swapped words."""
    rng = random.Random(SEED)
    total = documents = 0
    while total < size:
        lines, held = [], 0
        while held < FILE_BYTES:
            text = "\n\n".join(changed(rng, paragraphs))
            documents += 1
            line = json.dumps({"text": text, "id": documents}, ensure_ascii=False) + "\n"
            lines.append(line)
            held += len(line.encode())
        name = folder / f"{total // FILE_BYTES % 100:02}" / f"{total}.jsonl"
        name.parent.mkdir(exist_ok=True)
        name.write_text("".join(lines), encoding="utf-8")
        total += held
    return documents


def changed(rng: random.Random, paragraphs: list[str]) -> Iterator[str]:
    """Paragraphs of one document, of lengths that differ widely."""
    left = rng.lognormvariate(0, 1) * DOCUMENT_BYTES / 1.65
    while left > 0:
        text = rng.choice(paragraphs)
        left -= len(text)
        if rng.random() < 0.5:
            text = re.sub(r"\d", lambda _: str(rng.randrange(10)), text)
        words = text.split(" ")
        if len(words) > 2:
            i, j = rng.randrange(len(words)), rng.randrange(len(words))
            words[i], words[j] = words[j], words[i]
        yield " ".join(words)


def through(corpus: Path, tokenizer: str, cache: Path) -> dict[str, Any]:
    """What the measured process does."""
    import torch

    from vitruvius.contracts import Given
    from vitruvius.data.corpora import open_texts
    from vitruvius.data.packing import Frame, Packed
    from vitruvius.data.tokens import tokenise
    from vitruvius.techniques.tokenizers import BPE, Bytes
    from vitruvius.train.text_feeding import TextFeed

    took: dict[str, float] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        took[name] = time.perf_counter() - started
        started = time.perf_counter()

    loaded = open_texts(corpus, text="text", cache=cache)
    lap("open")
    node = BPE(8192) if tokenizer == "bpe" else Bytes()
    codec = node.build(node.fit(Given(documents=loaded.documents)))
    lap("fit")
    tokens = tokenise(loaded.documents, codec, cache / tokenizer)
    lap("tokenise")
    feed = TextFeed.of(
        tokens, CAPACITY, torch.device("cpu"), packer=Packed(), frame=Frame(before=2, after=3)
    )
    lap("pack")
    generator = torch.Generator().manual_seed(SEED)
    slots = filled = specials = checked = 0
    for batch in feed.shuffled(BATCH_ROWS, generator):
        stream = batch.streams["input"]
        inside = stream.layout.segments > 0
        slots += inside.numel()
        filled += int(inside.sum())
        fixed = stream.layout.fixed
        specials += 0 if fixed is None else int(fixed.sum())
        checked += int(stream.values.sum())
    lap("read")
    expected = int(sum(int(part.sum()) for part in pieces(tokens.ids)))
    parts = len(feed.plan.document)
    return {
        "documents": len(loaded.documents),
        "bytes": int(loaded.documents.payload["text"].sizes.sum()),  # type: ignore[attr-defined]
        "tokens": len(tokens.ids),
        "rows": len(feed),
        "filled": filled / slots,
        "once": filled - specials == len(tokens.ids) and checked - 5 * parts == expected,
        "seconds": took,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def pieces(ids: Any) -> Iterator[Any]:
    for start in range(0, len(ids), 2**20):
        yield ids.part(start, min(start + 2**20, len(ids)))


def measured(corpus: Path, tokenizer: str, cache: Path) -> dict[str, Any]:
    """``through`` in a process of its own, so that its peak is its alone."""
    ran = subprocess.run(
        [sys.executable, __file__, "--through", str(corpus), tokenizer, str(cache)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if ran.returncode:
        raise SystemExit(f"{tokenizer}: {ran.stderr.strip()[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def claims(figures: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    for name in TOKENIZERS:
        of = figures[name]
        yield (
            f"{name}: {of['bytes'] / 1e9:.2f} GB of text under {LIMIT_BYTES / 1e9} GB of memory",
            of["peak_bytes"] < LIMIT_BYTES and of["bytes"] >= 0.9 * figures["size"],
        )
        yield f"{name}: every token once", of["once"]
        yield f"{name}: at least {LEAST_FULL:.0%} of the slots filled", of["filled"] >= LEAST_FULL


def report(figures: dict[str, Any]) -> str:
    lines = [
        "| tokenizer | documents | text, MB | tokens, M | rows | filled | peak, MB | "
        "open, s | fit, s | tokenise, s | pack, s | read, s |",
        "|---" * 12 + "|",
    ]
    for name in TOKENIZERS:
        of = figures[name]
        seconds = " | ".join(f"{value:.1f}" for value in of["seconds"].values())
        lines.append(
            f"| {name} | {of['documents']:,} | {of['bytes'] / 1e6:,.0f} | "
            f"{of['tokens'] / 1e6:,.1f} | {of['rows']:,} | {of['filled']:.4f} | "
            f"{of['peak_bytes'] / 1e6:,.0f} | {seconds} |"
        )
    lines.append("")
    lines += [f"{'holds' if holds else 'FAILS'}: {claim}" for claim, holds in claims(figures)]
    lines.append("\n" + json.dumps(figures["made"]))
    return "\n".join(lines)


def main() -> int:
    parser = flags(__doc__, "50 MB in place of 2 GB")
    parser.add_argument("--kit", type=Path, help="folder with corpus_* folders of texts")
    parser.add_argument("--through", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.through:
        corpus, tokenizer, cache = given.through
        print(json.dumps(through(Path(corpus), tokenizer, Path(cache))))
        return 0
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    kit = given.kit or (beside if beside.is_dir() else None)
    size = SIZES["quick" if given.quick else "full"]
    figures: dict[str, Any] = {
        "size": size,
        "made": circumstances(
            "tokenizers",
            seed=SEED,
            texts="raw corpora of a data kit" if kit else "sources of the standard library",
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        write(corpus, size, originals(kit))
        for name in TOKENIZERS:
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                figures[name] = measured(corpus, name, Path(cache))
    return ended("big_corpus", figures, report(figures), claims(figures), given)


if __name__ == "__main__":
    sys.exit(main())
