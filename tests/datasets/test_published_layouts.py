"""The small generated trees are read as the real data sets are."""

import hashlib
import pickletools
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile

Archive = Callable[[Path, Path, str], Path]
FROM_NUMPY = {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_cifars_metadata_are_the_published_bytes(
    unpack_packs: ModuleType, cifar100_tree: Path
) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100

    names = b"airplane automobile bird cat deer dog frog horse ship truck".split()
    meta = {b"num_cases_per_batch": 10_000, b"label_names": names, b"num_vis": 3072}
    assert md5(unpack_packs.published.as_python2_pickle(meta)) == CIFAR10.meta["md5"]
    written = (cifar100_tree / "cifar-100-python" / "meta").read_bytes()
    assert md5(written) == CIFAR100.meta["md5"]


@pytest.mark.usefixtures("trust_any_checksum")
@pytest.mark.parametrize(("num_classes", "train", "test"), [(10, 10, 2), (100, 2, 1)])
def test_torchvision_reads_cifar(
    num_classes: int, train: int, test: int, request: pytest.FixtureRequest
) -> None:
    from torchvision import datasets

    root = request.getfixturevalue(f"cifar{num_classes}_tree")
    halves = [getattr(datasets, f"CIFAR{num_classes}")(root, train=part) for part in (True, False)]
    for half, each in zip(halves, (train, test), strict=True):
        assert Counter(half.targets) == dict.fromkeys(range(num_classes), each)
        assert half.targets != sorted(half.targets)
    # A class has its own colour in both halves, channel by channel.
    means = [
        {label: image.mean((0, 1)) for label, image in zip(half.targets, half.data, strict=True)}
        for half in halves
    ]
    for label, mean in means[0].items():
        off = [np.abs(mean - means[1][other]).max() for other in range(num_classes)]
        assert int(np.argmin(off)) == label
    assert halves[0].classes[0] == {10: "airplane", 100: "apple"}[num_classes]


def test_batches_ask_for_nothing_but_an_array(cifar100_tree: Path) -> None:
    codes = list(pickletools.genops((cifar100_tree / "cifar-100-python" / "train").read_bytes()))
    assert {arg for code, arg, _ in codes if code.name == "GLOBAL"} == FROM_NUMPY
    # Strings of Python 2, not of Python 3.
    assert not [code.name for code, _, _ in codes if "UNICODE" in code.name]


@pytest.mark.usefixtures("trust_any_checksum")
def test_torchvision_reads_flowers102(flowers102_tree: Path) -> None:
    from torchvision.datasets import Flowers102

    sizes = set()
    for name, each in (("train", 1), ("val", 1), ("test", 2)):
        split = Flowers102(flowers102_tree, name)
        assert Counter(split._labels) == dict.fromkeys(range(102), each)
        for image, label in (split[i] for i in range(len(split))):
            sizes.add(image.size)
            colour = np.asarray(image).mean((0, 1)) - 9.5
            expected = 50 * np.array([label % 5, label // 5 % 5, label // 25])
            np.testing.assert_allclose(colour, expected, atol=3)
    assert sizes == {(40, 60), (60, 40), (50, 50)}


@pytest.mark.parametrize(("version", "words"), [("v0.01", 30), ("v0.02", 35)])
def test_torchaudio_lists_speech_commands(
    version: str, words: int, speech_commands_tree: Callable[..., Path]
) -> None:
    from torchaudio.datasets import SPEECHCOMMANDS

    root, speakers = speech_commands_tree(version), []
    for part, each in (("training", 6), ("validation", 2), ("testing", 2)):
        listed = SPEECHCOMMANDS(root, f"speech_commands_{version}", subset=part)
        found = [listed.get_metadata(i) for i in range(len(listed))]
        assert all((root / "SpeechCommands" / path).is_file() for path, *_ in found)
        assert set(Counter(word for _, _, word, *_ in found).values()) == {each}
        assert len({word for _, _, word, *_ in found}) == words
        speakers.append({speaker for *_, speaker, _ in found})
    assert [len(ids) for ids in speakers] == [5, 2, 2]
    assert len(set.union(*speakers)) == 9
    folder = root / "SpeechCommands" / f"speech_commands_{version}"
    assert soundfile.info(folder / "_background_noise_" / "exercise_bike.wav").duration == 5
    clips = [path.read_bytes() for path in folder.glob("*/*.wav")]
    assert len(clips) == len(set(clips)) == 10 * words + 2


@pytest.mark.parametrize(
    ("partition", "speakers"),
    [
        ("validation", "8b775397 2643992f 060cd039 a8cf01bc"),
        ("testing", "bb05582b"),
        ("training", "0132a06d"),
    ],
)
def test_the_partition_is_the_one_of_the_published_lists(
    partition: str, speakers: str, unpack_packs: ModuleType
) -> None:
    for speaker in speakers.split():
        assert unpack_packs.published.partition_of(speaker) == partition


def test_pandas_reads_esc50(esc50_tree: Path) -> None:
    import pandas as pd

    folder = esc50_tree / "ESC-50-master"
    table = pd.read_csv(folder / "meta" / "esc50.csv")
    assert list(table) == ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    assert Counter(table["fold"]) == dict.fromkeys(range(1, 6), 55)
    assert (table["category"].nunique(), table[table["esc10"]]["category"].nunique()) == (50, 10)
    # A recording lies in one fold whole, with all its takes.
    assert table.groupby("src_file")["fold"].nunique().eq(1).all()
    assert set(table["filename"]) == {path.name for path in (folder / "audio").iterdir()}
    info = soundfile.info(folder / "audio" / table["filename"][0])
    assert (info.samplerate, info.frames, info.channels) == (44_100, 22_050, 1)
    assert info.subtype == "PCM_16"


def test_own_folders_hold_what_their_names_say(
    image_folder_tree: Callable[..., Path], audio_folder_tree: Path
) -> None:
    from torchvision.datasets import ImageFolder

    whole, root = ImageFolder(image_folder_tree(split=False)), image_folder_tree()
    train, test = ImageFolder(root / "train"), ImageFolder(root / "test")
    assert whole.classes == train.classes == test.classes == ["cat", "dog", "eel"]
    assert (len(whole), len(train), len(test)) == (24, 18, 6)
    assert len({whole[i][0].size for i in range(24)}) == 3
    authors = [
        {Path(path).stem.partition("-")[0] for path, _ in half.imgs} for half in (train, test)
    ]
    assert authors == [set("abc"), {"d"}]
    clips = [path.relative_to(audio_folder_tree).parts for path in audio_folder_tree.rglob("*.wav")]
    assert Counter(word for word, _ in clips) == {"no": 8, "stop": 8, "yes": 8}
    assert Counter(name.partition("-")[0] for _, name in clips) == dict.fromkeys(
        ("ann", "bob", "cleo", "dan"), 6
    )


def test_archives_hold_the_tree_below_the_top_folder(
    cifar10_tree: Path, tmp_path: Path, as_tar_gz: Archive, as_zip: Archive
) -> None:
    tree = cifar10_tree / "cifar-10-batches-py"
    batch = (tree / "test_batch").read_bytes()
    with tarfile.open(as_tar_gz(tree, tmp_path / "a.tar.gz", tree.name)) as archive:
        assert len(archive.getnames()) == 8
        file = archive.extractfile("cifar-10-batches-py/test_batch")
        assert file
        assert file.read() == batch
    with tarfile.open(as_tar_gz(tree, tmp_path / "b.tar.gz", ".")) as archive:
        # As Speech Commands is packed.
        assert "./test_batch" in archive.getnames()
    with ZipFile(as_zip(tree, tmp_path / "a.zip", "top")) as zipped:
        assert len(zipped.namelist()) == 7
        assert zipped.read("top/test_batch") == batch
