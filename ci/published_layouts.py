"""The files that data sets consist of, as their owners publish them.

Each function yields paths relative to the folder that torchvision and torchaudio call ``root``, and
what the files hold.
"""

import csv
import hashlib
import io
import itertools
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.io import savemat

Files = Iterator[tuple[str, bytes]]
Pixels = NDArray[np.uint8]
Wave = NDArray[np.int16]
Labelled = tuple[Pixels, list[int]]
"""Images (N, 32, 32, 3) and their class indices."""

SPEECH_RATE = 16_000
LARGEST_HASH = 2**27 - 1
# An empty array; then, put into it by "b": version, shape, type, order of axes (rows first), bytes.
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
UINT8 = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"


def write(folder: Path, files: Files) -> int:
    """Write files below a folder, which is made, and return how many there were.

    Raises:
        ValueError: If a path leads out of the folder.
        FileExistsError: If a file is there already.
    """
    made: set[str] = set()
    written = 0
    for path, content in files:
        parts = path.split("/")
        if not all(parts) or {".", ".."} & set(parts):
            raise ValueError(f"{path!r} leads out of its folder; a data set has no such file.")
        parent = path.rpartition("/")[0]
        if parent not in made:
            (folder / parent).mkdir(parents=True, exist_ok=True)
            made.add(parent)
        with (folder / path).open("xb") as file:
            file.write(content)
        written += 1
    return written


def as_wav(samples: Wave, rate: int) -> bytes:
    """Return a 16-bit PCM WAV file.

    Args:
        samples: One channel, (time,).
        rate: Samples a second.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def as_python2_pickle(value: object) -> bytes:
    """Return a pickle of protocol 2 as Python 2 and the NumPy of its time wrote it.

    CIFAR's metadata come out byte for byte as published. Python 3 would write other names
    (``_codecs``, ``numpy._core``), with which a reader that allows only theirs can't be tested.

    Args:
        value: A dictionary, list, byte string, integer of 0 or more, or uint8 array with two axes,
            or several in one another.
    """
    return b"\x80\x02" + _opcodes(value, itertools.count(1)) + b"."


def _opcodes(value: object, kept: Iterator[int]) -> bytes:
    """Return what rebuilds a value; ``kept`` numbers the values that a pickle keeps to refer to."""
    match value:
        case int():
            return _sized(value, b"K", b"M", b"J")
        case bytes():
            return _sized(len(value), b"U", b"", b"T") + value + _keep(kept)
        case list():
            start = b"]" + _keep(kept) + b"("
            return start + b"".join(_opcodes(part, kept) for part in value) + b"e"
        case dict():
            start = b"}" + _keep(kept) + b"("
            parts = (part for pair in value.items() for part in pair)
            return start + b"".join(_opcodes(part, kept) for part in parts) + b"u"
        case np.ndarray(shape=(rows, columns)) if value.dtype == np.uint8:
            shape = _opcodes(rows, kept) + _opcodes(columns, kept) + b"\x86"
            content = b"\x89" + _opcodes(value.tobytes(), kept)
            return RECONSTRUCT + b"(K\x01" + shape + UINT8 + content + b"tb"
    raise TypeError(f"{value!r} is in no CIFAR file.")


def _keep(kept: Iterator[int]) -> bytes:
    return _sized(next(kept), b"q", b"", b"r")


def _sized(number: int, byte: bytes, short: bytes, word: bytes) -> bytes:
    """Return a number behind the opcode for its size; an empty one is left out."""
    if number < 1 << 8:
        return byte + struct.pack("<B", number)
    if short and number < 1 << 16:
        return short + struct.pack("<H", number)
    return word + struct.pack("<i", number)


def as_planes(images: Pixels) -> Pixels:
    """Return images (N, 32, 32, 3) as CIFAR's rows (N, 3072): all red, all green, all blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)


def cifar10(train: Labelled, test: Labelled, names: list[str]) -> Files:
    """Yield CIFAR-10's Python version.

    Args:
        train: The training images, a multiple of five.
        test: The test images.
        names: Class names.
    """
    size = len(train[1]) // 5
    batches = [(f"data_batch_{b}", train, slice(b * size - size, b * size)) for b in range(1, 6)]
    for file, (images, labels), part in [*batches, ("test_batch", test, slice(None))]:
        title = f"training batch {file[-1]} of 5" if file[-1].isdigit() else "testing batch 1 of 1"
        batch = {
            b"batch_label": title.encode(),
            b"labels": labels[part],
            b"data": as_planes(images[part]),
            b"filenames": [
                f"{names[label]}_s_{number:06}.png".encode()
                for number, label in enumerate(labels[part], part.start or 0)
            ],
        }
        yield f"cifar-10-batches-py/{file}", as_python2_pickle(batch)
    meta = {
        b"num_cases_per_batch": size,
        b"label_names": [name.encode() for name in names],
        b"num_vis": 3072,
    }
    yield "cifar-10-batches-py/batches.meta", as_python2_pickle(meta)


