"""Random views of images: cut, moved, turned, mirrored, lit, erased in part, and noisy.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations",
arXiv:2002.05709, section 3 and appendix A (crops, flips, colours); erasing from Zhong et al. 2017,
"Random erasing data augmentation", arXiv:1708.04896, section 3.
Differs from the papers: crops keep the shape of the image and a large part of it, one rectangle is
set to the mean, and turns and noise are added, so that images of 8 x 8 pixels keep what they show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vitruvius.contracts import Batch, Stream, View
from vitruvius.space import hyper, one_of, uniform
from vitruvius.techniques.policies import noise

CHANCES = 12  # numbers in [0, 1) that each image gets beside those of its pixels
SMALLEST = 0.1  # side of a crop, as a share: below, nothing is left to see


@dataclass(frozen=True)
class ImageView(View):
    """Each image of the stream "input" [B C H W] through a random affine map, then changed.

    A window of random side and place is seen at the full size, turned, bilinear between pixels, the
    edge going on outside; then x = (1 + a) x + b with a and b in +-contrast, a rectangle becomes 0,
    and normal noise is added. Pixels are in units of their deviation around 0, as ``Pixels`` gives
    them. What happens to an image follows from the seed of the step and its row alone.
    """

    crop: float = hyper(0.8, uniform(0.3, 1.0), "smallest side of the window, as a share")
    shift: float = hyper(0.1, uniform(0.0, 0.25), "largest move beyond that, of a side")
    rotation: float = hyper(10.0, uniform(0.0, 45.0), "largest turn either way, degrees")
    flip: float = hyper(0.0, one_of(0.0, 0.5), "share of images mirrored left to right")
    contrast: float = hyper(0.2, uniform(0.0, 0.5), "largest change of contrast and of brightness")
    erase: float = hyper(0.3, uniform(0.0, 0.6), "largest side of the rectangle, as a share")
    noise: float = hyper(0.15, uniform(0.0, 0.5), "deviation of what each pixel gets")
    strength: float = hyper(1.0, uniform(0.25, 2.0), "factor of all of these but the flips")

    def check(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"ImageView.crop must be above 0 and at most 1; got {self.crop}.")
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"ImageView.{name} must be from 0 to 1; got {getattr(self, name)}."
                )
        for name in ("shift", "rotation", "contrast", "noise", "strength"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"ImageView.{name} must not be negative; got {getattr(self, name)}."
                )

    def view(self, batch: Batch, rng: torch.Generator) -> Batch:
        values = batch.streams["input"].values
        if values.dim() != 4 or not values.is_floating_point():
            raise ValueError(
                f"ImageView needs images [B, C, H, W] of floats; got {list(values.shape)} of "
                f"{values.dtype}. Load images, and prepare them by Pixels()."
            )
        seed = int(torch.randint(2**62, (1,), generator=rng, device=rng.device))
        rows = batch.rows.to(values.device)
        chances = _numbers(seed, rows, CHANCES).to(values.dtype)
        seen = self._moved(values, chances[:, :5])
        seen = self._lit(seen, chances[:, 5:7])
        seen = self._erased(seen, chances[:, 7:11])
        deviation = self.strength * self.noise
        if deviation:
            drawn = _numbers(seed ^ 1, rows, values[0].numel()).to(torch.float32)
            seen = seen + deviation * _normal(drawn).view_as(seen).to(seen.dtype)
        flow = {**batch.streams, "input": Stream(seen)}
        return replace(batch, streams=flow)

    def _moved(
        self, x: Float[Tensor, "B C H W"], chances: Float[Tensor, "B 5"]
    ) -> Float[Tensor, "B C H W"]:
        """Window, turn and mirror in one map from places of the view to places of the image."""
        least = max(SMALLEST, 1 - self.strength * (1 - self.crop))
        side = least + (1 - least) * chances[:, 0]
        angle = (2 * chances[:, 1] - 1) * math.radians(self.strength * self.rotation)
        mirror = 1 - 2 * (chances[:, 2] < self.flip).to(x.dtype)
        room = (1 - side)[:, None] + 2 * self.strength * self.shift  # an image is 2 wide
        place = (2 * chances[:, 3:5] - 1) * room
        tall = x.shape[2] / x.shape[3]
        cos, sin = side * angle.cos(), side * angle.sin()
        across = torch.stack((cos * mirror, -sin * tall, place[:, 0]), 1)
        down = torch.stack((sin * mirror / tall, cos, place[:, 1]), 1)
        grid = torch.nn.functional.affine_grid(
            torch.stack((across, down), 1), list(x.shape), align_corners=False
        )
        return torch.nn.functional.grid_sample(
            x, grid, mode="bilinear", padding_mode="border", align_corners=False
        )

    def _lit(
        self, x: Float[Tensor, "B C H W"], chances: Float[Tensor, "B 2"]
    ) -> Float[Tensor, "B C H W"]:
        most = self.strength * self.contrast
        factor, added = ((2 * chances - 1) * most)[:, :, None, None, None].unbind(1)
        return x * (1 + factor) + added

    def _erased(
        self, x: Float[Tensor, "B C H W"], chances: Float[Tensor, "B 4"]
    ) -> Float[Tensor, "B C H W"]:
        """With a rectangle of 0 that lies within the image."""
        sides = chances[:, :2] * min(1.0, self.strength * self.erase)
        begins = chances[:, 2:] * (1 - sides)
        hit = None
        for axis in (0, 1):
            count = x.shape[2 + axis]
            places = (torch.arange(count, device=x.device, dtype=x.dtype) + 0.5) / count
            begin, side = begins[:, axis, None], sides[:, axis, None]
            inside = (places >= begin) & (places < begin + side)
            inside = inside[:, :, None] if axis == 0 else inside[:, None, :]
            hit = inside if hit is None else hit & inside
        assert hit is not None
        return x.masked_fill(hit[:, None], 0.0)


def _numbers(seed: int, rows: Tensor, count: int) -> Tensor:
    """[B count] in [0, 1), float64, a function of the seed and the row alone."""
    places = torch.arange(count, device=rows.device).expand(len(rows), count)
    return noise.uniform(seed, rows[:, None].expand(len(rows), count), places)


def _normal(chances: Tensor) -> Tensor:
    """Normal numbers from such in [0, 1)."""
    return math.sqrt(2) * torch.erfinv((2 * chances - 1).clamp(-1 + 1e-6, 1 - 1e-6))
