import io
import json
import sys
import threading
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from PIL import Image

Packs = Callable[[str], Path]


def names_below(folder: Path) -> set[str]:
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return found - {".unpacked.json"}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


def test_cifar10_is_whole_and_in_official_order(packs: Packs) -> None:
    folder = packs("cifar10_jpeg")
    files = names_below(folder)
    of_class = Counter(name.rpartition("/")[0] for name in files)
    assert len(of_class) == 20
    assert {size for name, size in of_class.items() if name.startswith("train/")} == {5000}
    assert {size for name, size in of_class.items() if name.startswith("test/")} == {1000}
    for half, size in (("train", 50_000), ("test", 10_000)):
        numbers = sorted(Path(name).stem for name in files if name.startswith(f"{half}/"))
        assert numbers == [f"{number:05}" for number in range(size)]
    # The first labels of data_batch_1 and test_batch: 6 9 9 4 and 3 8 8 0.
    first = ["train/frog/00000", "train/truck/00001", "train/truck/00002", "train/deer/00003"]
    first += ["test/cat/00000", "test/ship/00001", "test/ship/00002", "test/airplane/00003"]
    assert {f"{name}.jpg" for name in first} <= files


@pytest.mark.usefixtures("trust_any_checksum")
def test_torchvision_reads_the_lossless_cifar10(packs: Packs) -> None:
    from torchvision.datasets import CIFAR10

    root, jpeg = packs("cifar10_first1000"), packs("cifar10_jpeg")
    train, test = CIFAR10(root), CIFAR10(root, train=False)
    assert (train.data.shape, test.data.shape) == ((1000, 32, 32, 3), (100, 32, 32, 3))
    for i in range(0, 980, 37):
        copy = pixels(jpeg / "train" / train.classes[train.targets[i]] / f"{i:05}.jpg")
        distances = [np.abs(copy - image).mean() for image in train.data[i : i + 20]]
        # The JPEG copy is closest to its original, and not the same.
        assert int(np.argmin(distances)) == 0
        assert 0 < distances[0] < 12
    for i, label in enumerate(test.targets):
        stored = pixels(jpeg / "test" / test.classes[label] / f"{i:05}.jpg")
        np.testing.assert_array_equal(stored, test.data[i])


@pytest.mark.usefixtures("trust_any_checksum")
def test_torchvision_reads_flowers102(packs: Packs) -> None:
    from torchvision.datasets import Flowers102

    root = packs("flowers102")
    splits = {name: Flowers102(root, name) for name in ("train", "val", "test")}
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 1020,
        "val": 1020,
        "test": 6149,
    }
    for name in ("train", "val"):
        assert Counter(splits[name]._labels) == dict.fromkeys(range(102), 10)
    sizes = Counter(label for split in splits.values() for label in split._labels)
    # Passion flower and petunia are the largest classes; the smallest have 40 images.
    assert (sizes[76], sizes[50], min(sizes.values())) == (251, 258, 40)
    image, label = splits["test"][0]
    assert (image.size, label) == ((64, 64), 76)


def test_torchaudio_lists_speech_commands(packs: Packs) -> None:
    from torchaudio.datasets import SPEECHCOMMANDS

    root = packs("speech_commands")
    testing = SPEECHCOMMANDS(root, subset="testing")
    clips = [testing.get_metadata(i) for i in range(len(testing))]
    assert len(clips) == len({clip[0] for clip in clips}) == 4482
    assert len({clip[2] for clip in clips}) == 35
    assert len({clip[3] for clip in clips}) == 239
    # All clips are of the official testing partition, which the rule of the README must find.
    assert len(SPEECHCOMMANDS(root, subset="training")) == 0
    assert len(SPEECHCOMMANDS(root, subset="validation")) == 0
    parts = ("training", "validation", "testing")
    old = [len(SPEECHCOMMANDS(root, "speech_commands_v0.01", subset=part)) for part in parts]
    assert sum(old) == 300
    assert min(old) > 0


def test_speech_is_bit_exact(packs: Packs, unpack_packs: ModuleType) -> None:
    folder = packs("speech_commands") / "SpeechCommands"
    with np.load(unpack_packs.packs_folder() / "speech_commands_flac.npz") as arrays:
        pack = dict(arrays)
    for row in range(0, len(pack["labels"]), 31):
        version, word = pack["version"][row], pack["class_names"][pack["labels"][row]]
        name = f"{pack['speaker'][row]}_nohash_{pack['utterance'][row]}.wav"
        flac = pack["data"][pack["offsets"][row] : pack["offsets"][row + 1]].tobytes()
        np.testing.assert_array_equal(
            samples(folder / f"speech_commands_{version}" / word / name),
            soundfile.read(io.BytesIO(flac), dtype="int16")[0],
        )


