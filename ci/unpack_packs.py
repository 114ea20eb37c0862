"""Unpack the test packs into the folders that the data sets' owners publish.

usage: python ci/unpack_packs.py [--packs DIR] [--out DIR] [NAME ...]

Without a name, all are unpacked. A finished folder is left alone while its packs and the code stay
the same; an unfinished one is called ``NAME.part`` and made anew. What is not as published:

- ``cifar10_jpeg``: JPEG files in class folders, numbered in official order within each half;
- ``cifar10_first1000``: 200 images a batch instead of 10,000, with made-up file names. The test
  batch is a stand-in, the first 100 test images of the JPEG pack: not the original pixels;
- ``cifake``: JPEG files in class folders, both halves in one, numbered as in the pack;
- ``flowers102``: centre crops of 64x64 pixels; ids ascend within each part of the split;
- ``speech_commands``: some clips of each version and no background noise;
- ``esc50``: 414 clips, at 16 kHz instead of 44.1 kHz;
- ``tts_speech_commands``: the same words from text-to-speech engines, in class folders.
"""

import argparse
import hashlib
import io
import itertools
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import published_layouts as published
import soundfile
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from published_layouts import Files, Wave

ROOT = Path(__file__).resolve().parents[1]
STAMP = ".unpacked.json"
STAND_INS = 100

Pack = Mapping[str, NDArray[Any]]


class PackAbsentError(Exception):
    """A pack is not where it is looked for, as the sentence says."""


def packs_folder() -> Path:
    """Return where packs are looked for."""
    return Path(os.environ.get("GPTFL_BENCH_PACKS") or ROOT.parent / "shared" / "data")


def cache_folder() -> Path:
    """Return where packs are unpacked to, beside the environment that ``.ci/run`` keeps."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("GPTFL_BENCH_CI_CACHE") or user / "gptfl-bench-ci") / "packs"


def encoded(pack: Pack, rows: Sequence[int] | None = None) -> Iterator[bytes]:
    """Yield the encoded files of some of a pack's items, or of all."""
    data, offsets = pack["data"], pack["offsets"].tolist()
    for row in range(len(offsets) - 1) if rows is None else rows:
        yield data[offsets[row] : offsets[row + 1]].tobytes()


def waves(pack: Pack, rows: Sequence[int] | None = None) -> Iterator[Wave]:
    """Yield the samples, (time,), of some of a pack's FLAC files, or of all."""
    for flac in encoded(pack, rows):
        yield soundfile.read(io.BytesIO(flac), dtype="int16")[0]


def class_of(pack: Pack) -> list[str]:
    """Return the class name of each of a pack's items."""
    names: list[str] = pack["class_names"][pack["labels"]].tolist()
    return names


def cifar10_jpeg(pack: Pack) -> Files:
    """Yield CIFAR-10 as JPEG files."""
    halves = pack["split_names"][pack["split"]].tolist()
    numbers: dict[str, Iterator[int]] = defaultdict(itertools.count)
    for half, name, jpeg in zip(halves, class_of(pack), encoded(pack), strict=True):
        yield f"{half}/{name}/{next(numbers[half]):05}.jpg", jpeg


def cifar10_first1000(lossless: Pack, jpeg: Pack) -> Files:
    """Yield the first training images of CIFAR-10 in its Python version."""
    rows = np.flatnonzero(jpeg["split"] == 1)[:STAND_INS].tolist()
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in encoded(jpeg, rows)]
    train = lossless["images"], lossless["labels"].tolist()
    test = np.stack([np.asarray(image) for image in images]), jpeg["labels"][rows].tolist()
    return published.cifar10(train, test, jpeg["class_names"].tolist())


def flowers102(pack: Pack) -> Files:
    """Yield Flowers102."""
    ids, parts = pack["image_id"], enumerate(("trnid", "valid", "tstid"))
    labels = (pack["labels"][np.argsort(ids)] + 1).tolist()
    split = {name: np.sort(ids[pack["split"] == part]).tolist() for part, name in parts}
    return published.flowers102(zip(ids.tolist(), encoded(pack), strict=True), labels, split)


def speech_commands(pack: Pack) -> Files:
    """Yield both versions of Speech Commands, each in a folder of its own."""
    words, speakers, numbers = class_of(pack), pack["speaker"].tolist(), pack["utterance"].tolist()
    for version in ("v0.01", "v0.02"):
        rows = np.flatnonzero(pack["version"] == version).tolist()
        spoken = zip(rows, waves(pack, rows), strict=True)
        clips = ((words[row], speakers[row], numbers[row], wave) for row, wave in spoken)
        yield from published.speech_commands(version, clips)


