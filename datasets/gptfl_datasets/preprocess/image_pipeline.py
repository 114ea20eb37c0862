"""Network input from stored pictures: random crop, flip, normalisation and Cutout of a batch.

The settings are those of GPT-FL's released code. It normalises CIFAR-10 differently in synthetic
training (ImageNet's mean and deviation) and in federated training (CIFAR-10's own);
``normalisation="paper"`` does so, too, ``"one"`` keeps to the federated one.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from gptfl_bench.core.device import bring
from gptfl_bench.core.errors import unknown
from gptfl_datasets.preprocess.random_crops import (
    CentralCrop,
    Crop,
    PaddedCrop,
    ResizedCrop,
    central,
)

Augmentation = Literal["paper", "light", "none"]
Normalisation = Literal["one", "paper"]
Colours = tuple[float, float, float]

CIFAR_MEAN: Colours = (0.4914, 0.4822, 0.4465)
CIFAR_STD: Colours = (0.2470, 0.2435, 0.2616)
"""Of CIFAR-10's training pixels in [0, 1], by channel; the released code has more digits."""

IMAGENET_MEAN: Colours = (0.485, 0.456, 0.406)
IMAGENET_STD: Colours = (0.229, 0.224, 0.225)
"""Of ImageNet's, as torchvision's pre-trained models expect."""

_CIFAR_SIDE = 32
_CUTOUT = 16