def test_esc50_table_names_its_files(packs: Packs) -> None:
    import pandas as pd

    folder = packs("esc50") / "ESC-50-master"
    table = pd.read_csv(folder / "meta" / "esc50.csv")
    assert list(table) == ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    assert len(table) == 414
    assert set(table["filename"]) == names_below(folder / "audio")
    whole = table[table["fold"] == 4]
    assert Counter(whole["target"]) == dict.fromkeys(range(50), 8)
    assert whole["esc10"].sum() == 80
    assert table.groupby("target")["category"].nunique().eq(1).all()
    named = table["filename"].str.extract(r"^(\d)-(\d+)-([A-H])-(\d+)\.wav$").T.to_numpy()
    for part, column in zip(named, ("fold", "src_file", "take", "target"), strict=True):
        assert part.tolist() == table[column].astype(str).tolist()
    assert len(samples(folder / "audio" / table["filename"][0])) == 5 * 16_000


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("tts_speech_commands", 35, 2300),
        pytest.param("cifake", 10, 60_000, marks=pytest.mark.slow),
    ],
)
def test_synthetic_packs_are_class_folders(
    packs: Packs, name: str, classes: int, count: int
) -> None:
    files = names_below(packs(name))
    assert len(files) == count
    assert len({file.partition("/")[0] for file in files}) == classes
    assert {file.count("/") for file in files} == {1}


def make_pack(
    folder: Path, files: list[bytes], class_names: tuple[str, ...] = ("cat", "dog")
) -> None:
    """Write a CIFAKE pack; its files are copied as they are, so they need be no images."""
    np.savez(
        folder / "cifake_sd14_jpeg.npz",
        data=np.frombuffer(b"".join(files), dtype=np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.arange(len(files)) % len(class_names),
        class_names=np.array(class_names),
    )


@pytest.fixture
def unpack(unpack_packs: ModuleType, tmp_path: Path) -> Callable[[], Path]:
    """Return what unpacks the pack of three files that lies in ``tmp_path``."""
    make_pack(tmp_path, [b"one", b"two", b"three"])

    def run() -> Path:
        folder: Path = unpack_packs.unpack("cifake", tmp_path, tmp_path / "out")
        return folder

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names_below(folder)}


THREE = {"cat/00000.jpg": b"one", "dog/00001.jpg": b"two", "cat/00002.jpg": b"three"}


def test_a_second_call_does_nothing(unpack: Callable[[], Path]) -> None:
    folder = unpack()
    assert contents(folder) == THREE
    (folder / "cat" / "00000.jpg").write_bytes(b"a mark")
    assert contents(unpack()) == THREE | {"cat/00000.jpg": b"a mark"}


def test_a_changed_pack_is_unpacked_anew(unpack: Callable[[], Path], tmp_path: Path) -> None:
    unpack()
    make_pack(tmp_path, [b"four"])
    assert contents(unpack()) == {"cat/00000.jpg": b"four"}


def test_interrupted_unpacking_leaves_no_finished_folder(
    unpack: Callable[[], Path],
    unpack_packs: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def interrupted(pack: object) -> Iterator[tuple[str, bytes]]:
        yield "cat/00099.jpg", b"stray"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(unpack_packs.LAYOUTS, "cifake", (interrupted, ("cifake_sd14_jpeg",)))
        with pytest.raises(KeyboardInterrupt):
            unpack()
    assert not (tmp_path / "out" / "cifake").exists()
    assert contents(unpack()) == THREE
    assert not (tmp_path / "out" / "cifake.part").exists()


def test_of_two_at_once_one_waits(
    unpack: Callable[[], Path], unpack_packs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, calls = threading.Event(), []

    def slow(pack: object) -> Iterator[tuple[str, bytes]]:
        calls.append(1)
        begun.set()
        threading.Event().wait(0.2)
        yield "cat/00000.jpg", b"one"

    monkeypatch.setitem(unpack_packs.LAYOUTS, "cifake", (slow, ("cifake_sd14_jpeg",)))
    other = threading.Thread(target=unpack)
    other.start()
    assert begun.wait(10)
    assert contents(unpack()) == {"cat/00000.jpg": b"one"}
    other.join(10)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["../cat", "/cat", "cat/..", "cat//dog"])
def test_nothing_is_written_outside_the_folder(
    name: str, unpack: Callable[[], Path], tmp_path: Path
) -> None:
    make_pack(tmp_path, [b"one"], (name,))
    before = names_below(tmp_path)
    with pytest.raises(ValueError, match="leads out of its folder"):
        unpack()
    assert names_below(tmp_path) - before == {"out/cifake.lock"}


def test_a_pickle_in_a_pack_is_refused(unpack: Callable[[], Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "cifake_sd14_jpeg.npz", data=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        unpack()


def test_the_command_skips_what_is_absent(
    unpack_packs: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GPTFL_BENCH_PACKS", str(tmp_path))
    monkeypatch.setenv("GPTFL_BENCH_CI_CACHE", str(tmp_path / "cache"))
    make_pack(tmp_path, [b"one"])
    monkeypatch.setattr(sys, "argv", ["unpack_packs.py", "esc50", "cifake"])
    unpack_packs.main()
    lines = capsys.readouterr().out.splitlines()
    absent = tmp_path / "esc50_fold4_16k_flac.npz"
    assert lines[0].startswith(f"esc50 is skipped: {absent} is absent")
    assert contents(tmp_path / "cache" / "packs" / "cifake") == {"cat/00000.jpg": b"one"}
    stamp = json.loads((tmp_path / "cache/packs/cifake/.unpacked.json").read_text())
    size = (tmp_path / "cifake_sd14_jpeg.npz").stat().st_size
    assert stamp["packs"]["cifake_sd14_jpeg.npz"][0] == size


def test_an_unknown_name_is_a_sentence(
    unpack_packs: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["unpack_packs.py", "cifar11"])
    with pytest.raises(SystemExit) as stopped:
        unpack_packs.main()
    assert stopped.value.code == 2
    assert "there is no cifar11; choose from cifar10_jpeg, " in capsys.readouterr().err
