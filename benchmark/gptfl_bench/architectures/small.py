"""Small networks for CPU runs: linear, a small convolutional one, and McMahan's CNN."""

from torch import nn

from gptfl_bench.architectures._norm import Norm, norm_layer
from gptfl_bench.architectures._shape import image_channels
from gptfl_bench.architectures.network import Network, models


@models.register("linear", title="One linear layer on the flattened sample")
def linear(input_shape: tuple[int, ...], num_classes: int) -> Network:
    """Return multinomial logistic regression."""
    return Network(nn.Flatten(), input_shape, num_classes)


@models.register("cnn_small", title="Two 3x3 convolutions and a hidden layer, about 10 k scalars")
def cnn_small(
    input_shape: tuple[int, ...],
    num_classes: int,
    width: int = 16,
    hidden: int = 64,
    norm: Norm = "none",
) -> Network:
    """Return two blocks of convolution, norm, ReLU and 2x2 max-pool, then a hidden layer.

    Raises:
        ValueError: If the sample is no image of at least 4x4.
    """
    channels = image_channels("cnn_small", input_shape, 4)

    def block(inside: int, outside: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1),
            norm_layer(norm, outside),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )

    encoder = nn.Sequential(
        block(channels, width),
        block(width, 2 * width),
        nn.Flatten(),
        nn.LazyLinear(hidden),
        nn.ReLU(),
    )
    return Network(encoder, input_shape, num_classes)


@models.register("cnn_narrow", title="As cnn_small, half as wide, about 6 k scalars")
def cnn_narrow(input_shape: tuple[int, ...], num_classes: int, hidden: int = 64) -> nn.Module:
    """Return ``cnn_small`` with 8 and 16 maps; its head has the same shape."""
    return cnn_small(input_shape, num_classes, width=8, hidden=hidden)


@models.register("cnn_tiny", title="As cnn_small, a quarter as wide, about 3 k scalars")
def cnn_tiny(input_shape: tuple[int, ...], num_classes: int, hidden: int = 64) -> nn.Module:
    """Return ``cnn_small`` with 4 and 8 maps; its head has the same shape."""
    return cnn_small(input_shape, num_classes, width=4, hidden=hidden)


@models.register(
    "cnn_mcmahan",
    title="Two 5x5 convolutions (32, 64) and a 512-unit layer",
    source="McMahan et al., AISTATS 2017, arXiv 1602.05629",
    year=2017,
)
def cnn_mcmahan(input_shape: tuple[int, ...], num_classes: int) -> Network:
    """Return the CNN of the FedAvg paper; 1,663,370 scalars on 28x28 grey images."""
    channels = image_channels("cnn_mcmahan", input_shape, 4)
    encoder = nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LazyLinear(512),
        nn.ReLU(),
    )
    return Network(encoder, input_shape, num_classes)
