"""Pack the digits of installed fonts into ``glyphs.npz`` and list their sources in ``FONTS.md``.

    python -m gptfl_datasets.generators._digits.extract_glyphs /usr/share/fonts

Needs the extra ``fonts`` and a Debian system: a font's licence is read from the copyright file of
the package that installed it, and only permissive ones are taken. Faces whose digits differ too
little from another face's, or are no plain digits (slashed zeros, icons, other scripts), are left
out.
"""

import argparse
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptfl_datasets.glyphs.glyphs import FILE, GRID, rasterise, save_glyphs

Digits = list[list[NDArray[np.uint8]]]

LICENCES = {
    r"OFL|SIL": "OFL-1.1",
    r"Apache": "Apache-2.0",
    r"Vera": "Bitstream-Vera",
    r"Expat|MIT": "MIT",
    r"BSD": "BSD-3-Clause",
    r"CC0": "CC0-1.0",
    r"public.domain": "public domain",
    r"Unlicense": "Unlicense",
}
HAND = re.compile(
    r"breip|bwht|comic-neue|dancing|ecolier|havana|humor|kaushan|kiloji|klee|kristi|leckerli"
    r"|lobster|lxgw|Nanum(Pen|Brush|Barunpen)|seto|chilanka|yozvox|yusei"
)
FACES_PER_FAMILY = 5
TOLERANCE = 1.2
"""Largest distance, in grid units, between a curve and its polyline."""


