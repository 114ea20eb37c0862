"""A folder of samples that others made, in the place of a generator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import Prompt, generators, make
from gptfl_datasets.generators.folder import Folder


def prompts(label: str, count: int) -> list[Prompt]:
    return [Prompt(label, f"a {label}", 1.0, 7, number) for number in range(count)]


def colour(label: int, number: int, side: int = 12) -> np.ndarray:
    return np.full((side, side, 3), (label * 80, number, 10), np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of four plain pictures, told apart by red, numbered by green."""
    for label, name in enumerate(("Sea_Lion", "dog")):
        (tmp_path / "made" / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(colour(label, number)).save(tmp_path / "made" / name / f"{number}.png")
    return tmp_path / "made"


def greens(folder: Path, label: str, count: int, **settings: Any) -> list[int]:
    samples = Folder(str(folder), size=8, **settings).generate(prompts(label, count))
    return [int(sample.media[0, 0, 1]) for sample in samples]


def test_each_file_is_handed_out_once_and_by_its_number(pictures: Path) -> None:
    made = greens(pictures, "sea lion", 4)
    assert sorted(made) == [0, 1, 2, 3]
    assert greens(pictures, "sea lion", 2) == made[:2]
    later = list(Folder(str(pictures), size=8).generate(prompts("dog", 4)[2:]))
    assert [s.media.shape for s in later] == [(8, 8, 3)] * 2
    assert all(s.media[0, 0, 0] == 80 for s in later)


def test_more_than_there_is_is_one_sentence(pictures: Path) -> None:
    with pytest.raises(UsageError, match=r"has 4 files of the label 'dog'.*synthetic.multiplier"):
        greens(pictures, "dog", 5)
    with pytest.raises(UsageError, match=r"has 0 files of the label 'eel'"):
        greens(pictures, "eel", 1)


def test_content_decides_the_fingerprint_and_not_the_place(pictures: Path, tmp_path: Path) -> None:
    first = Folder(str(pictures)).fingerprint
    pictures.rename(tmp_path / "moved")
    assert Folder(str(tmp_path / "moved")).fingerprint == first
    assert Folder(str(tmp_path / "moved"), size=16).fingerprint != first
    Image.fromarray(colour(1, 9)).save(tmp_path / "moved" / "dog" / "0.png")
    assert Folder(str(tmp_path / "moved")).fingerprint != first


def test_metadata_name_the_labels(pictures: Path) -> None:
    rows = [{"file_name": f"dog/{n}.png", "label": "fox", "prompt": "a fox"} for n in range(3)]
    path = pictures / "metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert sorted(greens(pictures, "fox", 3)) == [0, 1, 2]
    with pytest.raises(UsageError, match=r"has 0 files of the label 'dog'"):
        greens(pictures, "dog", 1)
    path.write_text('{"file_name": "../secret.png", "label": "fox"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 1 of .*names '../secret.png'"):
        greens(pictures, "fox", 1)
    path.write_text('{"file_name": "dog/1.png"}\nnonsense\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 1 of .*has no file_name and label"):
        greens(pictures, "fox", 1)


def test_cifakes_own_layout(tmp_path: Path) -> None:
    for kind in ("REAL", "FAKE"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    for number in range(2):
        for label, name in enumerate(("", " (2)", " (10)")):
            place = tmp_path / "train" / "FAKE" / f"{number}{name}.jpg"
            Image.fromarray(colour(label, number)).save(place)
            Image.fromarray(colour(label, number)).save(tmp_path / "train" / "REAL" / place.name)
    files = Folder(str(tmp_path)).files
    assert {label: len(names) for label, names in files.items()} == {
        "airplane": 2,
        "automobile": 2,
        "truck": 2,
    }
    assert all(name.startswith("train/FAKE/") for names in files.values() for name in names)


def test_sounds_have_one_length(tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    wave = np.sin(np.arange(4000) / 5).astype(np.float32)
    soundfile.write(tmp_path / "yes" / "short.wav", wave, 16_000)
    soundfile.write(tmp_path / "yes" / "long.flac", np.tile(wave, 9), 16_000)
    samples = list(Folder(str(tmp_path), seconds=0.5).generate(prompts("yes", 2)))
    assert [s.media.shape for s in samples] == [(8000,)] * 2
    assert {s.media.dtype for s in samples} == {np.dtype(np.float32)}
    assert sorted(int((s.media[4001:] == 0).all()) for s in samples) == [0, 1]


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({}, "needs generators.folder.path=FOLDER"),
        ({"path": "/no/such/folder"}, "/no/such/folder"),
    ],
)
def test_a_folder_that_is_not_there(values: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        list(make(generators, "folder", values).generate(prompts("dog", 1)))


def test_fields_are_checked() -> None:
    with pytest.raises(UsageError, match="size=4 must be from 8"):
        make(generators, "folder", {"size": 4})
    with pytest.raises(UsageError, match="size of generator 'folder'='large' does not fit"):
        make(generators, "folder", {"size": "large"})
    with pytest.raises(UsageError, match="did you mean path"):
        make(generators, "folder", {"pth": "x"})
