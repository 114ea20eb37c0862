"""The paper's networks: their exact sizes, and the released or published code as oracle."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.architectures._pool import HalvingPool
from gptfl_bench.architectures.network import Network, has_features, models
from gptfl_bench.core import groups as g
from gptfl_bench.engine.networks import Networks

CIFAR, FLOWERS = (3, 32, 32), (3, 224, 224)
SPEECH, SOUND = (101, 128), (501, 128)
CPU = torch.device("cpu")

SIZES: list[tuple[str, tuple[int, ...], int, int, int]] = [
    ("convnet", CIFAR, 10, 320_010, 0),
    ("convnet", CIFAR, 100, 504_420, 0),
    ("convnet", FLOWERS, 102, 10_535_526, 0),
    ("vgg19", CIFAR, 10, 139_611_210, 0),
    ("vgg19", CIFAR, 100, 139_979_940, 0),
    ("vgg19", FLOWERS, 102, 139_988_134, 0),
    ("resnet18", CIFAR, 10, 11_181_642, 9_600 + 20),
    ("resnet18", FLOWERS, 102, 11_228_838, 9_600 + 20),
    ("resnet50", CIFAR, 100, 23_712_932, 53_120 + 53),
    ("conv_gru", SPEECH, 36, 285_028, 0),
    ("conv_gru", SOUND, 50, 286_834, 0),
    # McMahan et al. state their network's size for MNIST.
    ("cnn_mcmahan", (1, 28, 28), 10, 1_663_370, 0),
]
"""Network, sample, classes, trainable scalars, scalars in buffers with counters of batches."""

SHAPES = {
    "cnn_mcmahan": (1, 28, 28),
    "cnn_narrow": (1, 8, 8),
    "cnn_small": (1, 8, 8),
    "cnn_tiny": (1, 8, 8),
    "conv_gru": (13, 128),
    "conv_gru_small": (13, 128),
    "conv_gru_tiny": (13, 128),
    "convnet": CIFAR,
    "convnet_micro": CIFAR,
    "convnet_small": CIFAR,
    "convnet_tiny": CIFAR,
    "linear": (5,),
    "resnet18": CIFAR,
    "resnet50": CIFAR,
    "vgg19": CIFAR,
}
"""A sample of each network; the registry may hold others from elsewhere."""

OURS = [n for n in models.names() if models.get(n).__module__.startswith("gptfl_bench.")]


def make(name: str, shape: tuple[int, ...], classes: int, **settings: Any) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.get(name)(shape, classes, **settings)
    assert isinstance(network, Network)
    return network


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vgg() -> Network:
    """Made once, for it takes seconds and half a gigabyte."""
    return make("vgg19", CIFAR, 10)


@pytest.mark.parametrize(("name", "shape", "classes", "parameters", "buffers"), SIZES)
def test_sizes_are_the_published_ones(
    name: str, shape: tuple[int, ...], classes: int, parameters: int, buffers: int
) -> None:
    # A device without memory: shapes alone.
    with torch.device("meta"):
        network = make(name, shape, classes)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters
    assert sum(b.numel() for b in network.buffers()) == buffers


@pytest.mark.parametrize("name", OURS)
def test_networks_train_in_all_parts_and_split_into_encoder_and_head(
    name: str, request: pytest.FixtureRequest
) -> None:
    shape = SHAPES[name]
    network = request.getfixturevalue("vgg") if name == "vgg19" else make(name, shape, 10)
    assert has_features(network)
    assert network.training
    x = noise(2, *shape)
    with torch.no_grad():
        features = network.eval().encoder(x)
        torch.testing.assert_close(network(x), features @ network.head.weight.T + network.head.bias)
    assert features.ndim == 2
    network.train()
    F.cross_entropy(network(x), torch.tensor([3, 7])).backward()  # type: ignore[no-untyped-call]
    for place, parameter in network.named_parameters():
        assert parameter.grad is not None, place
        assert torch.isfinite(parameter.grad).all(), place
        assert parameter.grad.any() or place.endswith("bias"), place
    network.zero_grad()


def test_convnets_pooling_is_pytorchs_and_so_are_its_gradients() -> None:
    x = noise(3, 5, 8, 7).requires_grad_()
    found = []
    for pool in (HalvingPool(), nn.AvgPool2d(2)):
        pooled = pool(x)
        # Squared, so that the second derivative, which matching gradients needs, is not zero.
        (first,) = torch.autograd.grad((pooled**2).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        found.append((pooled, first, second))
    torch.testing.assert_close(*found)


def test_vgg19_is_torchvisions(vgg: Network) -> None:
    with torch.device("meta"):
        oracle = torchvision.models.vgg19(num_classes=10)
    own = dict(vgg.encoder.state_dict())
    own |= {f"classifier.6.{name}": tensor for name, tensor in vgg.head.state_dict().items()}
    oracle.load_state_dict(own, assign=True)
    x = noise(2, *CIFAR)
    with torch.no_grad():
        torch.testing.assert_close(vgg.eval()(x), oracle.eval()(x), rtol=0, atol=0)
    # Its start: torchvision's for the hidden layers, PyTorch's for the last.
    assert own["classifier.3.weight"].std() == pytest.approx(0.01, rel=0.01)
    assert own["features.34.weight"].std() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert own["classifier.6.weight"].abs().max() <= 4096**-0.5


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_are_torchvisions(name: str) -> None:
    network = make(name, CIFAR, 10)
    oracle = torchvision.models.get_model(name, num_classes=10)
    own = dict(network.encoder.state_dict())
    own |= {f"fc.{name}": tensor for name, tensor in network.head.state_dict().items()}
    oracle.load_state_dict(own)
    x = noise(4, *CIFAR)
    # In training mode, so that statistics of the batch count, and then with what they left behind.
    for train in (True, False):
        network.train(train)
        oracle.train(train)
        with torch.no_grad():
            torch.testing.assert_close(network(x), oracle(x), rtol=0, atol=0)


def test_vgg19_with_batch_normalisation_has_torchvisions_names() -> None:
    with torch.device("meta"):
        oracle = torchvision.models.vgg19_bn()
        encoder = make("vgg19", CIFAR, 10, norm="batch").encoder
    names = {name for name in oracle.state_dict() if not name.startswith("classifier.6.")}
    assert encoder.state_dict().keys() == names


def test_the_small_stem_keeps_small_images_large() -> None:
    with torch.device("meta"):
        for stem, side in (("imagenet", 1), ("small", 4)):
            network = make("resnet18", CIFAR, 10, stem=stem)
            sides: list[int] = []
            network.encoder.get_submodule("layer4").register_forward_hook(
                lambda part, given, out, kept=sides: kept.append(out.shape[-1])
            )
            network(torch.zeros(2, *CIFAR))
            assert sides == [side]


def test_convnet_is_dynafeds() -> None:
    """Its code, transcribed: instance norm with factors and offsets, then ReLU, then average."""
    network = make("convnet", CIFAR, 10)
    # Factors of one and offsets of zero would hide a mistake.
    weights = [1 + 0.1 * noise(*weight.shape) for weight in network.parameters()]
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    x = hidden = noise(3, *CIFAR)
    for first in (0, 4, 8):
        kernel, bias, factor, offset = weights[first : first + 4]
        hidden = F.conv2d(hidden, kernel, bias, stride=1, padding=1)
        hidden = F.instance_norm(hidden, weight=factor, bias=offset)
        hidden = F.avg_pool2d(F.relu(hidden), kernel_size=2, stride=2)
    with torch.no_grad():
        torch.testing.assert_close(
            network(x), F.linear(hidden.flatten(1), *weights[12:]), rtol=1e-3, atol=1e-3
        )


class FedAudio(nn.Module):
    """The released network, transcribed; its dropout is off in evaluation."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(128, 64, 3, padding=1)
        self.conv2 = nn.Conv1d(64, 128, 3, padding=1)
        self.rnn = nn.GRU(128, 128, num_layers=1, batch_first=True, bidirectional=True)
        self.linear1 = nn.Linear(256, 128)
        self.linear2 = nn.Linear(128, classes)

    def forward(self, audio: Tensor) -> Tensor:
        audio = audio.float().permute(0, 2, 1)
        audio = F.max_pool1d(F.relu(self.conv1(audio)), 2)
        audio = F.max_pool1d(F.relu(self.conv2(audio)), 2)
        output, _ = self.rnn(audio.permute(0, 2, 1))
        hidden = F.relu(self.linear1(torch.mean(output, dim=1)))
        logits: Tensor = self.linear2(hidden)
        return logits


