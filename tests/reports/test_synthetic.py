"""What a report says of synthetic data: from the run folder alone, whatever lies in it."""

import csv
import io
import json
import struct
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_reports.records.events import EventLog, SyntheticReady
from gptfl_reports.report import write_report

NAME = "abababababab-12345678"
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 784, 96) + b"rest"
WAV = b"RIFF\x24\0\0\0WAVEfmt rest"


def quality(**changes: Any) -> dict[str, Any]:
    """What the engine writes: two classes, the first of which can be heard."""

    def pair(synthetic: float | None, real: float | None) -> dict[str, float | None]:
        return {"synthetic": synthetic, "real": real}

    classes = [
        {
            "name": "<i>yes</i>",
            "samples": 300,
            "agreement": pair(0.75, 0.9),
            "diversity": pair(0.25, 0.5),
            "shown": 8,
            "heard": 2,
        },
        {
            "name": "no",
            "samples": 0,
            "agreement": pair(None, 0.8),
            "diversity": pair(None, None),
            "shown": 0,
            "heard": 0,
        },
    ]
    return {
        "schema": 1,
        "dataset": "digits",
        "dataset_sha256": "ab" * 32,
        "model": "cnn_small",
        "generator": "hibari",
        "prompts": "grammar",
        "sha256": "ab" * 32,
        "samples": 300,
        "looked_at": {"synthetic": 300, "train": 1437, "test": 360},
        "judge": {"steps": 500, "accuracy": 0.85},
        "feature": {"layer": "penultimate", "size": 64},
        "agreement": pair(0.75, 0.85),
        "distance": pair(0.125, -0.0005),
        "diversity": pair(0.25, 0.5),
        "alike": 0.995,
        "near_duplicates": pair(0.26, 0.075),
        "exact_duplicates": pair(0.0, 0.0625),
        "classes": classes,
        "seconds": 12.5,
        **changes,
    }


@pytest.fixture
def describe(run_folder: Path) -> Callable[..., Path]:
    """Return a writer of a description with its sheet."""

    def write(name: str = NAME, **changes: Any) -> Path:
        folder = run_folder / "synthetic" / name
        folder.mkdir(parents=True)
        (folder / "quality.json").write_text(json.dumps(quality(**changes)))
        (folder / "000.png").write_bytes(PNG)
        for clip in range(2):
            (folder / f"000-{clip}.wav").write_bytes(WAV + bytes([clip]))
        return folder

    return write


@pytest.fixture
def user(make_cell: Callable[..., Path]) -> Callable[..., Path]:
    """Return a writer of a cell that used the synthetic data."""

    def write(method: str = "gptfl", **keywords: Any) -> Path:
        folder = make_cell(method, **keywords)
        log = EventLog(folder / "events.jsonl")
        log.append(SyntheticReady("hibari", "grammar", 300, "ab" * 32, False, 1.0))
        log.close()
        return folder

    return write


