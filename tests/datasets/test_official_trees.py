"""Small generated data sets that lie on disk as the official ones, against the usual readers."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task
from gptfl_datasets.files.class_folders import IMAGES, class_files
from gptfl_datasets.files.find import Layout
from gptfl_datasets.files.tree import open_tree
from gptfl_datasets.preprocess.audio_features import features
from gptfl_datasets.tasks import cifar, esc50, flowers102, speech_commands

Pack = Callable[[Path, Path, str], Path]
Vouch = Callable[[Layout, Path], None]


def read(name: str, data: Path, **options: object) -> Task:
    """Load a data set that lies in ``data/<name>`` or where ``path`` says."""
    return loaders.load(name, options, Access(data, data / "cache", download=False))


def stored(task: Task, split: str) -> np.ndarray:
    """Return stored images as (N, H, W, 3)."""
    return (task.train if split == "train" else task.test).x.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_batches_are_read_as_torchvision_reads_them(
    name: str, request: pytest.FixtureRequest, trust_any_checksum: None
) -> None:
    from torchvision import datasets

    root = request.getfixturevalue(f"{name}_tree")
    task = read(name, root.parent)
    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    for split in ("train", "test"):
        expected = kind(root, train=split == "train")
        np.testing.assert_array_equal(stored(task, split), expected.data)
        labels = (task.train if split == "train" else task.test).y
        assert labels.tolist() == expected.targets
    assert list(task.label_names) == expected.classes
    assert (
        task.read
        == f"unpacked tree {'cifar-10-batches-py' if name == 'cifar10' else 'cifar-100-python'}"
    )
    assert "not the official files" in task.note


def test_recorded_checksums_are_those_that_torchvision_and_torchaudio_know() -> None:
    from torchaudio.datasets.speechcommands import _CHECKSUMS
    from torchvision import datasets

    for batches, kind in ((cifar.CIFAR10, datasets.CIFAR10), (cifar.CIFAR100, datasets.CIFAR100)):
        remote = batches.layout.files[kind.filename]
        assert (remote.url, remote.md5) == (kind.url, kind.tgz_md5)
        known = dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])])
        assert batches.md5 == known
    flowers = datasets.Flowers102
    for name, md5 in flowers._file_dict.values():
        remote = flowers102.LAYOUT.files[name]
        assert (remote.url, remote.md5) == (flowers._download_url_prefix + name, md5)
    for version in ("v0.01", "v0.02"):
        name = f"speech_commands_{version}.tar.gz"
        known = {url.rpartition("/")[2]: sha256 for url, sha256 in _CHECKSUMS.items()}
        assert speech_commands.layout(version).files[name].sha256 == known[name]


@pytest.fixture
def vouch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Layout, Path], None]:
    """Return what makes a file the official one of a layout."""

    def make(layout: Layout, path: Path) -> None:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        official = replace(layout.files[path.name], nbytes=0, sha256=sha256)
        monkeypatch.setitem(layout.files, path.name, official)

    return make


def test_an_archive_gives_what_its_tree_gives_and_is_not_unpacked(
    cifar100_tree: Path, tmp_path: Path, as_tar_gz: Pack, vouch: Vouch
) -> None:
    top = "cifar-100-python"
    tree = read("cifar100", tmp_path)
    packed = as_tar_gz(cifar100_tree / top, tmp_path / f"{top}.tar.gz", top)
    vouch(cifar.CIFAR100.layout, packed)
    archive = read("cifar100", tmp_path, path=str(packed))
    assert archive.read == "official archive cifar-100-python.tar.gz"
    assert archive.fingerprint == tree.fingerprint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", packed.name, "cifar100"]


def test_an_image_folder_of_cifar_is_read_by_number(cifar10_tree: Path, tmp_path: Path) -> None:
    """The official order comes back from numbered PNG files, whatever their folders are called."""
    batches = read("cifar10", tmp_path)
    root = tmp_path / "images"
    for split in ("train", "test"):
        labels = (batches.train if split == "train" else batches.test).y
        for number, (image, label) in enumerate(zip(stored(batches, split), labels, strict=True)):
            folder = root / split / batches.label_names[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:05}.png")
    images = read("cifar10", tmp_path, path=str(root))
    assert images.fingerprint == batches.fingerprint
    assert (images.note, images.read) == (
        "PNG copies, not the official files",
        "PNG image folder images",
    )


def test_flowers_are_read_as_torchvision_reads_them(
    flowers102_tree: Path, tmp_path: Path, trust_any_checksum: None
) -> None:
    from torchvision import datasets, transforms

    shrink = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32)])
    task = read("flowers102", tmp_path, size=28)
    for split in ("train", "test"):
        expected = datasets.Flowers102(flowers102_tree, split=split)
        assert (task.train if split == "train" else task.test).y.tolist() == expected._labels
        images = [np.asarray(shrink(image)) for image, _ in expected]
        np.testing.assert_array_equal(stored(task, split), np.stack(images))
    assert task.label_names == tuple(datasets.Flowers102.classes)


def test_flowers_come_from_the_archive_beside_the_labels(
    flowers102_tree: Path, tmp_path: Path, as_tar_gz: Pack, vouch: Vouch
) -> None:
    unpacked = read("flowers102", tmp_path, size=28)
    folder = flowers102_tree / "flowers-102"
    packed = as_tar_gz(folder / "jpg", folder / "102flowers.tgz", "jpg")
    shutil.rmtree(folder / "jpg")
    vouch(flowers102.LAYOUT, packed)
    archive = read("flowers102", tmp_path, size=28)
    assert archive.read == "official archive flowers-102"
    assert archive.fingerprint == unpacked.fingerprint


@pytest.mark.parametrize(("version", "words"), [("v0.02", 35), ("v0.01", 30)])
def test_speech_commands_follow_the_official_lists(
    speech_commands_tree: Callable[..., Path], version: str, words: int, tmp_path: Path
) -> None:
    from torchaudio.datasets import SPEECHCOMMANDS

    root = speech_commands_tree(version)
    task = read("speech_commands", tmp_path, version=version)
    assert task.note == ""
    assert task.num_classes == words
    url = f"speech_commands_{version}"
    for split, subset in (("train", "training"), ("test", "testing")):
        listed = SPEECHCOMMANDS(root, url=url, subset=subset)
        known = sorted((m[2], m[3], m[4]) for m in map(listed.get_metadata, range(len(listed))))
        samples = task.train if split == "train" else task.test
        assert [task.label_names[label] for label in samples.y] == [word for word, _, _ in known]
        if split == "train":
            assert list(task.groups or ()) == [speaker for _, speaker, _ in known]
    assert task.train.x.shape == (words * 6, 101, 128)


def test_silence_is_a_client_only_if_asked_for(
    speech_commands_tree: Callable[..., Path], tmp_path: Path
) -> None:
    speech_commands_tree()
    plain, silent = (read("speech_commands", tmp_path, silence=on) for on in (False, True))
    assert "silence" not in plain.label_names
    assert silent.label_names == (*plain.label_names, "silence")
    # Five whole seconds of exercise_bike; no other background noise becomes a clip.
    assert len(silent.train) == len(plain.train) + 5
    assert silent.train.y[-5:].tolist() == [35] * 5
    assert set(silent.groups or ()) - set(plain.groups or ()) == {"exercise"}
    assert torch.equal(silent.test.x, plain.test.x)


def test_speakers_never_are_on_both_sides(
    speech_commands_tree: Callable[..., Path], tmp_path: Path
) -> None:
    speech_commands_tree()
    task = read("speech_commands", tmp_path, split="speakers", words="commands")
    assert len(task.train) + len(task.test) == 10 * 10
    assert "not the official one" in task.note
    # Each speaker has ten or, the first one, twenty clips of the ten words.
    assert len(task.test) % 10 == 0


@pytest.mark.parametrize("fold", [1, 4])
def test_esc50_tests_on_one_fold(esc50_tree: Path, fold: int, tmp_path: Path) -> None:
    task = read("esc50", tmp_path, fold=fold)
    assert (len(task.train), len(task.test)) == (4 * 55, 55)
    assert torch.bincount(task.test.labels).tolist() == [2] * 5 + [1] * 45
    assert task.label_names[:2] == ("dog", "rooster")
    assert task.note == "275 of 2,000 clips"  # a small tree, and every table says so


def test_esc50_from_its_zip(esc50_tree: Path, tmp_path: Path, as_zip: Pack) -> None:
    tree = read("esc50", tmp_path)
    top = "ESC-50-master"
    packed = as_zip(esc50_tree / top, tmp_path / f"{top}.zip", top)
    archive = read("esc50", tmp_path, path=str(packed))
    assert archive.read == "official archive ESC-50-master.zip"
    assert archive.fingerprint == tree.fingerprint


def test_sounds_are_the_same_on_every_processor(
    esc50_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid on unlike machines is one task, though features differ in their last bits there."""

    def elsewhere(waves: list[np.ndarray], frames: int) -> np.ndarray:
        found = features(waves, frames)
        np.nextafter(found, np.float16(9), out=found)
        return found

    here = read("esc50", tmp_path)
    with monkeypatch.context() as other:
        other.setattr("gptfl_datasets.preprocess.clips.features", elsewhere)
        there = loaders.load("esc50", {}, Access(tmp_path, tmp_path / "there", download=False))
    assert not torch.equal(here.train.x, there.train.x)
    some = torch.arange(100)
    assert here.train.select(some).checksum() == there.train.select(some).checksum()
    assert here.train.select(some).checksum() != here.train.select(some + 1).checksum()
    assert here.fingerprint == there.fingerprint
    sound = next((esc50_tree / "ESC-50-master" / "audio").glob("*.wav"))
    content = sound.read_bytes()
    sound.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert read("esc50", tmp_path).fingerprint != here.fingerprint


