"""Who holds what: numbers by hand, what a run folder says of it, and what is drawn."""

import base64
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.partition import Partition
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_reports.figures.holdings import (
    Holdings,
    holdings_csv,
    read_all,
    read_holdings,
    summary_text,
)
from gptfl_reports.figures.holdings_figure import svg, write
from gptfl_reports.records.cells import read_cell, read_cells
from gptfl_reports.report import write_report

MakeCell = Callable[..., Path]
HandOut = Callable[..., dict[str, object]]
CLASSES = ("cat", "dog", "eel")
COUNTS = ((5, 0, 0), (2, 2, 2), (0, 0, 0), (3, 1, 0))
ODD = '<script>alert("x")</script> $y$ & id="z" & [b]'


def holdings(counts: Sequence[Sequence[int]] = COUNTS, title: str = "tiny") -> Holdings:
    names = CLASSES if len(counts[0]) == 3 else tuple(f"class {c}" for c in range(len(counts[0])))
    return Holdings(title, names, tuple(map(tuple, counts)), "ab" * 32)


def map_of(text: str) -> np.ndarray:
    """Return the map within an SVG as it is stored: (C, columns, RGB), first class first."""
    stored = [base64.b64decode(found) for found in re.findall(r"base64,([^\"]+)", text)]
    pictures = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in stored]
    picture = pictures[0]
    turned = re.search(r'transform="matrix\(\S+ \S+ \S+ (\S+)', text)
    return picture[::-1] if turned and float(turned[1]) < 0 else picture


def test_sizes_and_effective_classes_by_hand() -> None:
    """Shares 3/4 and 1/4 have the effective number 4 / 3^(3/4)."""
    held = holdings()
    assert held.sizes == (5, 6, 0, 4)
    assert held.effective_classes[0] == 1.0
    assert held.effective_classes[1:] == pytest.approx((3.0, 0.0, 4 / 3**0.75))


def test_summary_by_hand() -> None:
    """Both means are over three clients, for the third holds nothing."""
    s = holdings().summary
    assert (s.clients, s.samples, s.smallest, s.median, s.largest) == (4, 15, 0, 4.5, 6)
    assert s.effective_classes == pytest.approx((1 + 3 + 4 / 3**0.75) / 3)
    assert s.largest_class == pytest.approx((1 + 1 / 3 + 3 / 4) / 3)
    nothing = holdings(((0, 0, 0),)).summary
    assert (nothing.effective_classes, nothing.largest_class) == (0.0, 0.0)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=9).filter(any), st.integers(1, 9))
def test_effective_classes_are_the_exponential_of_the_entropy(row: list[int], times: int) -> None:
    (found,) = holdings([row]).effective_classes
    assert found == pytest.approx(math.exp(entropy(row)))
    assert 1 <= found <= sum(n > 0 for n in row) + 1e-9
    same, turned = holdings([[n * times for n in row], row[::-1]]).effective_classes
    assert (same, turned) == pytest.approx((found, found))


@pytest.mark.parametrize(
    "counts", [(), ((1, 2),), ((1, 2, 3), (1,)), ((1, -1, 0),), ((1.0, 2, 0),), ((True, 0, 0),)]
)
def test_counts_that_do_not_fit_are_refused(counts: Any) -> None:
    with pytest.raises(ValueError, match=r"client|count"):
        Holdings("t", CLASSES, counts)


def test_a_partition_counts_what_its_clients_hold() -> None:
    labels = np.array([2, 0, 0, 1, 2, 2])
    counts = Partition(((0, 4), (), (1, 2, 3)), "iid").counts(labels, 4)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[0, 0, 2, 0], [0, 0, 0, 0], [2, 1, 0, 0]]


def test_a_run_folder_says_who_holds_what(
    run_cell: Callable[..., Any], tiny_task: Task, tmp_path: Path
) -> None:
    run_cell(methods.get("fedavg")(), out=tmp_path, rounds=0)
    (cell,) = read_cells(tmp_path)
    held = read_holdings(tmp_path, cell.record)
    assert held is not None
    assert held.classes == ("cat", "dog", "eel")
    assert held.title.startswith("tiny · group(")
    groups = tiny_task.groups or ()
    for name, row in zip(sorted(set(groups)), held.counts, strict=True):
        own = Counter(int(y) for y, g in zip(tiny_task.train.y, groups, strict=True) if g == name)
        assert row == (own[0], own[1], own[2])
    assert held.counts[0] == (3, 0, 0)


