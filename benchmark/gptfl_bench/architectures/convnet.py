"""ConvNet, the small image network of the literature on data set condensation."""

from torch import nn

from gptfl_bench.architectures._norm import Norm, norm_layer
from gptfl_bench.architectures._pool import HalvingPool
from gptfl_bench.architectures._shape import image_channels
from gptfl_bench.architectures.network import Network, models

SOURCE = "Gidaris, Komodakis, CVPR 2018, arXiv 1804.09458; Pi et al., CVPR 2023, arXiv 2211.10878"


@models.register(
    "convnet", title="Blocks of 3x3 convolution, norm, ReLU and average pool", source=SOURCE
)
def convnet(
    input_shape: tuple[int, ...],
    num_classes: int,
    depth: int = 3,
    width: int = 128,
    first_width: int | None = None,
    norm: Norm = "instance",
) -> Network:
    """Return ConvNet; 320,010 scalars for CIFAR-10, as in the code of DynaFed.

    As there, 28x28 grey images are padded to 32x32.

    Args:
        input_shape: Channels, height and width of an image.
        num_classes: Number of classes C.
        depth: Blocks, 1 or more; each halves height and width.
        width: Maps of the last block, and of all if there is no ``first_width``.
        first_width: Maps of all blocks but the last; the head's shape does not depend on it.
        norm: Normalisation between convolution and ReLU.

    Raises:
        ValueError: If the sample is no image of at least 2**depth pixels a side.
    """
    if depth < 1:
        raise ValueError(f"depth={depth} must be 1 or more")
    inside = image_channels("convnet", input_shape, 2**depth)
    layers: list[nn.Module] = []
    for block in range(depth):
        outside = width if first_width is None or block == depth - 1 else first_width
        padding = 3 if block == 0 and input_shape == (1, 28, 28) else 1
        layers += [
            nn.Conv2d(inside, outside, 3, padding=padding),
            norm_layer(norm, outside),
            nn.ReLU(),
            HalvingPool(),
        ]
        inside = outside
    return Network(nn.Sequential(*layers, nn.Flatten()), input_shape, num_classes)


@models.register("convnet_small", title="As convnet, half as wide in all blocks but the last")
def convnet_small(
    input_shape: tuple[int, ...], num_classes: int, norm: Norm = "instance"
) -> nn.Module:
    """Return ``convnet`` with 64, 64 and 128 maps; its head has the same shape."""
    return convnet(input_shape, num_classes, first_width=64, norm=norm)


@models.register("convnet_tiny", title="As convnet, a quarter as wide in all blocks but the last")
def convnet_tiny(
    input_shape: tuple[int, ...], num_classes: int, norm: Norm = "instance"
) -> nn.Module:
    """Return ``convnet`` with 32, 32 and 128 maps; its head has the same shape."""
    return convnet(input_shape, num_classes, first_width=32, norm=norm)


@models.register("convnet_micro", title="As convnet, an eighth as wide in all blocks but the last")
def convnet_micro(
    input_shape: tuple[int, ...], num_classes: int, norm: Norm = "instance"
) -> nn.Module:
    """Return ``convnet`` with 16, 16 and 128 maps; its head has the same shape."""
    return convnet(input_shape, num_classes, first_width=16, norm=norm)