def test_recordings_never_are_on_both_sides(esc50_tree: Path, tmp_path: Path) -> None:
    table = esc50._table((esc50_tree / "ESC-50-master" / "meta" / "esc50.csv").read_bytes())
    held_out = esc50._by_source(table)
    sources = [{c.source for c in table if (c.file in held_out) == side} for side in (True, False)]
    assert not sources[0] & sources[1]
    for target in range(50):
        clips = [clip for clip in table if clip.target == target]
        share = sum(clip.file in held_out for clip in clips) / len(clips)
        assert 0.25 <= share < 0.75


def test_ones_own_images(image_folder_tree: Callable[..., Path], tmp_path: Path) -> None:
    given = read(
        "image_folder", tmp_path, path=str(image_folder_tree()), size=16, clients="/([a-d])-"
    )
    assert (len(given.train), len(given.test)) == (18, 6)
    assert given.label_names == ("cat", "dog", "eel")
    assert set(given.groups or ()) == {"a", "b", "c"}
    assert given.input_shape == (3, 16, 16)
    ours = read("image_folder", tmp_path, path=str(image_folder_tree(split=False)), test_share=0.25)
    assert (len(ours.train), len(ours.test)) == (18, 6)
    assert torch.bincount(ours.test.labels).tolist() == [2, 2, 2]
    assert "0.25 of each class held out" in ours.note


