"""Check that a wheel holds the four packages, each whole, and nothing else.

usage: python ci/check_wheel.py WHEEL
"""

import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "gptfl_bench": ROOT / "benchmark",
    "gptfl_methods": ROOT / "methods",
    "gptfl_datasets": ROOT / "datasets",
    "gptfl_reports": ROOT / "reports",
}


def source_files() -> set[str]:
    """Return the paths that the packages' files must have in a wheel."""
    return {
        path.relative_to(folder).as_posix()
        for package, folder in PACKAGES.items()
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def faults(wheel: Path, wanted: set[str]) -> list[str]:
    """Return a line for each thing that is wrong with a wheel.

    Args:
        wheel: The wheel.
        wanted: Paths it must hold, beside its metadata.
    """
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    held = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    found = [f"missing: {name}" for name in sorted(wanted - held)]
    found += [f"does not belong: {name}" for name in sorted(held - wanted)]
    typed = {f"{package}/py.typed" for package in PACKAGES}
    found += [f"not typed: {name}" for name in sorted(typed - held)]
    return found


if __name__ == "__main__":
    complaints = faults(Path(sys.argv[1]), source_files())
    print("\n".join(complaints) or f"{Path(sys.argv[1]).name}: four packages, all files")
    sys.exit(bool(complaints))
