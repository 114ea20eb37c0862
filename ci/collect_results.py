"""Collect what has ended in a run folder as records small enough to commit.

    python ci/collect_results.py RUNS OUT

A cell's record and its events, packed, are copied, and the files of who holds what; checkpoints are
not. A report is made from these alone: ``gptfl-bench report OUT`` gives the same numbers as one of
the run folder. Nothing is copied if a record names a path of this machine. It ends with a sentence
if all of it is larger than fits a repository.
"""

import gzip
import shutil
import sys
from pathlib import Path

from gptfl_reports.records import checksums
from gptfl_reports.records.cells import EVENTS, RECORD, Cell, read_cells
from gptfl_reports.records.events import packed

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
        checksums.write(place / RECORD, (cell.folder / RECORD).read_bytes())
        # Without a time, so that the same events give the same bytes.
        events = gzip.compress((cell.folder / EVENTS).read_bytes(), mtime=0)
        checksums.write(packed(place / EVENTS), events)
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
