"""A folder of images, one sub-folder per class."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitruvius.contracts import Array, Documents, Json, Task
from vitruvius.data.errors import DataError, listed
from vitruvius.data.loaded import PART_NAMES, Loaded, attributes

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
)  # fmt: skip
LONGEST_SIDE = 64
"""Pixels that the median size is capped to where no size is asked for."""


def open_images(
    folder: Path,
    *,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Loaded:
    """Images as uint8 [N C H W], labelled by the folder they are in; sub-folders of it count too.

    All become one size: ``size``, or the median height and width, capped to 64 pixels. Where the
    first folders are called train, test or the like, they are the split, and classes are in them.
    """
    paths, classes, split = _sorted_by_class(folder)
    found = [_facts(path, folder) for path in paths]
    if size is None:
        height, width = _median_size([f[:2] for f in found])
    else:
        height, width = _given_size(size)
    if channels is None:
        channels = 1 if all(grey for _, _, grey in found) else 3
    if channels not in (1, 3):
        raise DataError(f"channels must be 1 (grey) or 3 (colour); got {channels}.")
    pixels, content = _read_all(paths, folder, (height, width), channels)
    names = sorted(set(classes))
    position = {name: i for i, name in enumerate(names)}
    label = np.array([position[c] for c in classes], np.int64)
    sizes = len({f[:2] for f in found})
    note = f"{len(paths):,} images of {len(names)} classes, {channels} x {height} x {width}"
    note += f" (from {sizes} sizes)." if sizes > 1 or found[0][:2] != (height, width) else "."
    content.update(repr((names, label.tolist(), height, width, channels)).encode())
    if split is not None:
        content.update(split.tobytes())
    return Loaded(
        Documents({"image": pixels}, attributes(label, split=split), content.hexdigest()),
        Task(folder.resolve().name, "item", tuple(names)),
        str(folder),
        "image",
        (note, *_left_out(folder, paths)),
        {"size": [height, width], "channels": channels},
    )


def read_image_inputs(path: Path, like: Json) -> Documents:
    """One image, or all images below a folder, sorted; "source" says which file each one was."""
    paths = list(_images(path)) if path.is_dir() else [path]
    if not paths:
        raise DataError(f"{path} holds no image ({', '.join(SUFFIXES)}). Name another folder.")
    folder = path if path.is_dir() else path.parent
    for image in paths:
        _facts(image, folder)
    pixels, _ = _read_all(paths, folder, tuple(like["size"]), like["channels"])
    names = [str(p.relative_to(folder)) for p in paths]
    return Documents({"image": pixels}, {"source": np.array(names)})


def picture(image: Image.Image, size: tuple[int, int], channels: int) -> Array:
    """One image as uint8 [C H W]: turned as its EXIF says, on white, grey or RGB, resized."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(wide / 257, 0, 255).round().astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(np.clip(np.asarray(image), 0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, colour)
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)


def _sorted_by_class(folder: Path) -> tuple[list[Path], list[str], Array | None]:
    folders = [d for d in _visible(folder) if d.is_dir()]
    if not folders:
        loose = next((p for p in _visible(folder) if _is_image(p)), None)
        if loose is not None:
            raise DataError(
                f"{folder} holds images ({loose.name}) but no folders. "
                "Put them into one folder per class."
            )
        names = [p.name for p in _visible(folder)]
        what = f"holds no image, but {listed(names, 3)}" if names else "is empty"
        raise DataError(
            f"{folder} {what}. Put one folder per class into it, with images inside, "
            "or name one file."
        )
    parts = {d.name.lower(): d for d in folders}
    given = "train" in parts and all(n in PART_NAMES for n in parts) and len(parts) > 1
    roots = [(PART_NAMES[n], d) for n, d in sorted(parts.items())] if given else [(-1, folder)]
    paths: list[Path] = []
    classes: list[str] = []
    split: list[int] = []
    for part, root in roots:
        for of_class in (d for d in _visible(root) if d.is_dir()):
            images = list(_images(of_class))
            if not images:
                raise DataError(
                    f"Class folder {of_class} holds no image. Put images into it, or delete it."
                )
            paths += images
            classes += [of_class.name] * len(images)
            split += [part] * len(images)
    if len(set(classes)) < 2:
        raise DataError(
            f"{folder} has one class only, {listed(sorted(set(classes)))}. "
            "Add a folder for each other class."
        )
    return paths, classes, np.array(split, np.int8) if given else None


def _visible(folder: Path) -> list[Path]:
    try:
        names = sorted(folder.iterdir(), key=lambda p: p.name)
    except OSError as e:
        raise DataError(f"{folder} cannot be read: {e.strerror}. Check its permissions.") from e
    return [p for p in names if not p.name.startswith((".", "__MACOSX"))]


def _images(folder: Path) -> Iterator[Path]:
    for path in _visible(folder):
        if path.is_dir():
            yield from _images(path)
        elif _is_image(path):
            yield path


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _left_out(folder: Path, paths: Sequence[Path]) -> list[str]:
    """A note on files that are no images."""
    known = set(paths)
    others = [
        p for p in folder.rglob("*")
        if p.is_file() and p not in known
        and not any(part.startswith((".", "__MACOSX")) for part in p.relative_to(folder).parts)
    ]  # fmt: skip
    if not others:
        return []
    return [f"{len(others):,} other files are left out, such as {min(others).relative_to(folder)}."]


def _facts(path: Path, folder: Path) -> tuple[int, int, bool]:
    """Height, width, and whether it is grey."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = _opened(path, folder)
    with image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        return height, width, image.mode in ("1", "L", "LA", "La", "I", "F") or "I;16" in image.mode


def _opened(path: Path, folder: Path) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(path)
    except Exception as e:
        raise _unreadable(path, folder, e) from e


def _unreadable(path: Path, folder: Path, cause: Exception) -> DataError:
    why = "it is no image of a known kind" if "cannot identify" in str(cause) else str(cause)
    return DataError(
        f"Image {path.relative_to(folder)} in {folder} cannot be read: {why}. "
        "Replace it, or delete it."
    )


def _read_all(
    paths: Sequence[Path], folder: Path, size: tuple[int, int], channels: int
) -> tuple[Array, Any]:
    def read(path: Path) -> Array:
        with _opened(path, folder) as image:
            try:
                return picture(image, size, channels)
            except Exception as e:  # PIL raises of many kinds on a broken file
                raise _unreadable(path, folder, e) from e

    pixels = np.empty((len(paths), channels, *size), np.uint8)
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("ignore")  # of odd metadata; what cannot be read raises
        for i, made in enumerate(pool.map(read, paths)):
            pixels[i] = made
    return pixels, hashlib.sha256(pixels.tobytes())


def _median_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    height, width = (sorted(s[axis] for s in sizes)[len(sizes) // 2] for axis in (0, 1))
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _given_size(size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(s < 1 for s in pair):
        raise DataError(f"size is the side of a square, or height and width; got {size!r}.")
    return pair[0], pair[1]
