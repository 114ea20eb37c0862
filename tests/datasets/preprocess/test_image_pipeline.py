"""Network input from stored pictures, against torchvision, a loop over images and the table."""

import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import CenterCrop, Normalize

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.preprocess.image_pipeline import (
    CIFAR_MEAN,
    CIFAR_STD,
    ImagePipeline,
    Pipelines,
    cifar_pipelines,
    flowers_pipelines,
    folder_pipelines,
)
from gptfl_datasets.preprocess.random_crops import CentralCrop, PaddedCrop, ResizedCrop

CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAPER = cifar_pipelines("cifar10")
ALL = [
    PAPER.train,
    PAPER.synthetic,
    cifar_pipelines("cifar10", "none").train,
    flowers_pipelines(28, "light").train,
]


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(count: int, side: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=_rng(9))


@pytest.mark.parametrize("side", [32, 37])
def test_tests_see_the_middle_as_torchvision_normalises_it(side: int) -> None:
    x = _images(5, side)
    oracle = Normalize(*CIFAR)(CenterCrop(32)(x).float() / 255)
    assert torch.equal(PAPER.test(x), oracle)


@pytest.mark.parametrize("pipeline", ALL)
def test_without_a_generator_nothing_is_augmented(pipeline: ImagePipeline) -> None:
    x = _images(4)
    size = pipeline.size
    expected = Normalize(pipeline.mean, pipeline.std)(CenterCrop(size)(x).float() / 255)
    assert torch.equal(pipeline(x), expected)
    assert torch.equal(pipeline(x, None), expected)


def test_augmentation_none_is_the_same_with_a_generator() -> None:
    x = _images(4, 35)
    for pipelines in (cifar_pipelines("cifar10", "none"), folder_pipelines(32, "none")):
        for pipeline in (pipelines.train, pipelines.synthetic):
            assert torch.equal(pipeline(x, _rng()), pipeline(x))


@pytest.mark.parametrize("pipeline", ALL)
def test_stored_samples_and_global_randomness_stay_as_they_are(pipeline: ImagePipeline) -> None:
    x = _images(4)
    kept, state = x.clone(), torch.get_rng_state()
    found = pipeline(x, _rng(1))
    assert found.shape == (4, 3, pipeline.size, pipeline.size)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert torch.equal(found, pipeline(x, _rng(1)))
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert pipeline(x[:0], _rng()).shape == (0, 3, pipeline.size, pipeline.size)


def test_the_papers_training_transform_equals_a_loop_over_the_same_draws() -> None:
    x = _images(40)
    found = PAPER.train(x, _rng(5))
    rng = _rng(5)
    flips = torch.rand(40, generator=rng) < 0.5
    tops, lefts = (torch.randint(9, (40, 1), generator=rng) for _ in range(2))
    centres = torch.randint(32, (2, 40, 1), generator=rng)
    assert 0 < flips.sum() < 40
    for k in range(40):
        framed = torch.zeros(3, 40, 40)
        framed[:, 4:36, 4:36] = x[k].float() / 255
        top, left = int(tops[k]), int(lefts[k])
        image = framed[:, top : top + 32, left : left + 32]
        image = Normalize(*CIFAR)(image.flip(2) if flips[k] else image)
        row, column = int(centres[0, k]), int(centres[1, k])
        image[:, max(row - 8, 0) : row + 8, max(column - 8, 0) : column + 8] = 0
        assert torch.equal(found[k], image)


def test_half_of_the_images_are_flipped() -> None:
    x = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    x[:, :, :, 0] = 255
    found = ImagePipeline(4, flip=True)(x.expand(8000, -1, -1, -1), _rng())
    flipped = found[:, 0, 0, 3] > found[:, 0, 0, 0]
    # Five standard deviations.
    assert abs(int(flipped.sum()) - 4000) < 5 * 8000**0.5 / 2


def test_cutout_is_a_square_around_any_pixel_and_zero_after_normalisation() -> None:
    white = torch.full((4000, 3, 32, 32), 255, dtype=torch.uint8)
    found = ImagePipeline(32, cutout=16)(white, _rng())
    hidden = found == 0
    assert torch.equal(hidden[:, 0], hidden[:, 2])
    rows, columns = hidden[:, 0].any(2), hidden[:, 0].any(1)
    assert torch.equal(hidden[:, 0], rows[:, :, None] & columns[:, None, :])
    for covered in (rows, columns):
        first = covered.int().argmax(1)
        last = 31 - covered.flip(1).int().argmax(1)
        assert torch.equal(covered.sum(1), last - first + 1)
        # Whole squares have 16; one around pixel 0 keeps rows 0 to 7, one around 31 rows 23 to 31.
        seen = {(int(a), int(b)) for a, b in zip(first, last, strict=True)}
        assert seen == {(max(c - 8, 0), min(c + 7, 31)) for c in range(32)}


