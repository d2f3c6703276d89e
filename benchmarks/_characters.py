"""The running Python's own standard library as characters."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

CHARACTERS = 2_000_000
HELD = 0.1  # share of the text, at its end, that is only measured on


@dataclass(frozen=True, eq=False)
class Characters:
    """Ids of a text: those to train on, and those that are held out."""

    train: Tensor
    held: Tensor
    vocabulary: int


def standard_library(characters: int = CHARACTERS) -> Characters:
    """Modules in the order of their names, ASCII alone; the same under one version of Python."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text, length = [], 0
    for path in sorted(folder.glob("*.py")):
        read = path.read_text(encoding="utf-8", errors="ignore")
        text.append("".join(c for c in read if c == "\n" or " " <= c <= "~"))
        length += len(text[-1])
        if length >= characters:
            break
    whole = "".join(text)[:characters]
    ids = {c: i for i, c in enumerate(sorted(set(whole)))}
    seen = torch.tensor([ids[c] for c in whole])
    cut = round(len(seen) * (1 - HELD))
    return Characters(seen[:cut], seen[cut:], len(ids))