@dataclass(frozen=True)
class Face:
    """One font file's digits and where they come from."""

    path: Path
    package: str
    family: str
    licence: str
    notice: str
    digits: Digits
    raster: NDArray[np.float32]

    @property
    def hand(self) -> bool:
        """Whether it imitates handwriting."""
        return bool(HAND.search(f"{self.package}/{self.path.name}"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the fonts, choose, write both files and print what was taken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", nargs="+", type=Path, help="folders searched for fonts")
    parser.add_argument("--out", type=Path, default=FILE, help="the file to write")
    options = parser.parse_args(arguments)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    files = sorted({p for folder in options.folders for p in folder.rglob("*.[ot]t[fc]")})
    packages = packages_of(files)
    found = [face for path in files for face in read_face(path, packages.get(path, ""))]
    faces = choose(found)
    families = sorted({face.family for face in faces})
    save_glyphs(
        options.out,
        [face.digits for face in faces],
        [families.index(face.family) for face in faces],
        [face.hand for face in faces],
    )
    options.out.with_name("FONTS.md").write_text(describe(faces), encoding="utf-8")
    print(
        f"{len(files)} files, {len(found)} readable and free, {len(faces)} faces of "
        f"{len(families)} families taken ({sum(face.hand for face in faces)} hand-like), "
        f"{options.out.stat().st_size / 1e6:.2f} MB"
    )


def packages_of(files: Sequence[Path]) -> dict[Path, str]:
    """Return the Debian package of each file that belongs to one."""
    answer = subprocess.run(
        ["dpkg-query", "-S", *map(str, files)], capture_output=True, text=True, check=False
    )
    pairs = (line.partition(": ") for line in answer.stdout.splitlines())
    return {Path(path): package.partition(":")[0] for package, _, path in pairs}


def terms_of(package: str) -> tuple[str, str] | None:
    """Return permissive licence and copyright line of a package's fonts; None if not permissive.

    GNU licences are left out even with a font exception: it covers documents that embed a font,
    not a file derived from it.
    """
    path = Path("/usr/share/doc") / package / "copyright"
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    stanza = re.search(r"^Files:\s*\*.*?^Copyright:\s*(.*?)^License:\s*([^\n]*)", text, re.M | re.S)
    if stanza is None:
        # An old free-form file: taken only if it names the Open Font License and no GNU licence.
        plain = "GNU General" not in text and "GPL" not in text
        notice = re.search(r"^\s*(Copyright.*)", text, re.M)
        if not plain or not re.search(r"SIL Open Font License", text, re.I) or not notice:
            return None
        return "OFL-1.1", notice[1]
    for choice in re.split(r"\s+or\s+|\|", stanza[2].strip()):
        if re.search(r"GPL|CC-BY|EPL|M\+", choice):
            continue
        for pattern, name in LICENCES.items():
            if re.search(pattern, choice, re.I):
                return name, re.sub(r"\s+", " ", stanza[1]).strip()
    return None


def read_face(path: Path, package: str) -> Iterator[Face]:
    """Yield the face in a font file, if it is free and has ten plain digits."""
    from fontTools.ttLib import TTFont, TTLibError

    terms = terms_of(package)
    if terms is None:
        return
    try:
        font = TTFont(path, fontNumber=0)
        cmap, outlines = font.getBestCmap(), font.getGlyphSet()
        # Drawing may fail on damaged tables in as many ways as there are tables.
        digits = [flatten(outlines, cmap[ord(char)]) for char in "0123456789"]
    except (TTLibError, KeyError, TypeError, AttributeError, ValueError, AssertionError):
        return
    # A slashed or dotted zero has a third contour, as an eight has.
    if len(digits[0]) > 2 or not all(1 <= len(digit) <= 3 for digit in digits):
        return
    names = font["name"]
    family = names.getDebugName(16) or names.getDebugName(1) or path.stem
    notice = re.sub(r"\s+", " ", names.getDebugName(0) or "").strip() or terms[1]
    raster = np.stack([thumbnail(digit) for digit in digits])
    yield Face(path, package, family, terms[0], notice, digits, raster)


def flatten(outlines: object, name: str) -> list[NDArray[np.uint8]]:
    """Return the contours of a glyph as polylines on the grid, y pointing down."""
    from fontTools.pens.basePen import BasePen

    contours: list[list[tuple[float, float]]] = []

    class Polyline(BasePen):  # type: ignore[misc]
        """Collects the corners and points on the curves, dense enough for the grid."""

        def _moveTo(self, pt: tuple[float, float]) -> None:  # noqa: N802 - the pen protocol
            contours.append([pt])

        def _lineTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
            contours[-1].append(pt)

        def _curveToOne(  # noqa: N802
            self, pt1: tuple[float, float], pt2: tuple[float, float], pt3: tuple[float, float]
        ) -> None:
            corners = np.array([self._getCurrentPoint(), pt1, pt2, pt3])
            t = np.linspace(0, 1, 17)[1:, None]
            basis = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
            contours[-1] += [(x, y) for x, y in (basis @ corners).tolist()]

    outlines[name].draw(Polyline(outlines))  # type: ignore[index]
    arrays = [np.array(contour, float) * (1, -1) for contour in contours if len(contour) > 2]
    every = np.concatenate(arrays)
    low, high = every.min(0), every.max(0)
    scale = GRID / (high - low).max()
    kept = [thin((array - low) * scale) for array in arrays]
    return [contour.round().astype(np.uint8) for contour in kept if len(contour) > 2]


def thin(contour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a closed polyline without the points it can do without (Douglas and Peucker 1973)."""

    def between(first: int, last: int) -> list[int]:
        chord = contour[last] - contour[first]
        length = float(np.hypot(*chord)) or 1.0
        offset = contour[first + 1 : last] - contour[first]
        if not len(offset):
            return []
        distance = np.abs(chord[0] * offset[:, 1] - chord[1] * offset[:, 0]) / length
        if not chord.any():
            distance = np.hypot(*offset.T)
        if distance.max() <= TOLERANCE:
            return []
        middle = first + 1 + int(distance.argmax())
        return [*between(first, middle), middle, *between(middle, last)]

    far = int(np.hypot(*(contour - contour[0]).T).argmax())
    end = len(contour) - 1
    rows = [0, *between(0, far), far, *between(far, end)]
    if not np.allclose(contour[end], contour[0]):
        rows.append(end)
    return contour[sorted(set(rows))]


def thumbnail(contours: Sequence[NDArray[np.uint8]], size: int = 16) -> NDArray[np.float32]:
    """Return the digit, stretched to fill the frame, at (size, size) in [0, 1]."""
    points = np.concatenate(contours)
    low, high = points.min(0).astype(float), points.max(0).astype(float)
    fine = 4 * size
    stretched = [(c - low) / np.maximum(high - low, GRID / 4) * (fine - 1) for c in contours]
    mask = rasterise(stretched, fine).reshape(size, 4, size, 4)
    return np.asarray(mask.mean((1, 3)), np.float32)


def choose(faces: Sequence[Face]) -> list[Face]:
    """Return the faces with ten recognisable digits, without near copies, a few a family."""
    rasters = np.stack([face.raster.reshape(10, -1) for face in faces])
    means = rasters.mean(0)
    nearest = ((rasters[:, :, None] - means[None, None]) ** 2).sum(-1).argmin(-1)
    # Handwriting strays further from the mean than print does.
    needed = np.where([face.hand for face in faces], 6, 8)
    recognised = (nearest == np.arange(10)).sum(-1) >= needed
    kept: list[int] = []
    members: Counter[str] = Counter()
    for index, face in enumerate(faces):
        if not recognised[index] or members[face.family] >= FACES_PER_FAMILY:
            continue
        if kept and np.abs(rasters[kept] - rasters[index]).mean((1, 2)).min() < 0.02:
            continue
        kept.append(index)
        members[face.family] += 1
    return [faces[index] for index in kept]


def describe(faces: Sequence[Face]) -> str:
    """Return ``FONTS.md``: families, packages, licences and copyright notices."""
    rows = {(f.family, f.package, f.licence): f.notice for f in faces}
    counts = Counter((f.family, f.package, f.licence) for f in faces)
    lines = [
        "# Where the digit outlines come from",
        "",
        f"`glyphs.npz` holds the digits 0 to 9 of {len(faces)} faces of "
        f"{len({f.family for f in faces})} font families, taken from Debian packages as "
        "flattened polylines by `python -m gptfl_datasets.generators._digits.extract_glyphs`. "
        "The outlines carry no font names: they are not the fonts, and reserved font names are "
        "not used for them. Each outline stays under the licence of its font "
        "(texts in `licences/`, that of Apache-2.0 in the project's `LICENSE`); images drawn with "
        "the outlines, and models trained on such images, do not fall under it.",
        "",
        "| family | faces | Debian package | licence | copyright notice |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key in sorted(rows):
        family, package, licence = key
        notice = rows[key].replace("|", "/")
        lines.append(f"| {family} | {counts[key]} | {package} | {licence} | {notice} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