@dataclass(frozen=True)
class ImagePipeline:
    """A transform of samples: stored uint8 (b, 3, H, W) to float32 (b, 3, size, size).

    With a generator images are cropped, flipped, scaled to [0, 1], normalised and, by Cutout, set
    to zero in a square; without one the middle is taken and normalised. Augmentations are drawn on
    the CPU and made where the images are, all images of a batch at once.

    Attributes:
        size: Height and width of network input.
        mean: Subtracted from each channel in [0, 1].
        std: Divides each channel after that.
        crop: What part is taken in training.
        flip: Whether left and right are swapped half of the time.
        cutout: Side of Cutout's square, even; 0 for none. As in DeVries and Taylor, arXiv
            1708.04552, and their code its centre is any pixel, so it may reach over the edge, and
            it is zero after normalisation, which is the mean colour.
    """

    size: int
    mean: Colours = IMAGENET_MEAN
    std: Colours = IMAGENET_STD
    crop: Crop = field(default=CentralCrop())
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if self.size < 1:
            raise ValueError(f"size={self.size} must be 1 or more")
        if min(self.std) <= 0:
            raise ValueError(f"std={self.std} must be above 0")
        if self.cutout < 0 or self.cutout % 2:
            raise ValueError(f"cutout={self.cutout} must be an even number, 0 or more")

    def __call__(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return network input, augmented if there is a generator.

        Raises:
            ValueError: If ``x`` is not uint8 or smaller than what is cut from it.
        """
        if x.dtype != torch.uint8:
            raise ValueError(f"stored pictures must be uint8, not {x.dtype}")
        if rng is None:
            return self._normalised(central(x, self.size))
        mirrored = torch.rand(len(x), generator=rng) < 0.5 * self.flip
        images = self._normalised(self.crop(x, self.size, mirrored, rng))
        return self._cut_out(images, rng) if self.cutout else images

    def _normalised(self, images: Tensor) -> Tensor:
        """Return images in [0, 255] as the network sees them, a tensor of their own."""
        mean, std = (
            bring(torch.tensor(values)[:, None, None], images.device)
            for values in (self.mean, self.std)
        )
        return (images.float() / 255).sub_(mean).div_(std)

    def _cut_out(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Set a square of each image to zero, in place."""
        centre = torch.randint(self.size, (2, len(images), 1), generator=rng)
        first = centre - self.cutout // 2
        place = torch.arange(self.size)
        covered = bring((place >= first) & (place < first + self.cutout), images.device)
        square = covered[0, :, None, :, None] & covered[1, :, None, None, :]
        return images.masked_fill_(square, 0.0)


@dataclass(frozen=True)
class Pipelines:
    """The transforms of a data set.

    Attributes:
        train: Of real training samples, by clients.
        synthetic: Of synthetic samples, in pre-training.
        test: Of test samples, after pre-training as well as in federated training.
    """

    train: ImagePipeline
    synthetic: ImagePipeline
    test: ImagePipeline


def cifar_pipelines(
    name: Literal["cifar10", "cifar100"],
    augmentation: Augmentation = "paper",
    normalisation: Normalisation = "one",
) -> Pipelines:
    """Return the transforms of CIFAR-10 or CIFAR-100, stored as uint8 (N, 3, 32, 32).

    With ``"paper"`` clients crop after padding by 4, flip and, for CIFAR-10, cut out a square of
    side 16; of synthetic samples a box of 8 to 100 % is resized, and flipped. With ``"light"`` both
    crop after padding, and flip. With ``"none"`` nothing is augmented.

    The paper's code tests with ImageNet's normalisation during pre-training. Here ``test`` always
    has the federated one, so with ``normalisation="paper"`` a pre-trained model of CIFAR-10 is
    tested on colours that it was not trained on.

    Raises:
        UsageError: If a name is unknown.
    """
    if name not in ("cifar10", "cifar100"):
        raise unknown("CIFAR data set", name, ("cifar10", "cifar100"))
    if normalisation not in get_args(Normalisation):
        raise unknown("normalisation", normalisation, get_args(Normalisation))
    pipelines = folder_pipelines(_CIFAR_SIDE, augmentation)
    if name == "cifar100":
        return pipelines
    train, synthetic, test = (
        replace(pipeline, mean=CIFAR_MEAN, std=CIFAR_STD)
        for pipeline in (pipelines.train, pipelines.synthetic, pipelines.test)
    )
    if augmentation == "paper":
        train = replace(train, cutout=_CUTOUT)
    return Pipelines(train, pipelines.synthetic if normalisation == "paper" else synthetic, test)


def flowers_pipelines(size: int = 224, augmentation: Augmentation = "paper") -> Pipelines:
    """Return the transforms of Flowers102, normalised as ImageNet in both stages.

    With ``"paper"`` a box of 8 to 100 % is resized, and flipped, for clients and synthetic samples
    alike; with ``"light"`` it has 50 % or more; with ``"none"`` nothing is augmented. Tests see the
    middle.

    The paper's code stores nothing: it resizes the shorter side to 256 and takes boxes of 224 out
    of the whole picture. Here they come out of the stored square, 8/7 of ``size`` in the paper.

    Raises:
        UsageError: If ``augmentation`` is unknown.
    """
    crops: dict[Augmentation, Crop] = {
        "paper": ResizedCrop(),
        "light": ResizedCrop(scale=(0.5, 1.0)),
        "none": CentralCrop(),
    }
    if augmentation not in crops:
        raise unknown("augmentation", augmentation, crops)
    train = ImagePipeline(size, crop=crops[augmentation], flip=augmentation != "none")
    return Pipelines(train, train, ImagePipeline(size))


def folder_pipelines(size: int, augmentation: Augmentation = "light") -> Pipelines:
    """Return the transforms of pictures of one's own, normalised as ImageNet.

    With ``"light"`` clients crop after padding by an eighth, and flip, and so it is for synthetic
    samples; with ``"paper"`` of those a box of 8 to 100 % is resized, and flipped, as for
    CIFAR-100; with ``"none"`` nothing is augmented.

    Raises:
        UsageError: If ``augmentation`` is unknown.
    """
    padded = PaddedCrop(size // 8)
    crops: dict[Augmentation, tuple[Crop, Crop]] = {
        "paper": (padded, ResizedCrop()),
        "light": (padded, padded),
        "none": (CentralCrop(), CentralCrop()),
    }
    if augmentation not in crops:
        raise unknown("augmentation", augmentation, crops)
    train, synthetic = (
        ImagePipeline(size, crop=crop, flip=augmentation != "none") for crop in crops[augmentation]
    )
    return Pipelines(train, synthetic, ImagePipeline(size))
