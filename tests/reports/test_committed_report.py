"""The committed report of committed records, made again byte for byte.

Figures are compared by their numbers, for versions of the drawing library draw them differently.
``python tests/reports/test_committed_report.py`` renews the report; look at what changed.
"""

import re
import shutil
import tempfile
from pathlib import Path

from gptfl_reports.report import write_report

GOLDEN = Path(__file__).parent / "golden"
PICTURES = (".svg", ".png")


def texts(out: Path) -> dict[str, bytes]:
    """Return the report of the committed records, pictures left out, by name."""
    written = write_report(GOLDEN / "runs", out)
    return {path.name: without_pictures(path) for path in written if path.suffix not in PICTURES}


def without_pictures(path: Path) -> bytes:
    text = path.read_bytes()
    return re.sub(rb"<svg.*?</svg>", b"<svg></svg>", text, flags=re.DOTALL)


def test_the_same_records_give_the_committed_report(tmp_path: Path) -> None:
    made = texts(tmp_path)
    committed = {path.name: path.read_bytes() for path in (GOLDEN / "report").iterdir()}
    assert sorted(made) == sorted(committed)
    for name, text in committed.items():
        assert made[name] == text, name


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        shutil.rmtree(GOLDEN / "report", ignore_errors=True)
        (GOLDEN / "report").mkdir()
        for name, text in texts(Path(scratch)).items():
            (GOLDEN / "report" / name).write_bytes(text)
