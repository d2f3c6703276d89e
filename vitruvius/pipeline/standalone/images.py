"""Reads images by pillow, the one package that is needed beside torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
)  # fmt: skip


def read_images(path: Path, channels: int, height: int, width: int) -> tuple[Tensor, list[str]]:
    """One image, or all below a folder in order: uint8 [N, channels, height, width], and names."""
    paths = images_below(path) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"{path} holds no image ({', '.join(SUFFIXES)}). Name another folder.")
    root = path if path.is_dir() else path.parent
    pictures = torch.stack([read_image(p, channels, height, width) for p in paths])
    return pictures, [str(p.relative_to(root)) for p in paths]


def images_below(folder: Path) -> list[Path]:
    """Images in a folder and those in it, by name; hidden files are left out."""
    found = []
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.startswith((".", "__MACOSX")):
            continue
        if path.is_dir():
            found += images_below(path)
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
    return found


def read_image(path: Path, channels: int, height: int, width: int) -> Tensor:
    """An image as uint8 [C, H, W]: turned as its EXIF says, on white, grey or RGB, resized."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ValueError("To read image files, install pillow: pip install pillow") from None
    try:
        with Image.open(path) as opened:
            image: Any = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16") or image.mode == "I":
                image = eight_bits(image.convert("I"), torch.int32, 257.0)
            elif image.mode == "F":
                image = eight_bits(image, torch.float32, 1.0)
            if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
                colour = image.convert("RGBA")
                white = Image.new("RGBA", colour.size, (255, 255, 255, 255))
                image = Image.alpha_composite(white, colour)
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
    except Exception as error:  # pillow raises of many kinds on a broken file
        raise ValueError(f"Image {path} cannot be read: {error}. Replace or delete it.") from error
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.reshape(height, width, channels).permute(2, 0, 1)


def eight_bits(image: Any, dtype: torch.dtype, scale: float) -> Any:
    """An image of deeper greys as one of 256."""
    from PIL import Image

    deep = torch.frombuffer(bytearray(image.tobytes()), dtype=dtype).to(torch.float64)
    grey = (deep / scale).clamp(0, 255).round().to(torch.uint8)
    return Image.frombytes("L", image.size, bytes(grey.tolist()))
