"""ResNets as torchvision has them for ImageNet, or with a first layer for small images."""

from functools import partial
from typing import Literal, get_args

from torch import nn

from gptfl_bench.architectures._norm import Norm, norm_layer
from gptfl_bench.architectures._shape import image_channels
from gptfl_bench.architectures.network import Network, models
from gptfl_bench.architectures.weights import load_encoder

Stem = Literal["imagenet", "small"]
SOURCE = "He et al., CVPR 2016, arXiv 1512.03385"


@models.register("resnet18", title="ResNet of 18 layers, 11 M scalars", source=SOURCE, year=2016)
def resnet18(
    input_shape: tuple[int, ...],
    num_classes: int,
    norm: Norm = "batch",
    stem: Stem = "imagenet",
    weights: str | None = None,
) -> Network:
    """Return torchvision's ResNet18 with another last layer; 11,181,642 scalars for CIFAR-10.

    Args:
        input_shape: 3, height and width of an image.
        num_classes: Number of classes C.
        norm: Normalisation after each convolution.
        stem: ``imagenet`` begins with a 7x7 convolution of stride 2 and a pool, as the code of
            GPT-FL does for CIFAR too; ``small`` with a 3x3 convolution alone.
        weights: Start of all layers but the last, and but the first if the stem is ``small``:
            ``imagenet`` or a file of torchvision's names.

    Raises:
        ValueError: If the sample is no such image, or ``norm`` or ``stem`` unknown.
        UsageError: If ``weights`` are not there, damaged or of another network.
    """
    return _resnet("resnet18", input_shape, num_classes, norm, stem, weights)


@models.register("resnet50", title="ResNet of 50 layers, 24 M scalars", source=SOURCE, year=2016)
def resnet50(
    input_shape: tuple[int, ...],
    num_classes: int,
    norm: Norm = "batch",
    stem: Stem = "imagenet",
    weights: str | None = None,
) -> Network:
    """Return torchvision's ResNet50 with another last layer; 23,712,932 scalars for CIFAR-100.

    Arguments and errors are those of :func:`resnet18`.
    """
    return _resnet("resnet50", input_shape, num_classes, norm, stem, weights)


def _resnet(
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    norm: Norm,
    stem: Stem,
    weights: str | None,
) -> Network:
    from torchvision.models import get_model

    if stem not in get_args(Stem):
        raise ValueError(f"stem={stem!r} must be one of {', '.join(get_args(Stem))}")
    # A map of one pixel, normalised alone, would be the same for every sample.
    least = 1 if norm != "instance" else 33 if stem == "imagenet" else 9
    label = f"{name} with norm={norm!r} and stem={stem!r}"
    image_channels(label, input_shape, least, channels=3)
    encoder: nn.Module = get_model(name, norm_layer=partial(norm_layer, norm))
    without = ["fc."]
    if stem == "small":
        first = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        encoder.set_submodule("conv1", first)
        encoder.set_submodule("maxpool", nn.Identity())
        without.append("conv1.")
    encoder.set_submodule("fc", nn.Identity())
    if weights is not None:
        load_encoder(encoder, weights, name, without=tuple(without))
    return Network(encoder, input_shape, num_classes)
