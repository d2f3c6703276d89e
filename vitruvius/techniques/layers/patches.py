"""From images to vectors: the stem of networks that read an image as a row of patches.

Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words", arXiv:2010.11929, section 3.1,
equation 1.
Differs from the paper: patches of 4 by default, for small images; positions and class token are
drawn alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts import Stem
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.dropping import dropped
from vitruvius.techniques.layers.shapes import need, need_positive


@dataclass(frozen=True)
class Patches(Stem):
    """x[n] = W patch[n] + b + position[n], patches row by row, a learned class token before them.

    Of an image [C H W] come N = H W / patch^2 tokens, and the class token. width * (C patch^2 + 1)
    parameters, width for each position, and width of the class token. As the tokens know where they
    stand, the network beside it needs no positions: Encoder(Patches(), positions=None).
    """

    width: int = hyper(192, one_of(48, 96, 192, 384, 768), "features of each token")
    patch: int = hyper(4, one_of(2, 4, 8, 16), "pixels of a side of a patch")
    class_token: bool = hyper(True, one_of(True, False), "whether a token of no patch comes first")
    dropout: float = hyper(0.0, one_of(0.0, 0.1), "share dropped of the embeddings")

    def check(self) -> None:
        need_positive(self, "width", "patch")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"Patches.dropout must be at least 0 and below 1; got {self.dropout}.")

    def build(self, x: Tensor) -> nn.Module:
        need(self, x, 4, advice="Texts are read by Tokens.")
        if not x.is_floating_point():
            raise ValueError(f"Patches needs numbers; got {x.dtype}. Texts are read by Tokens.")
        channels, height, width = x.shape[1:]
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"Patches.patch must divide both sides of the image; got {self.patch} for "
                f"{height} x {width}. Take a divisor of both, or pad the images."
            )
        count = (height // self.patch) * (width // self.patch)
        return PatchStem(channels, count, self.patch, self.width, self.class_token, self.dropout)


class PatchStem(nn.Module):
    """Images [B C H W] to x [B T d], with a layout of one whole document in each row."""

    parameter_kinds: ClassVar = {"positions": "embedding", "first": "prompt"}

    def __init__(
        self, channels: int, count: int, patch: int, width: int, class_token: bool, dropout: float
    ) -> None:
        super().__init__()
        self.channels, self.count, self.patch, self.width = channels, count, patch, width
        self.class_token, self.dropout = class_token, dropout
        self.normed = False
        self.pixels = nn.Linear(channels * patch * patch, width)
        self.first = nn.Parameter(torch.empty(1, width)) if class_token else None
        self.positions = nn.Parameter(torch.empty(count + class_token, width))
        self.reset_parameters()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image that it can read: its patches one below the other."""
        return self.channels, self.count * self.patch, self.patch

    def reset_parameters(self) -> None:
        nn.init.normal_(self.positions, std=0.02)
        if self.first is not None:
            nn.init.normal_(self.first, std=0.02)

    def forward(self, values: Tensor, layout: Any) -> tuple[Tensor, Any]:
        cut = values.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        x = self.pixels(cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
        if self.first is not None:
            x = torch.cat((self.first.expand(len(x), 1, -1), x), 1)
        x = dropped(x + self.positions, self.dropout, self.training)
        ones = torch.ones(x.shape[:2], dtype=torch.long, device=x.device)
        places = torch.arange(x.shape[1], device=x.device).expand_as(ones)
        layout = replace(
            layout,
            positions=places,
            segments=ones,
            words=None,
            fixed=None,
            kept=None,
            packed=False,
            padded=False,
        )
        return x, layout