def cifar100(train: Labelled, test: Labelled, groups: Mapping[str, list[str]]) -> Files:
    """Yield CIFAR-100's Python version.

    Args:
        train: The training images; labels count the class names in alphabetical order.
        test: The test images.
        groups: Class names of each superclass, superclasses in alphabetical order.
    """
    coarse = {name: i for i, names in enumerate(groups.values()) for name in names}
    fine = sorted(coarse)
    titles = {"train": "training batch 1 of 1", "test": "testing batch 1 of 1"}
    for file, (images, labels) in (("train", train), ("test", test)):
        batch = {
            b"filenames": [
                f"{fine[label]}_s_{number:06}.png".encode() for number, label in enumerate(labels)
            ],
            b"batch_label": titles[file].encode(),
            b"fine_labels": labels,
            b"coarse_labels": [coarse[fine[y]] for y in labels],
            b"data": as_planes(images),
        }
        yield f"cifar-100-python/{file}", as_python2_pickle(batch)
    meta = {
        b"fine_label_names": [name.encode() for name in fine],
        b"coarse_label_names": [name.encode() for name in groups],
    }
    yield "cifar-100-python/meta", as_python2_pickle(meta)


def flowers102(
    images: Iterable[tuple[int, bytes]], labels: list[int], split: Mapping[str, list[int]]
) -> Files:
    """Yield Flowers102 in the folder that torchvision makes of its three files.

    Args:
        images: Image ids, from 1, and JPEG files.
        labels: Class of each image in the order of ids, from 1.
        split: Image ids of ``trnid``, ``valid`` and ``tstid``: to train, validate and test.
    """
    for image_id, jpeg in images:
        yield f"flowers-102/jpg/image_{image_id:05}.jpg", jpeg
    rows = {name: np.array([ids], dtype=np.uint16) for name, ids in split.items()}
    for file, variables in (
        ("imagelabels", {"labels": np.array([labels], dtype=np.uint8)}),
        ("setid", rows),
    ):
        mat = io.BytesIO()
        savemat(mat, variables)
        yield f"flowers-102/{file}.mat", mat.getvalue()


def partition_of(speaker: str) -> Literal["training", "validation", "testing"]:
    """Return the official partition of a speaker's clips in Speech Commands.

    The rule ``which_set`` of the data set's README with its 10 % to validate and 10 % to test on:
    SHA-1 of a file's name without ``_nohash_`` and what follows.
    """
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percentage = digest % (LARGEST_HASH + 1) * (100 / LARGEST_HASH)
    if percentage < 10:
        return "validation"
    return "testing" if percentage < 20 else "training"


def speech_commands(version: str, clips: Iterable[tuple[str, str, int, Wave]]) -> Files:
    """Yield the words of Speech Commands and its lists, in torchaudio's folder.

    Args:
        version: ``"v0.01"`` or ``"v0.02"``.
        clips: Word, speaker, number of the utterance and samples at 16 kHz.
    """
    folder = f"SpeechCommands/speech_commands_{version}"
    lists: dict[str, list[str]] = defaultdict(list)
    for word, speaker, utterance, samples in clips:
        name = f"{word}/{speaker}_nohash_{utterance}.wav"
        lists[partition_of(speaker)].append(f"{name}\n")
        yield f"{folder}/{name}", as_wav(samples, SPEECH_RATE)
    for partition in ("validation", "testing"):
        yield f"{folder}/{partition}_list.txt", "".join(lists[partition]).encode()


def esc50(clips: Iterable[tuple[str, str, bool, Wave]], rate: int) -> Files:
    """Yield ESC-50 as the archive of its repository holds it.

    Args:
        clips: File name ``{fold}-{source}-{take}-{target}.wav``, class name, whether the class is
            one of ESC-10, and samples.
        rate: Samples a second.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
    for name, category, esc10, samples in clips:
        fold, source, take, target = name.removesuffix(".wav").split("-")
        table.writerow([name, fold, target, category, esc10, source, take])
        yield f"ESC-50-master/audio/{name}", as_wav(samples, rate)
    yield "ESC-50-master/meta/esc50.csv", text.getvalue().encode()
