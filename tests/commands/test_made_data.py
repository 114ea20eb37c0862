"""Data that a generator made, read as if they had been recorded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task
from gptfl_datasets.tasks.image_folder import ImageFolderOptions, image_folder

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits that ``renderer`` made, eleven of each."""
    folder = tmp_path_factory.mktemp("made") / "digits"
    words = ["--generator", "renderer", "--multiplier", "0.07", "--out", str(folder)]
    assert main(["generate", *words]) == 0
    return folder


def read(path: Path, cache: Path) -> Task:
    return image_folder(Access(cache, cache, download=False), ImageFolderOptions(path=str(path)))


def run(bench: Bench, path: Path, out: Path, *settings: object, methods: str = "gptfl") -> Any:
    words = [f"data.path={path}", "rounds=1", "num_clients=2", "cohort_size=1"]
    more = ["partition.recipe=iid", "methods.gptfl.pretrain.epochs=1", "synthetic.multiplier=0.1"]
    names = ["--methods", methods, "--dataset", "image_folder", "--preset", "quick"]
    answer = bench("run", *names, "--seeds", 0, "--out", out, *words, *more, *settings)
    assert out.exists(), answer.err
    return answer


def endings(out: Path) -> dict[str, str]:
    """Why each method's cell ended, and how, by the method."""
    found = {}
    for folder in out.iterdir():
        if (folder / "record.json").exists():
            method = json.loads((folder / "record.json").read_text())["method"]
            last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
            found[method] = f"{last['status']} {last['reason']}".strip()
    return found


def test_a_generator_is_not_measured_on_itself(
    bench: Bench, rendered: Path, tmp_path: Path
) -> None:
    """Methods without synthetic data run, and every table says what the data are."""
    out = tmp_path / "out"
    table = run(bench, rendered, out, "synthetic.generator=renderer", methods="fedavg,gptfl").out
    assert endings(out) == {
        "fedavg": "finished",
        "gptfl": "refused the data of 'image_folder' were made by the generator 'renderer', which "
        "would be measured on itself; choose another synthetic.generator, or recorded data.",
    }
    assert "data: not recorded but made by renderer; a share of 0.2" in table


def test_a_copy_of_its_samples_is_the_generator_all_the_same(
    bench: Bench, rendered: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(rendered, tmp_path / "copy")
    folder = ["synthetic.generator=folder", f"generators.folder.path={copy}"]
    out = tmp_path / "out"
    run(bench, rendered, out, *folder)
    assert endings(out)["gptfl"].startswith("refused the data of 'image_folder' were made by")


def test_another_generator_may_be_measured(bench: Bench, rendered: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(rendered, other, ignore=lambda *_: ["metadata.jsonl"])
    (other / "plan.json").write_text('{"generator": "diffusion"}')
    out = tmp_path / "out"
    run(bench, rendered, out, "synthetic.generator=folder", f"generators.folder.path={other}")
    assert endings(out) == {"gptfl": "finished"}


def test_who_made_the_data_is_part_of_them(rendered: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(rendered, bare, ignore=lambda *_: ["plan.json", "metadata.jsonl"])
    made, unknown = read(rendered, tmp_path / "cache"), read(bare, tmp_path / "cache")
    assert (made.made_by, unknown.made_by) == (("renderer",), ())
    # What was decoded before says so, too.
    assert read(rendered, tmp_path / "cache").made_by == ("renderer",)
    assert made.train.checksum() == unknown.train.checksum()
    assert made.fingerprint != unknown.fingerprint
    assert "made by" not in unknown.note


def test_parts_of_several_origins_count_together(rendered: Path, tmp_path: Path) -> None:
    split = tmp_path / "split"
    for part, maker in (("train", "diffusion"), ("test", "hibari")):
        shutil.copytree(rendered, split / part)
        (split / part / "plan.json").write_text(json.dumps({"generator": maker}))
    lines = ['{"file_name": "a.png"}', "", '{"generator": 5}']
    (split / "test" / "metadata.jsonl").write_text("\n".join(lines))
    task = read(split, tmp_path / "cache")
    assert task.made_by == ("diffusion", "hibari", "renderer")
    assert task.note == "not recorded but made by diffusion, hibari, renderer"


@pytest.mark.parametrize("parts", [("Train", "val"), ("training", "Testing")])
def test_parts_may_have_any_of_their_names(
    rendered: Path, tmp_path: Path, parts: tuple[str, str]
) -> None:
    split = tmp_path / "split"
    for part in parts:
        shutil.copytree(rendered, split / part)
    task = read(split, tmp_path / "cache")
    assert task.made_by == ("renderer",)
    assert task.num_classes == 10
    assert task.note == (
        f"not recorded but made by renderer; {parts[0]} served for training, "
        f"{parts[1]} served for testing"
    )


def test_the_command_names_classes_and_what_served(
    bench: Bench, rendered: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split"
    for part in ("train", "val"):
        shutil.copytree(rendered, split / part)
    (split / "train" / "zero" / "000000.png").rename(split / "train" / "zero" / "000000.heic")
    told = bench("data", "image_folder", f"data.path={split}", "--cache", tmp_path / "cache").out
    (classes,) = (line for line in told.splitlines() if line.startswith("classes"))
    assert classes.startswith("classes, training + test samples: eight (")
    assert f"zero ({len(list((split / 'train' / 'zero').glob('*.png')))} + " in classes
    assert "train served for training, val served for testing; 1 file not read (1 .heic)" in told


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", b'{"generator": '),
        ("plan.json", b"[" * 100_000),
        ("plan.json", b"\xff"),
        ("plan.json", json.dumps({"generator": "x" * 101}).encode()),
        ("metadata.jsonl", json.dumps({"generator": "a\x1b[2J"}).encode()),
        ("metadata.jsonl", b"\n".join(b'{"generator": "g%d"}' % n for n in range(21))),
    ],
)
def test_a_damaged_origin_is_one_sentence(
    rendered: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    copy = shutil.copytree(rendered, tmp_path / "copy")
    (copy / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"^'{name}' of .*copy' should say .* is damaged; repair"):
        read(copy, tmp_path / "cache")
