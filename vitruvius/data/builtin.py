"""Data that comes with a library we stand on."""

from __future__ import annotations

import numpy as np

from vitruvius.contracts import Documents, Task
from vitruvius.data.loaded import Loaded


def digits() -> Loaded:
    """1,797 handwritten digits of scikit-learn, uint8 [N 1 8 8], from 0 (paper) to 255 (ink)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    sixteenths: np.ndarray = bunch.images  # type: ignore[attr-defined]
    pixels = np.rint(sixteenths * (255 / 16)).astype(np.uint8)[:, None]
    label = np.asarray(bunch.target, np.int64)  # type: ignore[attr-defined]
    return Loaded(
        Documents({"image": pixels}, {"label": label}),
        Task("digits", "item", tuple(str(d) for d in range(10))),
        "digits",
        "image",
        ("Handwritten digits of scikit-learn: 1,797 images of 8 x 8 pixels, 10 classes.",),
        {"size": [8, 8], "channels": 1},
    )
