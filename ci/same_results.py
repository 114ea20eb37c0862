"""Compare two run folders cell by cell: rows, events and tensors must be the same bit for bit.

    python ci/same_results.py BEFORE AFTER

For a change that must change no number: run the same command before and after it, from two
checkouts. What may differ is left out: seconds, and whether a result came from the cache.
"""

import json
import sys
from pathlib import Path

import safetensors.numpy

UNTIMED = ("seconds", "cached")
"""Fields that differ between two runs of the same cell."""
STATE = Path("state")


def rows(folder: Path) -> dict[str, object]:
    """Return what a cell's record says about its result."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    where = ("command", "commit", "machine", "versions")
    return {key: value for key, value in record.items() if key not in where}


def events(folder: Path) -> list[dict[str, object]]:
    """Return a cell's events without what differs between two runs of it."""
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in UNTIMED}
        for line in lines
    ]


def tensors(folder: Path) -> dict[str, bytes]:
    """Return all tensors that a cell left, as bytes, by file and name."""
    found = {}
    for path in sorted((folder / STATE).rglob("*.safetensors")):
        for name, array in safetensors.numpy.load_file(path).items():
            if not name.endswith("about"):
                # The checkpoint's own notes hold the length of the log, and so its seconds.
                place = path.relative_to(folder).as_posix()
                found[f"{place}: {name}"] = f"{array.dtype}{array.shape}".encode() + array.tobytes()
    return found


def differences(before: Path, after: Path) -> list[str]:
    """Return a line for each difference between two run folders."""
    cells = [
        {path.parent.name for path in folder.glob("*/record.json")} for folder in (before, after)
    ]
    found = [f"only in one folder: {name}" for name in sorted(cells[0] ^ cells[1])]
    for name in sorted(cells[0] & cells[1]):
        for read in (rows, events, tensors):
            if read(before / name) != read(after / name):
                found.append(f"{name}: other {read.__name__}")
    return found


def main() -> int:
    """Print the differences, and how many cells were compared."""
    before, after = map(Path, sys.argv[1:])
    found = differences(before, after)
    print(*found, sep="\n", end="\n" if found else "")
    count = len(list(before.glob("*/record.json")))
    print(f"{count} cells, {len(found)} differences")
    return int(bool(found) or not count)


if __name__ == "__main__":
    sys.exit(main())
