"""Networks that start from a file of torchvision's weights, and files that are refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from gptfl_bench.architectures.network import Network, models
from gptfl_bench.architectures.weights import weights_sha256
from gptfl_bench.core.errors import UsageError

CIFAR = (3, 32, 32)
Tree = dict[str, Tensor]


def make(**settings: Any) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.get("resnet18")(CIFAR, 10, **settings)
    assert isinstance(network, Network)
    return network


@pytest.fixture(scope="module")
def oracle() -> nn.Module:
    """torchvision's network with its 1,000 classes; random weights stand for ImageNet's."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network: nn.Module = torchvision.models.resnet18()
    network(torch.randn(4, *CIFAR))
    return network.eval()


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where torch.hub would keep its files."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def assert_starts_from(network: Network, given: Tree, but: str = "fc.") -> None:
    own = network.encoder.state_dict()
    assert own.keys() >= {name for name in given if not name.startswith("fc.")}
    for name, tensor in given.items():
        if not name.startswith(("fc.", but)):
            assert torch.equal(own[name], tensor), name


def test_imagenets_file_is_the_start_of_all_but_the_head(
    oracle: nn.Module, checkpoints: Path
) -> None:
    torch.save(oracle.state_dict(), checkpoints / "resnet18-f37072fd.pth")
    network = make(weights="imagenet")
    assert_starts_from(network, oracle.state_dict())
    # The same features, therefore, that torchvision's network has before its last layer.
    head = oracle.get_submodule("fc")
    x = torch.randn(2, *CIFAR, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(head(network.eval().encoder(x)), oracle(x))
        assert torch.equal(network.head.weight, make().head.weight), "the seed's, not the file's"


def test_the_small_stem_keeps_its_own_first_layer(oracle: nn.Module, tmp_path: Path) -> None:
    torch.save(oracle.state_dict(), tmp_path / "own.pth")
    network = make(weights=str(tmp_path / "own.pth"), stem="small")
    assert network.encoder.get_parameter("conv1.weight").shape == (64, 3, 3, 3)
    assert_starts_from(network, oracle.state_dict(), but="conv1.")


def test_a_file_may_be_safetensors_and_of_any_number_of_classes(
    oracle: nn.Module, tmp_path: Path
) -> None:
    tensors = {n: t.clone() for n, t in oracle.state_dict().items()}
    tensors |= {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    save_file(tensors, tmp_path / "own.safetensors")
    assert_starts_from(make(weights=str(tmp_path / "own.safetensors")), tensors)


def test_counters_of_batches_may_be_missing(oracle: nn.Module, tmp_path: Path) -> None:
    """Files of torchvision's first years have none."""
    tensors = {n: t for n, t in oracle.state_dict().items() if "num_batches" not in n}
    torch.save(dict(tensors), tmp_path / "old.pth")
    assert_starts_from(make(weights=str(tmp_path / "old.pth")), tensors)


@pytest.mark.parametrize(
    ("model", "settings", "file", "mebibytes"),
    [
        ("resnet18", {}, "resnet18-f37072fd.pth", 45),
        ("resnet50", {"stem": "small"}, "resnet50-0676ba61.pth", 98),
        ("vgg19", {}, "vgg19-dcbb9e9d.pth", 548),
        ("vgg19", {"norm": "batch"}, "vgg19_bn-c79401a0.pth", 548),
    ],
)
def test_a_missing_imagenet_file_is_named_with_size_and_address(
    model: str, settings: dict[str, object], file: str, mebibytes: int, checkpoints: Path
) -> None:
    with torch.device("meta"), pytest.raises(UsageError) as caught:
        models.get(model)(CIFAR, 10, weights="imagenet", **settings)
    sentence = str(caught.value)
    assert sentence.startswith(f"weights='imagenet' needs the file {file} ({mebibytes} MiB) in")
    assert str(checkpoints) in sentence
    assert f"https://download.pytorch.org/models/{file}" in sentence
    with pytest.raises(UsageError, match=f"needs the file {file}"):
        weights_sha256(model, {**settings, "weights": "imagenet"})


def replaced(name: str, tensor: Tensor) -> Callable[[Tree], object]:
    return lambda tensors: {**tensors, name: tensor}


def without(name: str) -> Callable[[Tree], object]:
    return lambda tensors: {n: t for n, t in tensors.items() if n != name}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (without("layer1.0.bn1.weight"), "layer1.0.bn1.weight is missing"),
        (replaced("layer9.weight", torch.zeros(1)), "layer9.weight is unknown"),
        (replaced("bn1.weight", torch.zeros(63)), "bn1.weight has another shape"),
        (replaced("bn1.weight", torch.full((64,), torch.nan)), "bn1.weight is not finite"),
        (lambda tensors: {}, "bn1.bias is missing"),
        (lambda tensors: {"state_dict": tensors}, "are no state dict"),
        (lambda tensors: list(tensors.values()), "are no state dict"),
        (lambda tensors: {1: torch.zeros(1)}, "are no state dict"),
        (lambda tensors: Path("anything"), "can't be read"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(
    change: Callable[[Tree], object], problem: str, oracle: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "own.pth"
    torch.save(change(dict(oracle.state_dict())), path)
    with pytest.raises(UsageError) as caught:
        make(weights=str(path))
    assert f"the weights {path}" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_file_is_one_sentence(
    ending: str, damage: str, oracle: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / f"own.{ending}"
    save: Callable[[Tree, Path], object] = torch.save if ending == "pth" else save_file
    save({n: t.clone() for n, t in oracle.state_dict().items()}, path)
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "noise": bytes(1000)}[damage])
    with pytest.raises(UsageError, match=r"own\.\w+ can't be read \(\w+\); download them again"):
        make(weights=str(path))


@pytest.mark.parametrize("weights", ["nowhere.pth", "imagenett", "", 3])
def test_what_is_no_file_is_one_sentence(weights: object) -> None:
    with pytest.raises(UsageError, match=rf"^weights={weights!r} is no weights file; give 'imag"):
        make(weights=weights)


def test_a_file_of_any_other_kind_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "own.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UsageError, match="no weights file"):
        make(weights=str(tmp_path / "own.pkl"))


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(UsageError, match="more than the 2147483648 allowed"):
        make(weights=str(path))


def test_a_cells_identity_is_what_the_file_holds(tmp_path: Path, checkpoints: Path) -> None:
    first, second = tmp_path / "a.pth", checkpoints / "resnet18-f37072fd.pth"
    first.write_bytes(b"abc")
    second.write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert weights_sha256("resnet18", {"weights": str(first)}) == expected
    assert weights_sha256("resnet18", {"weights": "imagenet", "stem": "small"}) == expected
    first.write_bytes(b"abcd")
    assert weights_sha256("resnet18", {"weights": str(first)}) != expected
    assert weights_sha256("resnet18", {"weights": None}) == ""
    assert weights_sha256("vgg19", {}) == ""
    # Not an argument of this network, which says so when it is made.
    assert weights_sha256("convnet", {"weights": "imagenet"}) == ""