def test_resized_crops_of_an_even_colour_keep_it() -> None:
    x = torch.tensor([10, 120, 250], dtype=torch.uint8)[None, :, None, None].expand(5, 3, 40, 40)
    found = flowers_pipelines(28).train(x, _rng())
    expected = flowers_pipelines(28).test(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pipeline", ALL)
def test_augmentations_are_made_where_the_images_are(pipeline: ImagePipeline) -> None:
    # Tensors without content that know which device they would be on; mixing devices raises.
    with FakeTensorMode():
        x = torch.empty(4, 3, 32, 32, dtype=torch.uint8, device="cuda")
        for rng in (None, _rng()):
            found = pipeline(x, rng)
            assert found.device == x.device
            assert found.shape[2] == pipeline.size


def test_pipelines_are_values() -> None:
    again = cifar_pipelines("cifar10")
    assert again == PAPER
    assert hash(again) == hash(PAPER)
    assert pickle.loads(pickle.dumps(PAPER)) == PAPER  # noqa: S301 - bytes of its own
    assert PAPER.train != PAPER.test
    # What a pipeline does is all in its text.
    scope = {kind.__name__: kind for kind in (ImagePipeline, PaddedCrop, ResizedCrop, CentralCrop)}
    for pipeline in ALL:
        assert eval(repr(pipeline), scope) == pipeline  # noqa: S307 - text of its own


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("normalisation", ["one", "paper"])
def test_cifar_as_in_the_paper(name: str, normalisation: str) -> None:
    pipelines = _cifar(name, "paper", normalisation)
    federated = CIFAR if name == "cifar10" else IMAGENET
    synthetic = federated if normalisation == "one" else IMAGENET
    cutout = 16 if name == "cifar10" else 0
    assert pipelines == Pipelines(
        train=ImagePipeline(32, *federated, crop=PaddedCrop(4), flip=True, cutout=cutout),
        synthetic=ImagePipeline(
            32, *synthetic, crop=ResizedCrop((0.08, 1), (3 / 4, 4 / 3)), flip=True
        ),
        test=ImagePipeline(32, *federated),
    )


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_with_less_augmentation(name: str) -> None:
    light, none = _cifar(name, "light", "paper"), _cifar(name, "none", "paper")
    for one, other in ((light.train, none.train), (light.synthetic, none.synthetic)):
        assert one == replace(other, crop=PaddedCrop(4), flip=True)
    assert none.train == none.test == light.test
    assert (none.synthetic.mean, none.synthetic.std) == IMAGENET
    assert (CIFAR_MEAN, CIFAR_STD) == CIFAR


def test_flowers_as_in_the_paper_and_with_less() -> None:
    paper, light, none = (flowers_pipelines(56, how) for how in ("paper", "light", "none"))
    assert paper.test == none.train == none.synthetic == ImagePipeline(56, *IMAGENET)
    assert paper.train == ImagePipeline(56, *IMAGENET, crop=ResizedCrop((0.08, 1)), flip=True)
    assert light.train == replace(paper.train, crop=ResizedCrop((0.5, 1)))
    for pipelines in (paper, light):
        assert pipelines.train == pipelines.synthetic


def test_pictures_of_ones_own_are_padded_by_an_eighth() -> None:
    light = folder_pipelines(64)
    assert light.train == light.synthetic
    assert light.train == ImagePipeline(64, *IMAGENET, crop=PaddedCrop(8), flip=True)
    paper = folder_pipelines(64, "paper")
    assert paper == replace(light, synthetic=replace(light.train, crop=ResizedCrop()))


def _cifar(name: str, augmentation: str, normalisation: str = "one") -> Pipelines:
    return cifar_pipelines(name, augmentation, normalisation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: _cifar("cifar11", "paper"), "unknown CIFAR data set 'cifar11'.*cifar10"),
        (lambda: _cifar("cifar10", "papre"), "unknown augmentation 'papre'.*paper"),
        (lambda: _cifar("cifar10", "none", "two"), "unknown normalisation 'two'.*one, paper"),
        (lambda: flowers_pipelines(8, "lite"), "unknown augmentation 'lite'"),  # type: ignore
        (lambda: folder_pipelines(8, "lite"), "unknown augmentation 'lite'"),  # type: ignore
    ],
)
def test_unknown_names_are_refused(make: Callable[[], Pipelines], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_impossible_settings_and_images_are_refused() -> None:
    with pytest.raises(ValueError, match="size=0"):
        ImagePipeline(0)
    with pytest.raises(ValueError, match="std="):
        ImagePipeline(32, std=(0.2, 0.0, 0.2))
    for side in (-2, 15):
        with pytest.raises(ValueError, match=f"cutout={side}"):
            ImagePipeline(32, cutout=side)
    with pytest.raises(ValueError, match=r"must be uint8, not torch\.float32"):
        PAPER.test(torch.zeros(1, 3, 32, 32))
