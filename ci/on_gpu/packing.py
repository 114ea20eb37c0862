"""Prepares ``gpu/``: wheels and data for a machine that reaches no network."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from on_gpu.place import PACK, ROOT

LIMIT = 60 * 2**20
"""Bytes that may travel in all, this repository's own files included."""
SYNTHETIC = 12_000
"""Images of CIFAKE that travel; GPT-FL takes :data:`MADE` of them."""
MADE = 10_000
REAL, FAKE = "cifar10_real_jpeg", "cifake_sd14_jpeg"
WHEELS = (
    *("diffusers", "hydra-core", "omegaconf", "pydantic", "pydantic-core", "annotated-types"),
    *("typing-inspection", "mlxtend", "soundfile", "cffi", "pycparser", "cryptography", "loky"),
    *("platformdirs", "importlib-metadata"),
)
"""What the program needs and an image for deep learning may lack; in the versions that are here."""
SOURCES = ("antlr4-python3-runtime",)
"""Of these there is no wheel to download; they are Python alone, so one is built here."""
_GLIBC = (17, 24, 27, 28, 31, 34, 35)


def prepare(packs: Path, python: str) -> str:
    """Fill ``gpu/`` anew, and return what it came to in words.

    Args:
        packs: Folder of the test packs.
        python: Python's version there, such as 3.12.

    Raises:
        SystemExit: If a pack is absent, a wheel can't be had, or it is more than may travel.
    """
    for name in (REAL, FAKE):
        if not (packs / f"{name}.npz").is_file():
            raise SystemExit(f"ci/gpu: {packs / name}.npz is absent; --packs names its folder.")
    shutil.rmtree(PACK, ignore_errors=True)
    (PACK / "packs").mkdir(parents=True)
    shutil.copy(packs / f"{REAL}.npz", PACK / "packs")
    cut(packs / f"{FAKE}.npz", PACK / "packs" / f"{FAKE}.npz", SYNTHETIC)
    _wheels(PACK / "wheels", python)
    brought = sum(path.stat().st_size for path in PACK.rglob("*") if path.is_file())
    total = brought + _checkout()
    words = f"{PACK}: {brought / 2**20:.1f} MiB, with the repository {total / 2**20:.1f} MiB"
    if total > LIMIT:
        raise SystemExit(f"ci/gpu: {words}, more than {LIMIT / 2**20:.0f} MiB.")
    return words


def cut(pack: Path, out: Path, count: int) -> None:
    """Write a pack with the first items of each class, of all classes alike.

    Args:
        pack: A pack as in the test packs: ``data`` and ``offsets``, and columns of its items.
        out: The smaller one.
        count: Items in all; each class has its part of them, or all it has.
    """
    with np.load(pack, allow_pickle=False) as arrays:
        columns = dict(arrays)
    offsets, labels = columns.pop("offsets"), columns["labels"]
    data = columns.pop("data")
    kinds = np.unique(labels)
    each = count // len(kinds)
    rows = np.sort(np.concatenate([np.flatnonzero(labels == kind)[:each] for kind in kinds]))
    parts = [data[offsets[row] : offsets[row + 1]] for row in rows]
    kept = {
        name: column[rows] if column.ndim and len(column) == len(labels) else column
        for name, column in columns.items()
    }
    kept["data"] = np.concatenate(parts)
    kept["offsets"] = np.cumsum([0, *map(len, parts)])
    np.savez_compressed(out, **kept)


def _wheels(folder: Path, python: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    platforms = [f"--platform=manylinux_2_{number}_x86_64" for number in _GLIBC]
    there = [f"--python-version={python}", "--implementation=cp", *platforms]
    there += ["--platform=manylinux2014_x86_64", "--only-binary=:all:", "--no-deps"]
    wheels, sources = ([f"{name}=={version(name)}" for name in part] for part in (WHEELS, SOURCES))
    subprocess.run([*pip, "download", "--dest", str(folder), *there, *wheels], check=True)
    built = [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), *sources]
    subprocess.run(built, check=True)


def _checkout() -> int:
    """Return the bytes of this repository's files that git does not ignore."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
    return sum((ROOT / name).stat().st_size for name in names if name and (ROOT / name).is_file())
