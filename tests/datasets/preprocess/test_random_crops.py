"""Random crops against torchvision's, against a slow loop over images, and by their frequencies."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare, ks_2samp
from torch import Tensor
from torchvision.transforms import CenterCrop, RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, resized_crop

from gptfl_datasets.preprocess.random_crops import (
    CentralCrop,
    Crop,
    PaddedCrop,
    ResizedCrop,
    central,
    resized_boxes,
)

NONE = torch.zeros(1, dtype=torch.bool)


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=_rng(9))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 12), (13, 10), (11, 11)])
def test_the_middle_is_torchvisions(height: int, width: int) -> None:
    x = _images(2, 3, height, width)
    assert torch.equal(central(x, 8), CenterCrop(8)(x))


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="7x9 pixels must have 8x8"):
        central(_images(1, 3, 7, 9), 8)
    with pytest.raises(ValueError, match="9x11 pixels with their frames must have 10x10"):
        PaddedCrop(1)(_images(1, 3, 7, 9), 10, NONE, _rng())


@pytest.mark.parametrize("crop", [CentralCrop(), PaddedCrop(2), ResizedCrop()])
def test_mirrored_crops_are_the_same_ones_mirrored(crop: Crop) -> None:
    x = _images(6, 3, 12, 10)
    mirrored = torch.tensor([True, False, True, True, False, False])
    plain = crop(x, 8, torch.zeros(6, dtype=torch.bool), _rng(1))
    found = crop(x, 8, mirrored, _rng(1))
    assert torch.equal(found[mirrored], plain[mirrored].flip(3))
    assert torch.equal(found[~mirrored], plain[~mirrored])


@pytest.mark.parametrize(("pad", "height", "width"), [(4, 32, 32), (0, 36, 33), (3, 34, 32)])
def test_padded_crops_equal_a_loop_over_the_same_draws(pad: int, height: int, width: int) -> None:
    x = _images(9, 3, height, width)
    mirrored = torch.arange(9) % 2 == 0
    found = PaddedCrop(pad)(x, 32, mirrored, _rng(3))
    rng = _rng(3)
    tops = torch.randint(height + 2 * pad - 31, (9, 1), generator=rng)
    lefts = torch.randint(width + 2 * pad - 31, (9, 1), generator=rng)
    for image, top, left, mirror, result in zip(x, tops, lefts, mirrored, found, strict=True):
        framed = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)))
        part = framed[:, int(top) : int(top) + 32, int(left) : int(left) + 32]
        assert np.array_equal(result.numpy(), part[:, :, ::-1] if mirror else part)


def test_each_place_of_a_padded_crop_is_equally_likely() -> None:
    count = 8100
    # The only bright pixel tells where the crop was: at (4, 4) if it was not moved.
    x = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    x[0, 0, 4, 4] = 1
    crops = PaddedCrop(4)(x.expand(count, -1, -1, -1), 9, NONE.expand(count), _rng())
    places = crops.flatten(1).int().argmax(1)
    seen = torch.bincount(places, minlength=81)
    # The frame is 16 wide, so a crop of 9 has 8 x 8 places, at rows and columns 1 to 8.
    assert (seen > 0).sum() == 64
    assert chisquare(seen[seen > 0]).pvalue > 1e-3


def test_a_cifar_image_is_moved_to_all_81_places() -> None:
    x = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    x[0, 0, 16, 16] = 1
    crops = PaddedCrop(4)(x.expand(8100, -1, -1, -1), 32, NONE.expand(8100), _rng())
    seen = torch.bincount(crops.flatten(1).int().argmax(1), minlength=1024).view(32, 32)
    inside = seen[12:21, 12:21]
    assert int(inside.sum()) == 8100
    assert (inside > 0).all()
    assert chisquare(inside.flatten()).pvalue > 1e-3


BOXES = [(0, 0, 20, 24), (3, 5, 11, 9), (0, 14, 20, 10), (12, 7, 8, 17), (19, 23, 1, 1)]


@pytest.mark.parametrize("size", [8, 16, 40])
def test_resized_boxes_are_torchvisions(size: int) -> None:
    x = _images(len(BOXES), 3, 20, 24)
    mirrored = torch.zeros(len(BOXES), dtype=torch.bool)
    found = resized_boxes(x, torch.tensor(BOXES).T, size, mirrored)
    assert found.dtype == torch.float32
    for image, box, result in zip(x, BOXES, found, strict=True):
        square = [size, size]
        bilinear = InterpolationMode.BILINEAR
        oracle = resized_crop(image.float(), *box, square, bilinear, antialias=True)
        torch.testing.assert_close(result, oracle, atol=2e-3, rtol=0)
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        pillow = np.asarray(resized_crop(picture, *box, square, bilinear))
        assert np.abs(result.permute(1, 2, 0).numpy() - pillow).max() < 1.001


def test_a_box_of_the_whole_image_in_its_size_is_the_image() -> None:
    x = _images(2, 3, 32, 32)
    boxes = torch.tensor([[0, 0, 32, 32]] * 2).T
    assert torch.equal(resized_boxes(x, boxes, 32, NONE.expand(2)), x.float())


def _torchvisions_boxes(crop: ResizedCrop, height: int, width: int, count: int) -> Tensor:
    image = torch.zeros(1, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = [
            RandomResizedCrop.get_params(image, list(crop.scale), list(crop.ratio))
            for _ in range(count)
        ]
    return torch.tensor(boxes).T


@pytest.mark.parametrize(
    ("crop", "height", "width"),
    [
        (ResizedCrop(), 32, 32),
        (ResizedCrop(), 224, 256),
        (ResizedCrop(scale=(0.5, 1.0)), 64, 64),
        # Half of these fit in none of ten tries.
        (ResizedCrop(scale=(0.4, 1.0), ratio=(0.9, 1.2)), 20, 50),
    ],
)
def test_boxes_are_distributed_as_torchvisions(crop: ResizedCrop, height: int, width: int) -> None:
    count = 3000
    found = crop.boxes(count, height, width, _rng()).double()
    oracle = _torchvisions_boxes(crop, height, width, count).double()
    assert (found[0] + found[2]).max() <= height
    assert (found[1] + found[3]).max() <= width
    assert found[:2].min() >= 0
    found, oracle = (
        torch.cat([boxes, boxes[2:3] * boxes[3:], boxes[3:] / boxes[2:3]])
        for boxes in (found, oracle)
    )
    names = ("top", "left", "height", "width", "area", "aspect")
    for name, ours, theirs in zip(names, found, oracle, strict=True):
        error = float((ours.var() + theirs.var()).div(count).sqrt())
        assert abs(float(ours.mean() - theirs.mean())) <= 4 * error, name
        assert ks_2samp(ours, theirs, method="asymp").pvalue > 1e-3, name


@pytest.mark.parametrize(("height", "width"), [(10, 100), (90, 10), (10, 12)])
def test_where_nothing_fits_the_largest_middle_box_is_taken(height: int, width: int) -> None:
    # A box of the whole area with an aspect of exactly 1 never fits.
    crop = ResizedCrop(scale=(1.0, 1.0), ratio=(0.999, 1.001))
    oracle = _torchvisions_boxes(crop, height, width, 1)
    assert torch.equal(crop.boxes(3, height, width, _rng()), oracle.expand(-1, 3))


@pytest.mark.parametrize(
    ("scale", "ratio", "named"),
    [
        ((0.0, 1.0), (1.0, 1.0), "scale"),
        ((0.9, 0.5), (1.0, 1.0), "scale"),
        ((0.5, 1.5), (1.0, 1.0), "scale"),
        ((0.5, 1.0), (2.0, 1.0), "ratio"),
        ((0.5, 1.0), (0.0, 1.0), "ratio"),
    ],
)
def test_impossible_settings_are_refused(
    scale: tuple[float, float], ratio: tuple[float, float], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        ResizedCrop(scale, ratio)
