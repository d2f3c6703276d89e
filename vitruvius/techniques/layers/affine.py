"""Fully connected layer.

Source: Rosenblatt 1958, "The perceptron"; as a part of spaces Negrinho & Gordon 2017,
"DeepArchitect", arXiv:1704.08792, section 4 (``Affine``).
Differs from the paper: the first weights are PyTorch's, or an initializer's of the pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from vitruvius.contracts import Layer
from vitruvius.space import hyper, one_of
from vitruvius.techniques.layers.shapes import need_positive, written


@dataclass(frozen=True)
class Affine(Layer):
    """y = W x + b, of all that comes in: sequences and images are flattened first.

    width * (in + 1) parameters, 2 * width * in FLOPs.
    """

    width: int = hyper(64, one_of(16, 32, 64, 128, 256), "features that come out")
    bias: bool = hyper(True, one_of(True, False), "whether each feature adds a number of its own")

    def check(self) -> None:
        need_positive(self, "width")

    def build(self, x: Tensor) -> nn.Module:
        if x.dim() < 2:
            raise ValueError(f"Affine needs [B, d] or more axes; got {written(x)}.")
        affine = nn.Linear(prod(x.shape[1:]), self.width, self.bias)
        return affine if x.dim() == 2 else nn.Sequential(nn.Flatten(), affine)