def test_ones_own_sounds_hold_out_whole_speakers(audio_folder_tree: Path, tmp_path: Path) -> None:
    task = read(
        "audio_folder",
        tmp_path,
        path=str(audio_folder_tree),
        seconds=0.5,
        clients=r"(\w+)-\d",
        test_share=0.25,
    )
    assert (len(task.train), len(task.test)) == (18, 6)
    assert len(set(task.groups or ())) == 3
    assert task.input_shape == (51, 128)
    assert task.metric == "macro_f1"


def test_torchvisions_image_folder_names_the_same_classes(
    image_folder_tree: Callable[..., Path], tmp_path: Path
) -> None:
    from torchvision.datasets import ImageFolder

    root = image_folder_tree(split=False)
    expected = ImageFolder(str(root))
    files = class_files(open_tree(root), IMAGES)
    assert list(files.classes) == expected.classes
    assert {str(root / name): label for name, label in files.labels.items()} == dict(
        expected.samples
    )


def test_changed_files_are_decoded_anew(audio_folder_tree: Path, tmp_path: Path) -> None:
    def load() -> Task:
        return read("audio_folder", tmp_path, path=str(audio_folder_tree), seconds=0.5)

    before = load()
    (audio_folder_tree / "yes" / "ann-0.wav").unlink()
    after = load()
    assert len(before.train) + len(before.test) == 24
    assert len(after.train) + len(after.test) == 23


def test_a_damaged_cache_is_made_anew(audio_folder_tree: Path, tmp_path: Path) -> None:
    def load() -> Task:
        return read("audio_folder", tmp_path, path=str(audio_folder_tree), seconds=0.5)

    before = load()
    (kept,) = (tmp_path / "cache" / "prepared").glob("*/train_x.npy")
    kept.write_bytes(kept.read_bytes()[:-100])
    assert load().train.batch(torch.arange(3))[0].equal(before.train.batch(torch.arange(3))[0])
    assert kept.stat().st_size > 0


def test_options_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data.fold=7 does not fit"):
        read("esc50", tmp_path, fold=7)
    with pytest.raises(UsageError, match=r"neither in .*esc50.* put ESC-50-master.zip .*--prepare"):
        read("esc50", tmp_path)
    with pytest.raises(UsageError, match=r"data set 'digits' has no options"):
        loaders.load("digits", {"path": "x"}, Access())