@pytest.mark.parametrize("steps", [4, 7, 101])
def test_conv_gru_is_fedaudios(steps: int) -> None:
    network = make("conv_gru", (steps, 128), 36).eval()
    oracle = FedAudio(36)
    # Layers stand in the same order in both.
    for own, other in zip(network.parameters(), oracle.parameters(), strict=True):
        other.data.copy_(own.data)
    x = noise(3, steps, 128)
    with torch.no_grad():
        torch.testing.assert_close(network(x), oracle(x))
        assert network.encoder(x).shape == (3, 128)
        assert not torch.equal(network.train()(x), network(x)), "dropout is at work in training"


@pytest.mark.parametrize(
    ("large", "small"),
    [
        ("convnet", "convnet_small"),
        ("convnet", "convnet_tiny"),
        ("convnet", "convnet_micro"),
        ("conv_gru", "conv_gru_small"),
        ("conv_gru", "conv_gru_tiny"),
        ("cnn_small", "cnn_narrow"),
        ("cnn_small", "cnn_tiny"),
    ],
)
def test_smaller_siblings_have_the_same_head(large: str, small: str) -> None:
    shape = SHAPES[large]
    first, second = make(large, shape, 10), make(small, shape, 10)
    assert first.head.weight.shape == second.head.weight.shape
    ratio = g.scalars(g.trainable(second.encoder)) / g.scalars(g.trainable(first.encoder))
    assert ratio < 0.6


