"""Layouts that people have on disk besides the official ones: the same samples, or one sentence."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task

Pack = Callable[[Path, Path, str], Path]
Rows = Iterator[tuple[np.ndarray, int]]


def read(name: str, path: Path, **options: Any) -> Task:
    access = Access(path.parent / "nowhere", path.parent / "cache", download=False)
    return loaders.load(name, {**options, "path": str(path)}, access)


def rows(task: Task, split: str) -> Rows:
    """Yield images (32, 32, 3) with their labels, in stored order."""
    samples = task.train if split == "train" else task.test
    yield from zip(samples.x.numpy().transpose(0, 2, 3, 1), samples.y.tolist(), strict=True)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def same_samples(one: Task, other: Task) -> None:
    assert one.train.checksum() == other.train.checksum()
    assert one.test.checksum() == other.test.checksum()
    assert one.label_names == other.label_names


def binary(task: Task, folder: Path) -> Path:
    """Write a task as CIFAR's binary version."""
    folder.mkdir()
    ten = task.num_classes == 10

    def row(image: np.ndarray, label: int) -> bytes:
        # The coarse label of CIFAR-100 is not read.
        return (b"" if ten else b"\x07") + bytes([label]) + image.transpose(2, 0, 1).tobytes()

    parts = {s: [row(*pair) for pair in rows(task, s)] for s in ("train", "test")}
    if ten:
        size = len(parts["train"]) // 5
        for number in range(5):
            batch = b"".join(parts["train"][number * size :][:size])
            (folder / f"data_batch_{number + 1}.bin").write_bytes(batch)
        (folder / "test_batch.bin").write_bytes(b"".join(parts["test"]))
        names = folder / "batches.meta.txt"
    else:
        for split, made in parts.items():
            (folder / f"{split}.bin").write_bytes(b"".join(made))
        names = folder / "fine_label_names.txt"
    # The owner's file ends with an empty line.
    names.write_text("\n".join(task.label_names) + "\n\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_binary_version_holds_the_python_versions_samples(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, as_tar_gz: Pack
) -> None:
    python = read(name, request.getfixturevalue(f"{name}_tree"))
    folder = binary(python, tmp_path / "bin")
    other = read(name, folder)
    same_samples(other, python)
    assert other.read == "binary version, unpacked tree bin"
    assert "not the official files" in other.note
    packed = as_tar_gz(folder, tmp_path / "packed.tar.gz", "cifar-binary")
    same_samples(read(name, packed), python)


def test_an_archive_of_the_binary_version_under_its_name_must_be_the_owners(
    cifar10_tree: Path, tmp_path: Path, as_tar_gz: Pack
) -> None:
    folder = binary(read("cifar10", cifar10_tree), tmp_path / "bin")
    packed = as_tar_gz(folder, tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin")
    with pytest.raises(UsageError, match="not c32a1d4ab5d03f1284b67883e8d87530 as its owner's"):
        read("cifar10", packed)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("data_batch_2.bin", b"\x00" * 3074, r"no whole rows of 3,073"),
        ("test_batch.bin", b"\x0a" + bytes(3072), r"labels from 0 to 9"),
        ("batches.meta.txt", b"cat\ndog\n", r"names 2 classes"),
    ],
)
def test_a_damaged_binary_file_is_one_sentence(
    file: str, content: bytes, sentence: str, cifar10_tree: Path, tmp_path: Path
) -> None:
    folder = binary(read("cifar10", cifar10_tree), tmp_path / "bin")
    (folder / file).write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        read("cifar10", folder)