def test_the_same_shares_of_other_data_are_drawn_apart(
    run_cell: Callable[..., Any], tiny_task: Task, tmp_path: Path
) -> None:
    """A partition's fingerprint is over indices, and both tasks deal the same ones."""
    train = Samples(tiny_task.train.x, tiny_task.train.y.flip(0))
    other = replace(tiny_task, name="flipped", train=train)
    for task in (tiny_task, other):
        run_cell(methods.get("fedavg")(), out=tmp_path, rounds=0, task=task)
    cells = read_cells(tmp_path)
    assert len({cell.record["partition"]["sha256"] for cell in cells}) == 1
    found = read_all(tmp_path, cells)
    digits = cells[0].record["partition"]["sha256"][:12]
    assert list(found) == [f"holdings-{digits}", f"holdings-{digits}-2"]
    first, second = found.values()
    assert first.counts != second.counts


def test_cells_on_one_partition_have_one_drawing(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path
) -> None:
    """Whatever their method or seed; another partition has its own, in the order of seeds."""
    shared, own = hand_out([[1, 2], [3, 0]]), hand_out([[2, 2], [2, 0]], name="y", digit="e")
    for method in ("fedavg", "moon"):
        for seed in (0, 10):
            settings = {"settings": {"num_clients": 2, "seed": seed}}
            make_cell(method, seed, partition=shared | settings, preset={"quick": seed == 0})
        settings = {"settings": {"num_clients": 2, "seed": 2}}
        make_cell(method, 2, partition=own | settings, preset={"quick": True})
    found = read_all(run_folder, read_cells(run_folder))
    assert list(found) == [f"holdings-{'d' * 12}", f"holdings-{'e' * 12}"]
    assert [held.title for held in found.values()] == [
        "digits · dirichlet(num_clients=2) · seeds 0, 10",
        "digits · dirichlet(num_clients=2) · seed 2",
    ]
    assert ["QUICK" in held.stamp for held in found.values()] == [False, True]


@pytest.mark.parametrize("lacking", ["classes", "counts", "file"])
def test_older_run_folders_have_no_drawing(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path, tmp_path: Path, lacking: str
) -> None:
    partition = hand_out([[1, 2]], **({} if lacking == "file" else {lacking: None}))
    if lacking == "file":
        (run_folder / "partitions" / "x.json").unlink()
    cell = read_cell(make_cell("fedavg", 0, partition=partition))
    assert read_holdings(run_folder, cell.record) is None
    written = write_report(run_folder, tmp_path / "out")
    assert not [path for path in written if path.name.startswith("holdings")]
    assert "Who holds what" not in (tmp_path / "out" / "index.html").read_text()


