"""Collect what has ended in a run folder as records small enough to commit.

    python ci/collect_results.py RUNS OUT

A cell's record, events and checksums are copied, checkpoints are not, and the files of who holds
what. A report is made from records and events alone: ``gptfl-bench report OUT`` gives the same
numbers as one of the run folder. Nothing is copied if a record names a path of this machine, or if
all of it is larger than fits a repository.
"""

import shutil
import sys
from pathlib import Path

from gptfl_reports.records.cells import EVENTS, RECORD, Cell, read_cells
from gptfl_reports.records.checksums import CHECKSUMS

MOST = 15 * 10**6
"""Bytes of all records."""
ENDED = ("finished", "refused", "diverged")


def collect(runs: Path, out: Path) -> int:
    """Copy what has ended, and return the bytes that ``out`` holds then."""
    cells = [cell for cell in read_cells(runs) if cell.ending.status in ENDED]
    for cell in cells:
        refuse_paths(cell)
    for cell in cells:
        place = out / cell.folder.name
        place.mkdir(parents=True, exist_ok=True)
        for name in (RECORD, EVENTS, CHECKSUMS):
            if (cell.folder / name).exists():
                shutil.copyfile(cell.folder / name, place / name)
        partition = cell.record["partition"]["file"]
        (out / partition).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(runs / partition, out / partition)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > MOST:
        sys.exit(f"{out} would hold {size:,} bytes, more than {MOST:,}; thin its events.")
    return size


def refuse_paths(cell: Cell) -> None:
    """Stop if a record names an absolute path, which only this machine has."""
    text = (cell.folder / RECORD).read_text(encoding="utf-8")
    for word in text.replace('"', " ").replace("=", " ").split():
        if word.startswith("/"):
            sys.exit(f"{cell.folder / RECORD} names {word}; run it again with relative paths.")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    runs, out = map(Path, sys.argv[1:])
    print(f"{collect(runs, out):,} bytes in {out}")