@pytest.fixture
def kaggle(cifar10_tree: Path, tmp_path: Path) -> Path:
    """The training images as Kaggle's competition has them: from 1, in no order of classes."""
    task, folder = read("cifar10", cifar10_tree), tmp_path / "cifar-10"
    (folder / "train").mkdir(parents=True)
    (folder / "test").mkdir()
    table = [("id", "label")]
    for number, (image, label) in enumerate(rows(task, "train"), 1):
        (folder / "train" / f"{number}.png").write_bytes(png(image))
        table.append((str(number), task.label_names[label]))
    (folder / "test" / "1.png").write_bytes(png(np.zeros((32, 32, 3), np.uint8)))
    with (folder / "trainLabels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    return folder


def test_kaggles_images_are_read_and_every_fifth_is_for_testing(
    kaggle: Path, cifar10_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official, task = read("cifar10", cifar10_tree), read("cifar10", kaggle)
    assert task.label_names == official.label_names
    held_out = torch.arange(100) % 5 == 0
    assert torch.equal(task.train.x, official.train.x[~held_out])
    assert torch.equal(task.test.x, official.train.x[held_out])
    assert torch.equal(task.test.y, official.train.y[held_out])
    assert "not the official one" in task.note
    assert main(["data", "cifar10", f"data.path={kaggle}", "--cache", str(tmp_path / "c")]) == 0
    assert "read from: Kaggle's cifar-10/train with trainLabels.csv" in capsys.readouterr().out


def test_what_kaggles_table_names_must_be_there(kaggle: Path) -> None:
    (kaggle / "train" / "7.png").unlink()
    with pytest.raises(UsageError, match=r"lacks 'train/7.png' and 0 other"):
        read("cifar10", kaggle)
    (kaggle / "trainLabels.csv").write_text("number,class\n1,cat\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"no columns id and label"):
        read("cifar10", kaggle)


def test_what_7z_packed_is_refused_and_the_official_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    for path in (tmp_path, tmp_path / "train.7z"):
        with pytest.raises(UsageError, match=r"train.7z' is packed by 7z.*cifar-10-python.tar.gz"):
            read("cifar10", path)


def parquet(task: Task, folder: Path, label: str, names: bool = True) -> Path:
    """Write a task as Hugging Face's library does."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder.mkdir()
    features = {"img": {"_type": "Image"}, label: {"names": list(task.label_names)}}
    about = {"huggingface": json.dumps({"info": {"features": features}})} if names else {}
    for split in ("train", "test"):
        pairs = list(rows(task, split))
        table = arrow.table(
            {
                "img": [{"bytes": png(image), "path": None} for image, _ in pairs],
                label: [y for _, y in pairs],
                "coarse_label": [0] * len(pairs),
            }
        ).replace_schema_metadata(about)
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(
    ("name", "label"), [("cifar10", "label"), ("cifar100", "fine_label")], ids=str
)
def test_parquet_holds_the_python_versions_samples(
    name: str, label: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python = read(name, request.getfixturevalue(f"{name}_tree"))
    other = read(name, parquet(python, tmp_path / "plain_text", label).parent / "plain_text")
    same_samples(other, python)
    assert other.read == "Hugging Face's Parquet plain_text"
    assert "not the official files" in other.note


def test_a_damaged_table_is_one_sentence(cifar10_tree: Path, tmp_path: Path) -> None:
    python = read("cifar10", cifar10_tree)
    nameless = parquet(python, tmp_path / "a", "label", names=False)
    with pytest.raises(UsageError, match=r"it names 0 classes instead of 10"):
        read("cifar10", nameless)
    broken = parquet(python, tmp_path / "b", "label")
    file = broken / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"no table of cifar10.*data cifar10 --prepare"):
        read("cifar10", broken)


def test_parquet_without_pyarrow_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for split in ("train", "test"):
        (tmp_path / f"{split}-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"pip install 'gptfl-bench\[parquet\]', or put"):
        read("cifar10", tmp_path)


@pytest.fixture
def by_class(flowers102_tree: Path, tmp_path: Path) -> Path:
    """The images as Udacity packs them: here the official parts, in folders by class number."""
    from scipy.io import loadmat

    tree, folder = flowers102_tree / "flowers-102", tmp_path / "flower_data"
    labels = loadmat(tree / "imagelabels.mat")["labels"][0]
    ids = loadmat(tree / "setid.mat")
    for part, key in (("train", "trnid"), ("valid", "valid"), ("test", "tstid")):
        for number in ids[key][0].tolist():
            target = folder / part / str(labels[number - 1]) / f"image_{number:05}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / "jpg" / target.name, target)
    (folder / "cat_to_name.json").write_text("{}", encoding="utf-8")
    return folder


def pairs(task: Task) -> set[tuple[bytes, int]]:
    images = zip(task.test.x.numpy(), task.test.y.tolist(), strict=True)
    return {(image.tobytes(), label) for image, label in images}


def test_flowers_by_class_number_are_the_same_images_and_classes(
    by_class: Path, flowers102_tree: Path
) -> None:
    official = read("flowers102", flowers102_tree, size=16)
    task = read("flowers102", by_class.parent, size=16)
    assert task.read == "folders by class number flower_data"
    assert "not the official split" in task.note
    assert (len(task.train), len(task.test)) == (102, 204)
    assert pairs(task) == pairs(official)
    assert task.label_names == official.label_names
    assert len(read("flowers102", by_class, size=16, valid="train").train) == 204


def test_flowers_whose_test_images_have_no_class_are_tested_on_valid(by_class: Path) -> None:
    shutil.rmtree(by_class / "test")
    (by_class / "test").mkdir()
    task = read("flowers102", by_class, size=16)
    assert len(task.test) == 102
    assert "valid for testing" in task.note
    with pytest.raises(UsageError, match=r"leave data.valid=train out"):
        read("flowers102", by_class, size=16, valid="train")


def test_kaggles_speech_commands_are_version_1(
    speech_commands_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = speech_commands_tree("v0.01")
    official = read("speech_commands", root, version="v0.01")
    folder = tmp_path / "kaggle" / "train"
    (folder / "audio").mkdir(parents=True)
    for path in (root / "SpeechCommands" / "speech_commands_v0.01").iterdir():
        place = folder / "audio" if path.is_dir() else folder
        shutil.copytree(path, place / path.name) if path.is_dir() else shutil.copy(path, place)
    task = read("speech_commands", folder.parent, version="v0.01")
    assert task.fingerprint == official.fingerprint
    assert task.read == "Kaggle's unpacked tree train"
    with pytest.raises(UsageError, match=r"set data.version=v0.01, or put speech_commands_v0.02"):
        read("speech_commands", folder.parent)


@pytest.mark.parametrize("below", ["audio/audio/44100", "audio/audio"])
def test_kaggles_esc50_is_the_official_one(
    below: str, esc50_tree: Path, tmp_path: Path, as_zip: Pack
) -> None:
    official = read("esc50", esc50_tree)
    tree, folder = esc50_tree / "ESC-50-master", tmp_path / "kaggle"
    shutil.copytree(tree / "audio", folder / below)
    shutil.copytree(tree / "audio", folder / "audio" / "audio" / "16000")
    shutil.copy(tree / "meta" / "esc50.csv", folder)
    for path in (folder, as_zip(folder, tmp_path / "archive.zip", ".")):
        task = read("esc50", path)
        assert task.fingerprint == official.fingerprint
        assert task.read.startswith("Kaggle's ")
    (folder / below / "1-100-A-0.wav").unlink()
    (folder / "audio" / "audio" / "16000" / "1-100-A-0.wav").unlink()
    with pytest.raises(UsageError, match=r"lacks '.*1-100-A-0.wav' and 0 other"):
        read("esc50", folder)
