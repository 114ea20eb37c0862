"""Files that are not read are counted and said, wherever they lie."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_bench.data.task import Task

Grow = Callable[..., Path]
Own = Callable[..., Task]
Refused = Callable[..., str]
CATS = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(5)]


@pytest.mark.parametrize("ending", ["gif", "GIF", "pgm", "jfif", "webp"])
def test_what_can_be_decoded_is_read(ending: str, grow: Grow, own: Own) -> None:
    task = own(grow([*CATS, f"cat/a.{ending}", f"dog/b.{ending}"]))
    assert len(task.train) + len(task.test) == 12
    assert "not read" not in task.note


def test_pictures_that_are_not_read_are_counted(grow: Grow, own: Own) -> None:
    more = ["cat/a.heic", "cat/b.HEIC", "dog/c.avif", "d.heic", "e.png", "dog/nothing"]
    documents = ["README.md", "cat/notes.txt", "dog/Thumbs.db"]
    root = grow([*CATS, *more, *documents], {"LICENSE": "", ".hidden.heic": ""})
    task = own(root)
    assert task.label_names == ("cat", "dog")
    assert task.note == (
        "a share of 0.2 of each class held out for testing; 6 files not read "
        "(3 .heic, 1 .avif, 1 without an ending, 1 .png without a class)"
    )


def test_sounds_that_are_not_read_are_counted(grow: Grow, own: Own) -> None:
    names = [f"{word}/{n}.wav" for word in ("no", "yes") for n in range(5)]
    task = own(grow([*names, "no/a.m4a", "yes/b.aiff"]), "audio_folder")
    assert task.note.endswith("2 files not read (1 .m4a, 1 .aiff)")


def test_a_message_names_no_format_that_is_not_read(grow: Grow, refused: Refused) -> None:
    root = grow(["no/1.wav", "yes/1.wav", "yes/2.wav", "no/2.wav"], {"no/3.wav": "no sound"})
    sentence = refused(root, "audio_folder", test_share=0.5)
    assert "replace it by a WAV, FLAC, OGG or MP3 file" in sentence


def test_folders_beside_the_parts_are_counted(grow: Grow, own: Own) -> None:
    parts = [f"{part}/{name}" for part in ("train", "test") for name in CATS]
    task = own(grow([*parts, "unlabelled/1.png", "unlabelled/2.png", "train/stray.png"]))
    assert task.note == "3 files not read (3 .png without a class)"


def test_a_part_left_out_is_counted_once(grow: Grow, own: Own) -> None:
    parts = [f"{part}/{name}" for part in ("train", "test", "val") for name in CATS]
    task = own(grow([*parts, "val/cat/x.heic"]))
    assert task.note == (
        "train served for training, test served for testing, val with 10 files was left out; "
        "1 file not read (1 .heic)"
    )


def test_many_kinds_are_summed_up(grow: Grow, own: Own) -> None:
    note = own(grow(CATS, {f"cat/a.x{n}": "" for n in range(8)})).note
    assert "8 files not read" in note
    assert "3 others)" in note


def test_a_class_of_files_that_are_not_read_is_refused(
    grow: Grow, refused: Refused, as_zip: Callable[[Path, Path, str], Path], tmp_path: Path
) -> None:
    root = grow([*CATS, "eel/1.heic"])
    for path in (root, as_zip(root, tmp_path / "mine.zip", ".")):
        assert "eel' has no files ending in .jpg" in refused(path)