@pytest.mark.parametrize("name", ["conv_gru", "convnet", "resnet18", "cnn_small"])
def test_evaluation_without_a_copy_equals_a_copy(name: str) -> None:
    """A recurrent layer keeps references to weights that are not the ones it is called with."""
    networks = Networks(make(name, SHAPES[name], 10), CPU)
    given = {group: {n: t * 1.1 for n, t in tree.items()} for group, tree in networks.start.items()}
    x = noise(2, *SHAPES[name])
    with torch.no_grad():
        logits = networks.apply(given, x)
        torch.testing.assert_close(logits, networks.new(given).eval()(x))
        assert not torch.allclose(logits, networks.apply(networks.start, x))


KINDS: dict[str, Callable[[nn.Module], bool]] = {
    "none": lambda layer: False,
    "batch": lambda layer: isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d),
    "group": lambda layer: isinstance(layer, nn.GroupNorm) and layer.num_groups == 8,
    "instance": lambda layer: (
        isinstance(layer, nn.GroupNorm) and layer.num_groups == layer.num_channels
    ),
    "layer": lambda layer: isinstance(layer, nn.GroupNorm) and layer.num_groups == 1,
}
LAYERS = {"cnn_small": 2, "convnet": 3, "conv_gru": 2, "vgg19": 16, "resnet18": 20, "resnet50": 53}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("norm", KINDS)
def test_every_network_takes_every_normalisation(name: str, norm: str) -> None:
    shape = (3, 64, 64) if name.startswith("resnet") else SHAPES[name]
    with torch.device("meta"):
        network = make(name, shape, 10, norm=norm)
        assert network(torch.zeros(2, *shape)).shape == (2, 10)
    layers = [m for m in network.modules() if isinstance(m, nn.GroupNorm) or KINDS["batch"](m)]
    assert len(layers) == (0 if norm == "none" else LAYERS[name])
    assert all(KINDS[norm](layer) for layer in layers)