def esc50(pack: Pack) -> Files:
    """Yield ESC-50."""
    columns = pack["filename"].tolist(), class_of(pack), pack["esc10"].tolist(), waves(pack)
    return published.esc50(zip(*columns, strict=True), int(pack["sample_rate"]))


def tts_speech_commands(pack: Pack) -> Files:
    """Yield what text-to-speech engines spoke; numbers count within word, engine and voice."""
    numbers: dict[str, Iterator[int]] = defaultdict(itertools.count)
    columns = class_of(pack), pack["engine"].tolist(), pack["voice"].tolist(), waves(pack)
    for word, engine, voice, wave in zip(*columns, strict=True):
        name = f"{word}/{engine}_{voice}"
        yield f"{name}_{next(numbers[name])}.wav", published.as_wav(wave, int(pack["sample_rate"]))


def cifake(pack: Pack) -> Files:
    """Yield CIFAKE's generated images."""
    for number, (name, jpeg) in enumerate(zip(class_of(pack), encoded(pack), strict=True)):
        yield f"{name}/{number:05}.jpg", jpeg


LAYOUTS: dict[str, tuple[Callable[..., Files], tuple[str, ...]]] = {
    "cifar10_jpeg": (cifar10_jpeg, ("cifar10_real_jpeg",)),
    "cifar10_first1000": (
        cifar10_first1000,
        ("cifar10_train_first1000_lossless", "cifar10_real_jpeg"),
    ),
    "flowers102": (flowers102, ("flowers102_64px_jpeg",)),
    "speech_commands": (speech_commands, ("speech_commands_flac",)),
    "esc50": (esc50, ("esc50_fold4_16k_flac",)),
    "tts_speech_commands": (tts_speech_commands, ("tts_speech_commands_flac",)),
    "cifake": (cifake, ("cifake_sd14_jpeg",)),
}
"""What yields a data set's files, and the packs it takes."""


def read(path: Path) -> Pack:
    """Return a pack's arrays."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def stamp_of(paths: Sequence[Path]) -> str:
    """Return what a folder that is unpacked from these packs by this code is known by."""
    states = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
    code = b"".join(Path(file).read_bytes() for file in (__file__, published.__file__))
    return json.dumps({"packs": states, "code": hashlib.sha256(code).hexdigest()})


def unpack(name: str, packs: Path, out: Path) -> Path:
    """Return the folder of an unpacked data set; unpack it first unless that was done.

    Args:
        name: One of :data:`LAYOUTS`.
        packs: Where packs lie.
        out: Where the folder is or is made.

    Raises:
        PackAbsentError: If a pack is not there.
    """
    layout, sources = LAYOUTS[name]
    paths = [packs / f"{source}.npz" for source in sources]
    for path in paths:
        if not path.is_file():
            raise PackAbsentError(
                f"{name} is skipped: {path} is absent; GPTFL_BENCH_PACKS names the packs' folder."
            )
    folder, part, stamp = out / name, out / f"{name}.part", stamp_of(paths)
    finished = folder / STAMP
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / f"{name}.lock"):
        if finished.is_file() and finished.read_text(encoding="utf-8") == stamp:
            print(f"{name}: {folder} is up to date")
            return folder
        print(f"{name}: unpacking ...", flush=True)
        started = time.monotonic()
        if part.exists():
            shutil.rmtree(part)
        count = published.write(part, layout(*map(read, paths)))
        (part / STAMP).write_text(stamp, encoding="utf-8")
        if folder.exists():
            # A folder that is half removed must not look finished.
            finished.unlink(missing_ok=True)
            shutil.rmtree(folder)
        part.rename(folder)
        print(f"{name}: {count:,} files in {folder} after {time.monotonic() - started:.1f} s")
    return folder


def main() -> None:
    """Unpack the data sets that the command line names; those without their packs are skipped."""
    parser = argparse.ArgumentParser(description="Unpack the test packs.")
    parser.add_argument("--packs", type=Path, default=packs_folder(), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=cache_folder(), help="default: %(default)s")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(LAYOUTS))
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - LAYOUTS.keys()):
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(LAYOUTS)}.")
    for name in chosen.names or LAYOUTS:
        try:
            unpack(name, chosen.packs, chosen.out)
        except PackAbsentError as absent:
            print(absent)


if __name__ == "__main__":
    main()
