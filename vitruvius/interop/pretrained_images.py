"""Image models of transformers as bodies of ours.

Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words: transformers for image recognition
at scale", arXiv:2010.11929; as transformers has them, Wolf et al. 2020, arXiv:1910.03771.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from vitruvius.contracts import Outputs, Stream
from vitruvius.interop.foreign_body import ForeignBody
from vitruvius.interop.foreign_files import PretrainedError

PIXELS = "pixel_values"


class PretrainedImageBody(ForeignBody):
    """From images [B C H W], scaled as the model's own training had them, to hidden [B T d].

    The tokens are those of the model: the class first, then the patches, where it is a ViT. The
    layout of the stream is not read: heads pool over all tokens. The tap of the last layer is
    before the model's last norm.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        accepts = frozenset(inspect.signature(network.forward).parameters)
        config: Any = network.config
        name = type(network).__name__
        side, channels = (getattr(config, n, None) for n in ("image_size", "num_channels"))
        if PIXELS not in accepts or side is None or channels is None:
            raise PretrainedError(
                f"{name} does not say which images it reads (image_size and num_channels in its "
                "config). Take an image model that does, such as ViT or DeiT."
            )
        if "noise" in accepts or hasattr(config, "num_frames"):
            raise PretrainedError(
                f"{name} reads no single image whole: it takes videos, or hides patches at random. "
                "Take an image model such as ViT or DeiT."
            )
        high, wide = (side, side) if isinstance(side, int) else side
        self.shape = (channels, high, wide)
        """Of one image."""

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        images = stream.values
        if tuple(images.shape[1:]) != self.shape or not images.is_floating_point():
            raise ValueError(
                f"{type(self.network).__name__} reads images {[*self.shape]} of real numbers; "
                f"got {[*images.shape[1:]]} of {images.dtype}. Scale or cut them."
            )
        given = {PIXELS: images, "output_hidden_states": bool(taps), "return_dict": True}
        return self._outputs(self.network(**given), taps)


def reads_images(network: nn.Module) -> bool:
    """Whether pixels are the first thing that it reads."""
    return getattr(network, "main_input_name", None) == PIXELS
