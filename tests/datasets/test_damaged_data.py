"""Damaged files: one sentence that names the file, exit code 2, and nothing left behind."""

import io
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from gptfl_bench.cli import main

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Return what runs a data set from the command line and gives the sentence that refuses it."""

    def run(dataset: str, path: Path | None, *overrides: str) -> str:
        out, cache, data = (tmp_path / name for name in ("out", "cache", "data"))
        before = {p for p in tmp_path.rglob("*") if cache not in (p, *p.parents)}
        words = ["run", "--methods", "fedavg", "--dataset", dataset, "--out", str(out)]
        where = ["--data", str(data), "--cache", str(cache), "--no-download"]
        settings = [*([f"data.path={path}"] if path else []), *overrides]
        capfd.readouterr()
        assert main([*words, *where, *settings]) == 2
        answer = capfd.readouterr()
        assert answer.out == ""
        assert answer.err.startswith("gptfl-bench: ")
        assert answer.err.count("\n") == 1
        assert not out.exists()
        assert not data.exists()
        assert {p for p in tmp_path.rglob("*") if cache not in (p, *p.parents)} == before
        assert [p for p in cache.rglob("*") if p.suffix != ".lock" and p.is_file()] == []
        assert not [p for p in cache.rglob("*.part")]
        return answer.err

    return run


def test_a_truncated_archive(
    cifar10_tree: Path, tmp_path: Path, as_tar_gz: Callable[..., Path], refused: Refused
) -> None:
    top = "cifar-10-batches-py"
    packed = as_tar_gz(cifar10_tree / top, tmp_path / "mine.tar.gz", top)
    packed.write_bytes(packed.read_bytes()[:-2000])
    assert "mine.tar.gz" in refused("cifar10", packed)


def test_a_wrong_checksum(
    cifar10_tree: Path, tmp_path: Path, as_tar_gz: Callable[..., Path], refused: Refused
) -> None:
    top = "cifar-10-batches-py"
    packed = as_tar_gz(cifar10_tree / top, tmp_path / "cifar-10-python.tar.gz", top)
    sentence = refused("cifar10", packed)
    assert "cifar-10-python.tar.gz" in sentence
    assert "not c58f30108f718f92721af3b95e74349a" in sentence


def test_a_text_file_named_wav(audio_folder_tree: Path, refused: Refused) -> None:
    (audio_folder_tree / "yes" / "ann-0.wav").write_text("Not a sound.\n", encoding="utf-8")
    assert "ann-0.wav is damaged or no sound file" in refused("audio_folder", audio_folder_tree)


def test_a_missing_label_file(
    flowers102_tree: Path, cifar10_tree: Path, esc50_tree: Path, refused: Refused
) -> None:
    (flowers102_tree / "flowers-102" / "imagelabels.mat").unlink()
    assert "imagelabels.mat" in refused("flowers102", flowers102_tree)
    (cifar10_tree / "cifar-10-batches-py" / "batches.meta").unlink()
    assert "cifar-10-python.tar.gz" in refused("cifar10", cifar10_tree)
    (esc50_tree / "ESC-50-master" / "meta" / "esc50.csv").unlink()
    assert "ESC-50-master.zip" in refused("esc50", esc50_tree)


def test_a_missing_batch(cifar10_tree: Path, refused: Refused) -> None:
    (cifar10_tree / "cifar-10-batches-py" / "data_batch_3").unlink()
    assert "lacks 'data_batch_3'" in refused("cifar10", cifar10_tree)


def test_a_missing_image_and_a_missing_clip(
    flowers102_tree: Path, speech_commands_tree: Callable[..., Path], refused: Refused
) -> None:
    ids = loadmat(flowers102_tree / "flowers-102" / "setid.mat")
    image = f"image_{ids['tstid'][0, 0]:05}.jpg"
    (flowers102_tree / "flowers-102" / "jpg" / image).unlink()
    assert f"lacks '{image}'" in refused("flowers102", flowers102_tree, "data.size=28")
    root = speech_commands_tree()
    listed = (root / "SpeechCommands" / "speech_commands_v0.02" / "testing_list.txt").read_text()
    clip = listed.split()[0]
    (root / "SpeechCommands" / "speech_commands_v0.02" / clip).unlink()
    assert f"lacks '{clip}'" in refused("speech_commands", root)


def test_labels_out_of_range(flowers102_tree: Path, refused: Refused) -> None:
    path = flowers102_tree / "flowers-102" / "imagelabels.mat"
    labels = loadmat(path)["labels"]
    labels[0, 0] = 103
    savemat(path, {"labels": labels})
    assert "outside of 1 to 102" in refused("flowers102", flowers102_tree)
    path.write_text("no matrix", encoding="utf-8")
    assert "'imagelabels.mat' can't be read" in refused("flowers102", flowers102_tree)


def test_an_image_of_the_wrong_size(tmp_path: Path, refused: Refused) -> None:
    root = tmp_path / "images"
    for split in ("train", "test"):
        for label in range(10):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            side = 33 if (split, label) == ("test", 4) else 32
            Image.new("RGB", (side, 32)).save(folder / f"{label}.png")
    assert "test/class4/4.png is 32 pixels high and 33 wide" in refused("cifar10", root)


def test_too_few_classes(tmp_path: Path, refused: Refused) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "images" / split / "cat"
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "1.png")
    assert "has 1 class folders in train" in refused("cifar10", tmp_path / "images")


def test_a_class_folder_without_files(
    image_folder_tree: Callable[..., Path], refused: Refused
) -> None:
    root = image_folder_tree(split=False)
    (root / "fox").mkdir()
    assert "fox' has no files ending in .jpg" in refused("image_folder", root)
    shutil.rmtree(root / "fox")
    split = image_folder_tree()
    shutil.rmtree(split / "test" / "eel")
    assert "class folder 'eel' in only one of train and test" in refused("image_folder", split)


def test_a_path_outside_the_archive(tmp_path: Path, refused: Refused) -> None:
    packed = tmp_path / "mine.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for name in ("cat/1.png", "../outside.png"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"data"))
    assert "../outside.png" in refused("image_folder", packed)
    assert not (tmp_path.parent / "outside.png").exists()


def test_a_pickle_that_wants_to_run_something(
    cifar10_tree: Path, tmp_path: Path, refused: Refused
) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    batch = cifar10_tree / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(pickle.dumps({b"data": Payload(), b"labels": []}, protocol=2))
    assert "data_batch_2" in refused("cifar10", cifar10_tree)
    assert not (tmp_path / "ran").exists()


def test_files_that_may_not_be_read(
    image_folder_tree: Callable[..., Path], refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder_tree(split=False)
    whole_open = Path.open

    def closed(path: Path, *words: Any, **named: Any) -> Any:
        if path.name == "a-0.png":
            raise PermissionError(13, "Permission denied", str(path))
        return whole_open(path, *words, **named)

    monkeypatch.setattr(Path, "open", closed)
    sentence = refused("image_folder", root)
    assert "a-0.png" in sentence
    assert "permission" in sentence.lower()


def mistakes() -> Iterator[tuple[str, list[str], str]]:
    yield "image_folder", [], "needs data.path=FOLDER"
    yield "image_folder", ["data.path=/no/such/folder"], "/no/such/folder"
    yield "image_folder", ["data.path=.", "data.size=4"], "size=4 must be from 8"
    yield "cifar10", ["data.augmentation=mild"], "data.augmentation='mild' does not fit"
    yield "cifar10", ["data.pth=x"], "did you mean data.path?"
    yield "speech_commands", ["data.version=v0.03"], "data.version='v0.03'"
    yield "esc50", [], "put ESC-50-master.zip"
    yield "digits", ["data.path=x"], "data.path"


@pytest.mark.parametrize(("dataset", "overrides", "part"), list(mistakes()))
def test_wrong_options(dataset: str, overrides: list[str], part: str, refused: Refused) -> None:
    assert part in refused(dataset, None, *overrides)


def test_a_pattern_that_finds_no_client(audio_folder_tree: Path, refused: Refused) -> None:
    assert "finds nothing in" in refused("audio_folder", audio_folder_tree, "data.clients='zed'")
    assert "is no regular expression" in refused(
        "audio_folder", audio_folder_tree, "data.clients='('"
    )


def test_a_file_where_the_data_folder_should_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["data", "cifar10", "--data", str(tmp_path / "file" / "below")]) == 2
    assert "file' is a file" in capfd.readouterr().err
