"""Folders of images: any size and mode to one, classes by folder, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitruvius.data import DataError, description, open_data, read_inputs, split


def save(path: Path, colour, size=(10, 8), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for i in range(4):
        save(root / "cat" / f"{i}.png", (250, 0, 0))
        save(root / "dog" / "deep" / "deeper" / f"{i}.PNG", (0, 0, 250), (10, 8 + i))
    return root


def test_classes_sizes_and_order(pets: Path):
    loaded = open_data(pets)
    pixels = loaded.documents.payload["image"]
    assert loaded.medium == "image" and loaded.task.labels == ("cat", "dog")
    assert pixels.shape == (8, 3, 8, 10) and pixels.dtype == np.uint8
    assert loaded.documents.attributes["label"].tolist() == [0] * 4 + [1] * 4
    assert (pixels[:4, 0] == 250).all() and (pixels[:4, 2] == 0).all()
    assert (pixels[4:, 2] == 250).all()
    assert description(loaded) == {
        "medium": "image", "task": "classification", "name": "pets", "classes": ["cat", "dog"],
        "size": [8, 10], "channels": 3,
    }  # fmt: skip
    assert open_data(pets, size=(6, 5), channels=1).documents.payload["image"].shape == (8, 1, 6, 5)


def test_large_images_are_capped_and_keep_their_shape(tmp_path: Path):
    for name in ("a/1.png", "b/1.png"):
        save(tmp_path / name, (1, 2, 3), (400, 200))
    assert description(open_data(tmp_path))["size"] == [32, 64]


def test_every_mode_becomes_bytes(tmp_path: Path):
    root = tmp_path / "modes"
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(_in(root / "a" / "clear.png"))
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(_in(root / "a" / "deep.png"))
    Image.new("1", (4, 4), 1).save(_in(root / "b" / "bits.png"))
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(_in(root / "b" / "ink.jpg"))
    Image.new("P", (4, 4), 0).save(_in(root / "b" / "palette.gif"))
    Image.new("F", (4, 4), 400.0).save(_in(root / "b" / "wide.tif"))
    pixels = open_data(root).documents.payload["image"]
    means = pixels.reshape(6, -1).mean(1)
    assert means[0] == 255  # clear is white
    assert means[1] == 255 and means[2] == 255 and means[5] == 255
    assert means[3] >= 254 and means[4] == 0


def test_grey_images_have_one_channel(tmp_path: Path):
    for name in ("a/1.png", "b/1.png"):
        save(tmp_path / name, 7, mode="L")
    loaded = open_data(tmp_path)
    assert loaded.documents.payload["image"].shape == (2, 1, 8, 10)
    assert (loaded.documents.payload["image"] == 7).all()


def test_images_are_turned_as_they_say(tmp_path: Path):
    pixels = np.zeros((8, 4, 3), np.uint8)
    pixels[:4] = 200
    for name in ("a/1.png", "b/1.png"):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(_in(tmp_path / name), exif=exif)
    turned = open_data(tmp_path).documents.payload["image"][0]
    assert turned.shape == (3, 4, 8)
    assert (turned[:, :, 4:] == 200).all() and (turned[:, :, :4] == 0).all()


def test_hidden_and_other_files_are_left_out(pets: Path):
    (pets / "cat" / ".DS_Store").write_bytes(b"x")
    (pets / ".cache").mkdir()
    (pets / "__MACOSX" / "cat").mkdir(parents=True)
    (pets / "cat" / "notes.txt").write_text("x")
    loaded = open_data(pets)
    assert len(loaded.documents) == 8
    assert any("1 other files are left out, such as cat/notes.txt" in n for n in loaded.notes)


def test_a_given_split_by_folders_is_kept(tmp_path: Path):
    for part, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            for i in range(count):
                save(tmp_path / part / name / f"{i}.png", (i, i, i))
    loaded = open_data(tmp_path)
    assert loaded.task.labels == ("cat", "dog")
    parts = split(loaded, validation=0.25)
    assert len(parts["test"].opened().documents) == 4
    assert (len(parts["train"].documents), len(parts["validation"].documents)) == (6, 2)


def test_the_digest_follows_pixels_and_classes(pets: Path):
    digest = open_data(pets).documents.digest
    assert open_data(pets).documents.digest == digest
    assert open_data(pets, size=5).documents.digest != digest
    (pets / "cat").rename(pets / "cats")
    assert open_data(pets).documents.digest != digest
    save(pets / "cats" / "0.png", (9, 9, 9))


def test_new_images_one_or_many(pets: Path, tmp_path: Path):
    like = description(open_data(pets))
    one = read_inputs(save(tmp_path / "new" / "b.png", (9, 9, 9), (30, 30)), like)
    assert one.payload["image"].shape == (1, 3, 8, 10) and (one.payload["image"][:] == 9).all()
    save(tmp_path / "new" / "a" / "c.png", 5, mode="L")
    many = read_inputs(tmp_path / "new", like)
    assert many.attributes["source"].tolist() == ["b.png", "a/c.png"] or many.attributes[
        "source"
    ].tolist() == ["a/c.png", "b.png"]
    with pytest.raises(DataError, match="holds no image"):
        read_inputs(_in(tmp_path / "none" / "x").parent, like)


def test_an_unreadable_image_is_named(pets: Path):
    (pets / "dog" / "broken.jpg").write_bytes(b"this is no image")
    with pytest.raises(DataError, match=r"Image dog/broken.jpg in .*pets cannot be read: it is no"):
        open_data(pets)
    whole = (pets / "cat" / "0.png").read_bytes()
    (pets / "dog" / "broken.jpg").unlink()
    (pets / "dog" / "torn.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"dog/torn.png"):
        open_data(pets)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pets: Path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(DataError, match=r"cat/0.png .* exceeds limit"):
        open_data(pets)


def test_wrong_folders(tmp_path: Path, pets: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty is empty. Put one folder per class"):
        open_data(empty)
    (empty / ".hidden").write_text("x")
    with pytest.raises(DataError, match=r"empty is empty"):
        open_data(empty)
    (empty / "t.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"holds no image, but 't.csv'"):
        open_data(empty)
    save(empty / "loose.png", (1, 1, 1))
    with pytest.raises(DataError, match=r"holds images \(loose.png\) but no folders"):
        open_data(empty)
    save(empty / "only" / "a.png", (1, 1, 1))
    with pytest.raises(DataError, match=r"one class only, 'only'"):
        open_data(empty)
    (pets / "bird").mkdir()
    with pytest.raises(DataError, match=r"Class folder .*bird holds no image"):
        open_data(pets)
    with pytest.raises(DataError, match=r"no 'pet' in .*Did you mean 'pets'"):
        open_data(tmp_path / "pet")
    (pets / "bird").rmdir()
    with pytest.raises(DataError, match="channels must be 1"):
        open_data(pets, channels=2)
    with pytest.raises(DataError, match=r"size is the side of a square.*got 0"):
        open_data(pets, size=0)


def _in(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
