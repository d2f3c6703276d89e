"""Views of images: each change by itself, by hand."""

import math

import pytest
import torch

from tests.contracts.tasks import image_batch
from vitruvius.contracts import Batch, Stream
from vitruvius.techniques.views import ImageView

NOTHING = ImageView(crop=1.0, shift=0.0, rotation=0.0, flip=0.0, contrast=0.0, erase=0.0, noise=0.0)


def batch_of(values: torch.Tensor) -> Batch:
    return Batch({"input": Stream(values)}, {}, torch.arange(len(values)))


def seen(view: ImageView, values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return view.view(batch_of(values), rng).streams["input"].values


def images(items: int = 64, shape: tuple[int, ...] = (1, 8, 8)) -> torch.Tensor:
    return image_batch(items, shape).streams["input"].values


def test_without_changes_the_image_is_what_it_was() -> None:
    values = images()
    torch.testing.assert_close(seen(NOTHING, values), values)
    torch.testing.assert_close(seen(ImageView(strength=0.0), values), values)


def test_mirrored_images_are_mirrored_exactly() -> None:
    values = images(shape=(3, 6, 10))
    torch.testing.assert_close(seen(NOTHING.replace(flip=1.0), values), values.flip(3))
    half = seen(NOTHING.replace(flip=0.5), values)
    same = (half - values).abs().flatten(1).amax(1) < 1e-5
    torch.testing.assert_close(half[~same], values.flip(3)[~same])
    assert 16 < same.sum() < 48


def test_a_quarter_turn_is_the_largest_that_was_asked_for() -> None:
    # of a straight edge through the middle the angle can be read off: atan2 of the moments
    side = 32
    across = torch.linspace(-1, 1, side).expand(side, side)[None, None].repeat(64, 1, 1, 1)
    turned = seen(NOTHING.replace(rotation=30.0), across)
    inner = turned[:, 0, 8:24, 8:24]
    by_x = (inner[:, :, 1:] - inner[:, :, :-1]).mean((1, 2))
    by_y = (inner[:, 1:] - inner[:, :-1]).mean((1, 2))
    angle = torch.atan2(by_y, by_x).abs() * 180 / math.pi
    assert angle.max() <= 30.5 and angle.max() > 25 and angle.min() < 5


def test_turns_keep_shapes_where_images_are_not_square() -> None:
    tall, wide = 24, 48
    y, x = torch.meshgrid(torch.arange(tall) - 11.5, torch.arange(wide) - 23.5, indexing="ij")
    disc = torch.exp(-(x**2 + y**2) / 20)[None, None].repeat(16, 1, 1, 1)
    torch.testing.assert_close(seen(NOTHING.replace(rotation=45.0), disc), disc, atol=0.05, rtol=0)


def test_a_window_lies_within_the_image() -> None:
    ramp = torch.linspace(0, 1, 32).expand(32, 32)[None, None].repeat(64, 1, 1, 1)
    widths = seen(NOTHING.replace(crop=0.5), ramp)[:, 0, 16]
    span = (widths[:, -1] - widths[:, 0]) * 31 / 32 / (31 / 32)
    assert span.min() >= 0.45 and span.max() <= 1.0 and span.std() > 0.05
    assert (widths[:, 0] >= 0).all() and (widths[:, -1] <= 1).all()


def test_a_shift_moves_by_no_more_than_its_share() -> None:
    dot = torch.zeros(64, 1, 20, 20)
    dot[:, :, 9:11, 9:11] = 1.0
    moved = seen(NOTHING.replace(shift=0.2), dot)[:, 0]
    at = (moved.sum(1) * (torch.arange(20) + 0.5)).sum(1) / moved.sum((1, 2))
    assert (at - 10).abs().max() <= 4.01 and (at - 10).abs().max() > 3


def test_what_is_erased_is_a_rectangle_of_zeros() -> None:
    ones = torch.ones(200, 2, 16, 16)
    gone = seen(NOTHING.replace(erase=0.5), ones) == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    rows, columns = gone[:, 0].any(2), gone[:, 0].any(1)
    assert torch.equal(gone[:, 0], rows[:, :, None] & columns[:, None])
    assert rows.sum(1).max() <= 9 and 0.04 < gone.float().mean() < 0.09  # 1/4 x 1/4


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    added = seen(NOTHING.replace(noise=0.3), torch.zeros(100, 1, 16, 16))
    assert abs(float(added.std()) - 0.3) < 0.005 and abs(float(added.mean())) < 0.005
    kurtosis = float((added / added.std()).pow(4).mean())
    assert abs(kurtosis - 3) < 0.15
    stronger = seen(NOTHING.replace(noise=0.3, strength=2.0), torch.zeros(100, 1, 16, 16))
    torch.testing.assert_close(stronger, 2 * added)


def test_light_is_one_line_for_all_pixels_of_an_image() -> None:
    values = images()
    lit = seen(NOTHING.replace(contrast=0.4), values)
    for x, y in zip(values.flatten(1), lit.flatten(1), strict=True):
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        torch.testing.assert_close(y, slope * x + (y.mean() - slope * x.mean()), atol=1e-5, rtol=0)
        assert 0.6 <= slope <= 1.4


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ImageView needs images .* got \[3, 5\] of torch\.float"):
        seen(ImageView(), torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"got \[3, 1, 8, 8\] of torch\.uint8"):
        seen(ImageView(), torch.zeros(3, 1, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("field", "value"),
    [("crop", 0.0), ("crop", 1.1), ("flip", -0.1), ("erase", 1.5), ("shift", -0.1),
     ("rotation", -1.0), ("contrast", -0.1), ("noise", -0.1), ("strength", -1.0)],
)  # fmt: skip
def test_fields_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"ImageView\.{field} must .* got {value}"):
        ImageView().replace(**{field: value})