def test_a_partition_that_is_not_what_its_name_says(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path
) -> None:
    partition = hand_out([[1, 2]], name="0123456789abcdef-00000000")
    cell = read_cell(make_cell("fedavg", 0, partition=partition))
    with pytest.raises(UsageError, match="it is not what its name says"):
        read_holdings(run_folder, cell.record)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        {"sha256": "e" * 64},
        {"counts": [[1, 2], [3]]},
        {"counts": [[1, 2], [3, -4]]},
        {"counts": [[1, 2], [3, 4.0]]},
        {"counts": [[1, 2], [3, 5]]},
        {"counts": [[1, 2], 7]},
        {"counts": 7},
        {"classes": 7},
        {"classes": ["cat"]},
        {"classes": []},
    ],
    ids=str,
)
def test_damaged_partition_is_an_error_and_writes_nothing(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path, tmp_path: Path, content: Any
) -> None:
    whole = [[1, 2], [3, 4]]
    partition = hand_out(whole)
    if isinstance(content, bytes):
        (run_folder / "partitions" / "x.json").write_bytes(content)
    else:
        hand_out(whole, **content)
    make_cell("fedavg", 0, partition=partition)
    with pytest.raises(UsageError, match=r"x\.json"):
        write_report(run_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_partition_outside_the_run_folder_is_not_read(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path
) -> None:
    partition = hand_out([[1, 2]])
    (run_folder / "partitions" / "x.json").rename(run_folder.parent / "x.json")
    for file in ("../x.json", str(run_folder.parent / "x.json")):
        cell = read_cell(make_cell("fedavg", 0, partition=partition | {"file": file}))
        with pytest.raises(UsageError, match="outside"):
            read_holdings(run_folder, cell.record)


def test_csv_has_the_numbers_of_every_client() -> None:
    rows = list(csv.DictReader(io.StringIO(holdings_csv(holdings()))))
    assert list(rows[0]) == ["client", "size", "effective_classes", "cat", "dog", "eel"]
    assert [row["client"] for row in rows] == ["0", "1", "2", "3"]
    assert [tuple(int(row[name]) for name in CLASSES) for row in rows] == list(COUNTS)
    assert [int(row["size"]) for row in rows] == [5, 6, 0, 4]
    assert float(rows[3]["effective_classes"]) == holdings().effective_classes[3]


def test_terminal_shows_the_summary_and_says_of_what() -> None:
    text = summary_text(holdings([[5, 0, 0], [2, 2, 2], [4000, 0, 0]], title="digits · iid()"))
    assert "digits · iid()" in text
    for words in ("3", "4,011", "5", "6", "4,000", "1.67 of 3", "77.8 %"):
        assert re.search(rf"(?<=\s){re.escape(words)}\s", text), words
    assert max(map(len, text.splitlines())) <= 120


def test_map_shows_the_counts_with_the_largest_client_first() -> None:
    """Columns are clients 1, 0, 3 and 2; white is none, and more samples are darker."""
    picture = map_of(svg(holdings()))
    assert picture.shape == (3, 4, 3)
    brightness = picture.sum(axis=2).T.tolist()
    white = 3 * 255
    # By client: cat, dog, eel.
    two, five, three, one = brightness[0][0], brightness[1][0], brightness[2][0], brightness[2][1]
    assert brightness[0] == [two] * 3
    assert brightness[1] == [five, white, white]
    assert brightness[2] == [three, one, white]
    assert brightness[3] == [white] * 3
    assert all(a < b for a, b in pairwise((five, three, two, one, white)))


@pytest.mark.parametrize(
    ("clients", "classes", "columns"), [(25, 50, 25), (26, 51, 26), (750, 9, 750), (2112, 9, 704)]
)
def test_figure_names_what_there_is_room_for(clients: int, classes: int, columns: int) -> None:
    counts = np.random.default_rng(0).integers(0, 30, (clients, classes)).tolist()
    text = svg(holdings(counts))
    words = [word.strip() for word in ElementTree.fromstring(text).itertext()]
    assert ("class 3" in words) == (classes <= 50)
    assert ("51 classes" in words) == (classes > 50)
    assert ("client, largest first" in words) == (clients <= 25)
    assert (f"{clients:,} clients, largest first" in words) == (clients > 25)
    assert any("mean of 3 clients" in word for word in words) == (clients == 2112)
    assert map_of(text).shape[:2] == (classes, columns)
    assert len(text) < 500_000


def test_long_and_odd_names_are_shown_as_they_are() -> None:
    held = replace(holdings(), title=ODD, classes=("a" * 30, ODD, "$x_1$"))
    text = svg(held)
    words = [word.strip() for word in ElementTree.fromstring(text).itertext()]
    assert {f"{'a' * 17}…", f"{ODD[:17]}…", "$x_1$", ODD} <= set(words)
    assert "#123457" not in text


def test_files_are_the_same_bytes_whatever_the_reader_has_set(tmp_path: Path) -> None:
    first = write(holdings(), tmp_path / "a" / "b", "held")
    assert [path.name for path in first] == ["held.csv", "held.png", "held.svg"]
    with mpl.rc_context({"font.size": 30, "image.cmap": "jet", "axes.facecolor": "red"}):
        second = write(holdings(), tmp_path / "c", "held")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert len(list((tmp_path / "c").iterdir())) == 3


def test_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="--out"):
        write(holdings(), tmp_path / "out", "held")


def test_report_shows_every_partition_on_its_page(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path, tmp_path: Path
) -> None:
    for seed in (0, 1):
        counts, digit = [[20, 10 + seed], [30, 0]], "de"[seed]
        partition = hand_out(counts, [ODD, "dog"], name=digit, digit=digit)
        make_cell("fedavg", seed, partition=partition | {"recipe": ODD})
    names = {path.name for path in write_report(run_folder, tmp_path / "out")}
    page = (tmp_path / "out" / "index.html").read_text()
    for digit in "de":
        stem = f"holdings-{digit * 12}"
        assert {f"{stem}.svg", f"{stem}.png", f"{stem}.csv"} <= names
        assert f"Numbers: {stem}.csv" in page
        assert f">{digit * 12}</th>" in page
    assert ">61</td>" in page  # samples of the second partition
    assert "<script>alert" not in page
    assert page.count('aria-label="Who holds what"') == 2
    ids = re.findall(r'<[^>]* id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    # Figures use parts of their own, and pictures that are in the page.
    for place in re.findall(r'href="([^"]*)"', page):
        assert place.startswith("data:image/png;base64,") or place.removeprefix("#") in ids
    assert {place for place in re.findall(r"url\(#([^)]*)\)", page)} <= set(ids)
    assert json.loads((run_folder / "partitions" / "d.json").read_text())["counts"]
