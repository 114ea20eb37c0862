"""VGG19 as torchvision has it for ImageNet, whatever the size of the images."""

from torch import nn

from gptfl_bench.architectures._norm import Norm, norm_layer
from gptfl_bench.architectures._shape import image_channels
from gptfl_bench.architectures.network import Network, models
from gptfl_bench.architectures.weights import architecture, load_encoder


@models.register(
    "vgg19",
    title="VGG19 with ImageNet's hidden layers, 140 M scalars",
    source="Simonyan, Zisserman, ICLR 2015, arXiv 1409.1556",
    year=2015,
)
def vgg19(
    input_shape: tuple[int, ...],
    num_classes: int,
    norm: Norm = "none",
    weights: str | None = None,
) -> Network:
    """Return torchvision's VGG19 with another last layer; 139,611,210 scalars for CIFAR-10.

    Its pool to 7x7 and its two layers of 4,096 stay, as in the code of GPT-FL, though CIFAR's
    images give one pixel a map.

    Args:
        input_shape: 3, height and width of an image, 32x32 or more.
        num_classes: Number of classes C.
        norm: Normalisation after each convolution; with ``batch`` it is torchvision's ``vgg19_bn``.
        weights: Start of all layers but the last: ``imagenet`` or a file of torchvision's names.

    Raises:
        ValueError: If the sample is no such image, or ``norm`` unknown.
        UsageError: If ``weights`` are not there, damaged or of another network.
    """
    from torchvision.models import get_model

    image_channels("vgg19", input_shape, 32, channels=3)
    encoder: nn.Module = get_model("vgg19" if norm == "none" else "vgg19_bn")
    # The network with statistics has the places of all normalisations.
    for place, layer in encoder.get_submodule("features").named_children():
        if isinstance(layer, nn.BatchNorm2d):
            encoder.set_submodule(f"features.{place}", norm_layer(norm, layer.num_features))
    encoder.set_submodule("classifier.6", nn.Identity())
    if weights is not None:
        load_encoder(encoder, weights, architecture("vgg19", norm), without=("classifier.6.",))
    return Network(encoder, input_shape, num_classes)