@pytest.mark.parametrize("name", LAYERS)
def test_an_unknown_normalisation_is_named(name: str) -> None:
    wrong = r"^norm='weight' must be one of none, batch, group, instance, layer$"
    with torch.device("meta"), pytest.raises(ValueError, match=wrong):
        make(name, SHAPES[name], 10, norm="weight")


def test_normalisations_are_the_published_ones() -> None:
    def normalised(norm: str) -> Tensor:
        network = make("convnet", (1, 8, 8), 3, width=16, norm=norm)
        layers = next(network.encoder.children()), network.encoder.get_submodule("1")
        return layers[1](layers[0](noise(4, 1, 8, 8)))  # type: ignore[no-any-return]

    maps = normalised("none")
    for norm, over in (
        ("batch", maps.transpose(0, 1).reshape(16, -1)),
        ("instance", maps.reshape(4 * 16, -1)),
        ("layer", maps.reshape(4, -1)),
        ("group", maps.reshape(4 * 8, -1)),
    ):
        expected = (over - over.mean(1, keepdim=True)) / over.var(1, False, keepdim=True).sqrt()
        if norm == "batch":
            expected = expected.reshape(16, 4, 8, 8).transpose(0, 1)
        torch.testing.assert_close(
            normalised(norm), expected.reshape(maps.shape), atol=1e-2, rtol=1e-2
        )


def test_a_single_sample_trains_where_maps_are_one_pixel() -> None:
    """A short last batch of one; its maps have no variance, so statistics stay as they are."""
    network = make("resnet18", CIFAR, 10)
    network(noise(8, *CIFAR))
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network(noise(1, *CIFAR)).sum().backward()
    after = dict(network.named_buffers())
    assert torch.equal(
        after["encoder.layer4.1.bn2.running_var"], before["encoder.layer4.1.bn2.running_var"]
    )
    assert not torch.equal(after["encoder.bn1.running_var"], before["encoder.bn1.running_var"])
    assert all(torch.isfinite(buffer).all() for buffer in after.values())
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("convnet", (3, 7, 8), {}, r"convnet needs images of 8x8 or more, not \(3, 7, 8\)"),
        ("convnet", (101, 128), {}, "convnet needs images"),
        ("convnet", CIFAR, {"depth": 0}, "depth=0 must be 1 or more"),
        ("cnn_small", (1, 3, 9), {}, "cnn_small needs images of 4x4"),
        ("vgg19", (1, 32, 32), {}, "vgg19 needs images of 3 channels and 32x32 or more"),
        ("vgg19", (3, 31, 40), {}, "vgg19 needs images of 3 channels and 32x32 or more"),
        ("resnet18", (1, 32, 32), {}, "resnet18 with .* needs images of 3 channels"),
        ("resnet50", (3, 128), {}, "resnet50 with .* needs images of 3 channels"),
        ("resnet18", CIFAR, {"norm": "instance"}, "norm='instance' .* 33x33 or more"),
        ("resnet18", CIFAR, {"stem": "tiny"}, "stem='tiny' must be one of imagenet, small"),
        ("conv_gru", (3, 128), {}, r"4 steps or more, not \(3, 128\)"),
        ("conv_gru", CIFAR, {}, r"conv_gru needs spectrograms \(time, mel\)"),
    ],
)
def test_samples_a_network_does_not_take_are_named(
    name: str, shape: tuple[int, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, shape, 10, **settings)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 30), (1, 28, 28), (4, 64, 33)])
def test_convnet_takes_any_image_of_eight_pixels_or_more(shape: tuple[int, ...]) -> None:
    """28x28 grey images are padded to 32x32, as in the code of DynaFed."""
    height, width = (32, 32) if shape == (1, 28, 28) else shape[1:]
    network = make("convnet", shape, 3)
    assert network.head.in_features == 128 * (height // 8) * (width // 8)
    assert network(noise(2, *shape)).shape == (2, 3)
