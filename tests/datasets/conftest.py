"""Unpacked test packs, and small generated data sets that lie on disk as the official ones do.

A tree is the folder that torchvision and torchaudio call ``root``; its classes differ in colour or
pitch, and everything in it is the same every time.
"""

import io
import json
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

NAMES = json.loads((Path(__file__).parent / "class_names.json").read_text(encoding="utf-8"))
# The tests' own conftest.py, one folder up, has loaded it.
published = sys.modules["published_layouts"]


def _colour(label: int) -> np.ndarray:
    return np.array([label % 5, label // 5 % 5, label // 25], dtype=np.uint8) * 50


def _pictures(num_classes: int, each: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """Return 32x32 images of each class, in a colour of its own under noise, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(num_classes), each)).tolist()
    noise = rng.integers(0, 20, (len(labels), 32, 32, 3), dtype=np.uint8)
    return noise + np.stack([_colour(label) for label in labels])[:, None, None], labels


def _picture_file(label: int, number: int, kind: str) -> bytes:
    """Return a picture that is wide, high or square, depending on its number."""
    size = [(60, 40), (40, 60), (50, 50)][number % 3]
    noise = np.random.default_rng(number).integers(0, 20, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise + _colour(label)).save(file, kind)
    return file.getvalue()


def _tone(label: int, voice: int, seconds: float, rate: int) -> np.ndarray:
    """Return a tone whose pitch tells the class, and its loudness the speaker."""
    phase = 2 * np.pi * (200 + 40 * label) * np.arange(round(seconds * rate)) / rate
    return ((2000 + 500 * voice) * np.sin(phase)).astype(np.int16)


@pytest.fixture
def cifar10_tree(tmp_path: Path) -> Path:
    """CIFAR-10's Python version: 20 images a batch, two of each class."""
    files = published.cifar10(_pictures(10, 10, seed=0), _pictures(10, 2, seed=1), NAMES["cifar10"])
    published.write(tmp_path / "cifar10", files)
    return tmp_path / "cifar10"


@pytest.fixture
def cifar100_tree(tmp_path: Path) -> Path:
    """CIFAR-100's Python version: two images of each class to train and one to test on."""
    train, test = _pictures(100, 2, seed=0), _pictures(100, 1, seed=1)
    files = published.cifar100(train, test, NAMES["cifar100"])
    published.write(tmp_path / "cifar100", files)
    return tmp_path / "cifar100"


@pytest.fixture
def flowers102_tree(tmp_path: Path) -> Path:
    """Flowers102: one image of each class to train, one to validate and two to test on."""
    order = np.random.default_rng(0).permutation(102 * 4)
    ids = dict(zip(("trnid", "valid", "tstid"), np.split(order + 1, [102, 204]), strict=True))
    labels = np.empty(102 * 4, dtype=np.int64)
    labels[order] = np.arange(102 * 4) % 102
    images = ((i + 1, _picture_file(label, i, "JPEG")) for i, label in enumerate(labels.tolist()))
    split = {name: part.tolist() for name, part in ids.items()}
    published.write(
        tmp_path / "flowers102", published.flowers102(images, (labels + 1).tolist(), split)
    )
    return tmp_path / "flowers102"


def _speakers(partition: str, count: int) -> list[str]:
    ids = [f"{number * 0x01234567 % 2**32:08x}" for number in range(100)]
    return [speaker for speaker in ids if published.partition_of(speaker) == partition][:count]


@pytest.fixture
def speech_commands_tree(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of Speech Commands in a version, by default v0.02.

    Each word by five speakers to train, two to validate and two to test on. The first speaker says
    it twice, a second long each; the other clips are shorter.
    """
    speakers = [*_speakers("training", 5), *_speakers("validation", 2), *_speakers("testing", 2)]

    def clips(words: list[str]) -> Iterator[tuple[str, str, int, np.ndarray]]:
        for label, word in enumerate(words):
            for voice, speaker in enumerate(speakers):
                for utterance in range(1 if voice else 2):
                    seconds = 0.25 if voice else 1
                    yield word, speaker, utterance, _tone(label, voice + utterance, seconds, 16_000)

    def make(version: str = "v0.02") -> Path:
        root = tmp_path / "speech_commands"
        words = NAMES[f"speech_commands_{version}"]
        published.write(root, published.speech_commands(version, clips(words)))
        folder = root / "SpeechCommands" / f"speech_commands_{version}"
        noise = {"exercise_bike": 5, "doing_the_dishes": 3}
        for name, seconds in noise.items():
            hum = published.as_wav(_tone(0, len(name), seconds, 16_000), 16_000)
            published.write(folder, iter([(f"_background_noise_/{name}.wav", hum)]))
        for name in ("LICENSE", "README.md", "_background_noise_/README.md"):
            (folder / name).write_text("A small generated tree.\n", encoding="utf-8")
        return root

    return make


@pytest.fixture
def esc50_tree(tmp_path: Path) -> Path:
    """ESC-50: half a second of each class in each fold, and a second take for the first classes."""

    def clips() -> Iterator[tuple[str, str, bool, np.ndarray]]:
        for fold in range(1, 6):
            for target, category in enumerate(NAMES["esc50"]):
                for take in "AB" if target < 5 else "A":
                    name = f"{fold}-{100 * fold + target}-{take}-{target}.wav"
                    wave = _tone(target, fold + ord(take) - ord("A"), 0.5, 44_100)
                    yield name, category, category in NAMES["esc10"], wave

    published.write(tmp_path / "esc50", published.esc50(clips(), 44_100))
    return tmp_path / "esc50"


@pytest.fixture
def image_folder_tree(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of one's own images: ``[train|test/]<class>/<author>-<number>.<kind>``."""

    def make(split: bool = True) -> Path:
        root = tmp_path / ("image_folder" if split else "image_folder_without_split")
        parts = {"train/": "abc", "test/": "d"} if split else {"": "abcd"}
        published.write(
            root,
            (
                (f"{part}{name}/{author}-{n}.{kind}", _picture_file(label, n + ord(author), kind))
                for part, authors in parts.items()
                for label, name in enumerate(("cat", "dog", "eel"))
                for author in authors
                for n, kind in enumerate(("png", "jpeg"))
            ),
        )
        return root

    return make


@pytest.fixture
def audio_folder_tree(tmp_path: Path) -> Path:
    """One's own sounds: ``<class>/<speaker>-<number>.wav``, of four speakers."""

    def clips() -> Iterator[tuple[str, bytes]]:
        for label, name in enumerate(("no", "stop", "yes")):
            for voice, speaker in enumerate(("ann", "bob", "cleo", "dan")):
                for n, seconds in enumerate((0.5, 0.3)):
                    wave = _tone(5 * label, voice, seconds, 16_000)
                    yield f"{name}/{speaker}-{n}.wav", published.as_wav(wave, 16_000)

    published.write(tmp_path / "audio_folder", clips())
    return tmp_path / "audio_folder"


@pytest.fixture
def trust_any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision read files that are laid out as the official ones but hold other bytes."""
    for module in ("cifar", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *_: True)


@pytest.fixture
def as_tar_gz() -> Callable[[Path, Path, str], Path]:
    """Return what packs a folder's content below the name ``top`` ("." for none)."""

    def pack(tree: Path, target: Path, top: str) -> Path:
        with tarfile.open(target, "w:gz", compresslevel=1) as archive:
            archive.add(tree, arcname=top)
        return target

    return pack


@pytest.fixture
def as_zip() -> Callable[[Path, Path, str], Path]:
    """Return what packs a folder's content below the name ``top`` ("." for none)."""

    def pack(tree: Path, target: Path, top: str) -> Path:
        with ZipFile(target, "w") as archive:
            for path in sorted(tree.rglob("*")):
                archive.write(path, Path(top) / path.relative_to(tree))
        return target

    return pack


class Site(SimpleHTTPRequestHandler):
    """A folder on loopback."""

    asked: list[str] = []  # noqa: RUF012 - emptied for each test

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *words: object) -> None:
        """Write nothing."""


@pytest.fixture
def asked() -> list[str]:
    """Paths that were asked of a server of this test."""
    Site.asked.clear()
    return Site.asked


@pytest.fixture
def serve(asked: list[str]) -> Iterator[Callable[[Path], str]]:
    """Return what serves a folder in its owner's place, and gives the address."""
    servers = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