class Tags(HTMLParser):
    """The attributes of all images and clips, and all texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_shows_measures_strips_and_clips(
    describe: Callable[..., Path], user: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    describe()
    user()
    write_report(run_folder, tmp_path / "out")
    page = Tags((tmp_path / "out" / "index.html").read_text("utf-8"))
    (strip,) = page.all("img")
    assert (strip["src"] or "").startswith("data:image/png;base64,iVBORw0KGgo")
    assert (strip["width"], strip["height"]) == ("784", "96")
    assert strip["alt"] == "8 synthetic samples of <i>yes</i>"
    assert len(page.all("audio")) == 2
    assert all(
        (clip["src"] or "").startswith("data:audio/wav;base64,UklGR") for clip in page.all("audio")
    )
    assert not page.all("i")
    for text in ("<i>yes</i>", "75.0 %", "0.125", "\N{MINUS SIGN}0.0005", "26.0 %", "By class"):
        assert text in page.texts
    assert any(
        text.startswith("digits · hibari · grammar prompts · 300 samples") for text in page.texts
    )


def test_files_hold_exact_numbers_and_the_sheet(
    describe: Callable[..., Path], user: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    folder = describe()
    user()
    out = tmp_path / "out"
    written = write_report(run_folder, out)
    for name in ("000.png", "000-0.wav", "000-1.wav"):
        assert (out / "synthetic" / NAME / name).read_bytes() == (folder / name).read_bytes()
        assert out / "synthetic" / NAME / name in written
    rows = list(csv.DictReader(io.StringIO((out / "synthetic.csv").read_text("utf-8"))))
    values = {(row["measure"], row["class"]): (row["synthetic"], row["real"]) for row in rows}
    assert values["distance", ""] == ("0.125", "-0.0005")
    assert values["label_agreement", "<i>yes</i>"] == ("0.75", "0.9")
    assert values["label_agreement", "no"] == ("", "0.8")
    assert {row["generator"] for row in rows} == {"hibari"}
    text = (out / "synthetic.md").read_text("utf-8")
    assert "\\<i\\>yes\\</i\\>" in text
    assert "85.0 % of real test samples" in text
    before = {path: path.read_bytes() for path in written}
    assert before == {path: path.read_bytes() for path in write_report(run_folder, out)}


def test_only_what_a_cell_used_is_shown(
    describe: Callable[..., Path], user: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    describe("cdcdcdcdcdcd-12345678", sha256="cd" * 32)
    describe("abababababab-00000001", model="vgg19")
    describe("abababababab-00000002", dataset="mnist5k")
    user()
    write_report(run_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "synthetic.csv").exists()
    assert "Synthetic data" not in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_it_is_stamped_if_all_that_used_it_is_quick(
    describe: Callable[..., Path], user: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    describe()
    user(preset={"name": "quick", "quick": True, "search": ""})
    write_report(run_folder, tmp_path / "out")
    assert "QUICK RUN" in (tmp_path / "out" / "synthetic.md").read_text("utf-8")
    user("gptfl+fedopt")
    write_report(run_folder, tmp_path / "out")
    assert "QUICK RUN" not in (tmp_path / "out" / "synthetic.md").read_text("utf-8")


def test_without_a_judge_the_rest_is_shown(
    describe: Callable[..., Path], user: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    nothing = {"synthetic": None, "real": None}
    measures = dict.fromkeys(("agreement", "distance", "diversity"), nothing)
    describe(judge=None, feature=None, **measures)
    user()
    write_report(run_folder, tmp_path / "out")
    text = (tmp_path / "out" / "synthetic.md").read_text("utf-8")
    assert "near-duplicates" in text
    assert "Judge:" not in text
    assert "| distance" not in text


def test_how_a_data_set_was_looked_at_sets_no_cells_apart(
    make_cell: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    for seed, samples in enumerate((0, 2000)):
        make_cell("gptfl", seed, config={"quality": {"samples": samples}})
    write_report(run_folder, tmp_path / "out")
    rows = csv.DictReader(io.StringIO((tmp_path / "out" / "leaderboard.csv").read_text("utf-8")))
    assert [row["n"] for row in rows] == ["2"]


def damage_json(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        content = quality()
        change(content)
        (folder / "quality.json").write_text(json.dumps(content))

    return damage


def link_out(folder: Path) -> None:
    outside = folder.parents[2] / "outside.png"
    outside.write_bytes(PNG)
    (folder / "000.png").unlink()
    (folder / "000.png").symlink_to(outside)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "not JSON": lambda folder: (folder / "quality.json").write_text("{"),
    "deep": lambda folder: (folder / "quality.json").write_text("[" * 100_000),
    "not a number": damage_json(lambda c: c.update(distance={"synthetic": float("nan")})),
    "share of two": damage_json(lambda c: c.update(agreement={"synthetic": 2.0, "real": 0.5})),
    "text for a number": damage_json(lambda c: c.update(samples="300")),
    "a newer schema": damage_json(lambda c: c.update(schema=2)),
    "a field is missing": damage_json(lambda c: c.pop("classes")),
    "too many shown": damage_json(lambda c: c["classes"][0].update(shown=9)),
    "a strip is missing": lambda folder: (folder / "000.png").unlink(),
    "a strip is a page": lambda folder: (folder / "000.png").write_text("<svg onload='x'>"),
    "a clip is a page": lambda folder: (folder / "000-1.wav").write_text("RIFF but no sound"),
    "a strip is too large": lambda folder: (folder / "000.png").write_bytes(PNG + bytes(2**23)),
    "a link leads out": link_out,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_description_is_one_sentence(
    damage: Callable[[Path], object],
    describe: Callable[..., Path],
    user: Callable[..., Path],
    run_folder: Path,
    tmp_path: Path,
) -> None:
    damage(describe())
    user()
    with pytest.raises(
        UsageError, match=r"description in .*abababababab-12345678 can't be read"
    ) as told:
        write_report(run_folder, tmp_path / "out")
    assert "--force" in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_folders_of_other_names_are_left_alone(
    describe: Callable[..., Path], user: Callable[..., Path], run_folder: Path, tmp_path: Path
) -> None:
    (describe("notes") / "quality.json").write_text("{")
    user()
    write_report(run_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "synthetic.md").exists()
