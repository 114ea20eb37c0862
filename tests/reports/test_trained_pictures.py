"""Images that a method trained: what a cell keeps of them, and what the page shows."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.quality.pictures import write_pictures
from gptfl_reports.page.trained_pictures import trained_pictures
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.quality import read_pictures
from gptfl_reports.report import write_report

MakeCell = Callable[..., Path]
CLASSES = ("cat", '<script>alert("dog")</script>', "eel")


def images() -> dict[str, torch.Tensor]:
    """Ten images of two classes, each from its number upwards; no eel."""
    x = torch.arange(10.0)[:, None, None, None] + torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    return {"x": x, "labels": torch.arange(10) % 2}


def test_each_image_is_stretched_over_its_own_range(tmp_path: Path) -> None:
    write_pictures(tmp_path, images(), CLASSES)
    strips = read_pictures(tmp_path)
    assert list(strips) == ["cat", CLASSES[1]]
    strip = np.asarray(Image.open(io.BytesIO(strips["cat"])).convert("L"))
    assert (strip.min(), strip.max()) == (0, 255)
    side = strip.shape[0]
    assert np.array_equal(strip[:, :side], strip[:, side + 2 : 2 * side + 2])


@pytest.mark.parametrize(
    "x",
    [torch.zeros(4, 8), torch.zeros(4, 5, 3, 3), torch.full((4, 1, 3, 3), float("nan"))],
    ids=["flat", "five channels", "not a number"],
)
def test_what_is_no_image_is_left_out(tmp_path: Path, x: torch.Tensor) -> None:
    write_pictures(tmp_path, {"x": x, "labels": torch.zeros(4, dtype=torch.int64)}, CLASSES)
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_one_seed_of_each_method(make_cell: MakeCell, tmp_path: Path) -> None:
    for seed in (1, 0):
        write_pictures(make_cell("dynafed", seed), images(), CLASSES)
    make_cell("fedavg")
    (shown,) = trained_pictures(read_cells(tmp_path / "run"))
    assert shown.title == "digits · dynafed · seed 0"
    assert [strip.name for strip in shown.strips] == list(CLASSES[:2])
    write_report(tmp_path / "run", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Images that methods trained" in page
    assert page.count("trained images of") == 2
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("name", "content"),
    [("classes.json", b"{}"), ("classes.json", b"[" * 9999), ("000.png", b"GIF89a, no PNG")],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    write_pictures(tmp_path, images(), CLASSES)
    (tmp_path / "pictures" / name).write_bytes(content)
    with pytest.raises(UsageError, match="can't be read"):
        read_pictures(tmp_path)


def test_files_outside_the_cell_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cell = tmp_path / "cell"
    (cell / "pictures").mkdir(parents=True)
    (cell / "pictures" / "classes.json").write_text(json.dumps(["cat"]))
    (cell / "pictures" / "000.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UsageError, match="outside"):
        read_pictures(cell)
