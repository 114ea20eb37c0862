"""Synthetic data that others published: the user's own command brings them, or one sentence."""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.engine.method import methods
from gptfl_bench.synthesis.generator import Prompt
from gptfl_datasets.files.pictures import decode
from gptfl_datasets.generators.published.cifake import Cifake
from gptfl_datasets.generators.published.published import Content, listing_sha256
from gptfl_datasets.tasks import cifar
from gptfl_reports.records.cells import read_cells

NAME = "cifar-10-python.tar.gz"
ARCHIVE = Cifake.layout.archive
TOP = f"{ARCHIVE.removesuffix('.zip')}/DATASET"
CLASSES = json.loads((Path(__file__).parent / "class_names.json").read_text("utf-8"))["cifar10"]
EACH = 12
SMALL = [
    *("num_clients=4", "cohort_size=2", "rounds=1", "partition.min_size=1", "model=linear"),
    *("methods.gptfl.pretrain.epochs=1", "quality.samples=0"),
]
Files = dict[str, bytes]
Make = Callable[[int, int], bytes]


def named(number: int, label: int) -> str:
    """A file's name in CIFAKE: the first class has no brackets."""
    return f"{number} ({label + 1}).jpg" if label else f"{number}.jpg"


@pytest.fixture
def jpeg() -> Make:
    """Return what makes a small picture of a class."""
    import io

    from PIL import Image

    def make(number: int, label: int) -> bytes:
        file = io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 40, (32, 32, 3), np.uint8)
        Image.fromarray(noise + np.uint8(20 * label)).save(file, "JPEG", quality=90)
        return file.getvalue()

    return make


@pytest.fixture
def fakes(jpeg: Make) -> Files:
    return {named(n, label): jpeg(n, label) for label in range(10) for n in range(EACH)}


def pack(target: Path, fakes: Files, reals: Files) -> None:
    """Write an archive as GitHub packs the authors' commit."""
    with ZipFile(target, "w") as archive:
        archive.writestr(f"{TOP.partition('/')[0]}/README.md", "CIFAKE")
        for half in ("test", "train"):
            for kind, files in (("FAKE", fakes), ("REAL", reals)):
                for name, data in files.items():
                    archive.writestr(f"{TOP}/{half}/{kind}/{name}", data)


def stand_for(patch: pytest.MonkeyPatch, fakes: Files) -> None:
    """Let some files be the published ones."""
    nbytes = sum(map(len, fakes.values()))
    content = Content(Cifake.content.folder, len(fakes), nbytes, listing_sha256(fakes))
    patch.setattr(Cifake, "content", content)


def offer(patch: pytest.MonkeyPatch, url: str, packed: Path) -> None:
    """Let an archive of CIFAR-10, and CIFAKE's beside it, be what their owners offer."""
    official = replace(
        cifar.CIFAR10.layout.files[NAME],
        url=f"{url}/{NAME}",
        nbytes=packed.stat().st_size,
        md5=hashlib.md5(packed.read_bytes()).hexdigest(),
    )
    patch.setitem(cifar.CIFAR10.layout.files, NAME, official)
    offered = replace(Cifake.layout.files[ARCHIVE], url=f"{url}/{ARCHIVE}")
    patch.setitem(Cifake.layout.files, ARCHIVE, offered)


@pytest.fixture
def site(
    cifar10_tree: Path,
    fakes: Files,
    jpeg: Make,
    tmp_path: Path,
    as_tar_gz: Callable[..., Path],
    serve: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """CIFAR-10's and CIFAKE's owners: small archives of their layouts."""
    folder = tmp_path / "site"
    folder.mkdir()
    packed = as_tar_gz(cifar10_tree / "cifar-10-batches-py", folder / NAME, "cifar-10-batches-py")
    pack(folder / ARCHIVE, fakes, {"0000.jpg": jpeg(99, 0)})
    stand_for(monkeypatch, fakes)
    offer(monkeypatch, serve(folder), packed)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    home = tmp_path / "home"
    monkeypatch.setenv("GPTFL_BENCH_DATA", str(home / "data"))
    monkeypatch.setenv("GPTFL_BENCH_CACHE", str(home / "cache"))
    return home


def kept(home: Path) -> list[str]:
    files = [p.name for p in (home / "data").rglob("*") if p.is_file()]
    return sorted(name for name in files if not name.endswith(".lock"))


def run(out: Path, *more: str) -> int:
    words = ["run", "--methods", "fedavg,gptfl", "--dataset", "cifar10", "--preset", "quick"]
    return main([*words, "--seeds", "0", "--out", str(out), *SMALL, *more])


def rows(out: Path, capfd: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capfd.readouterr()
    assert main(["results", str(out), "--format", "json"]) == 0
    return {row["method"]: row for row in json.loads(capfd.readouterr().out)}


def test_the_users_own_command_brings_both_and_gptfl_runs(
    site: Path, home: Path, tmp_path: Path, asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert run(out) == 0
    announced = [line for line in capfd.readouterr().err.splitlines() if "fetching" in line]
    assert len(announced) == 2
    assert "fetching cifar10" in announced[0]
    assert "fetching cifake" in announced[1]
    assert ARCHIVE in announced[1]
    assert "about 145.0 MB" in announced[1]
    assert str(home / "data" / "cifake") in announced[1]
    assert {name: row["status"] for name, row in rows(out, capfd).items()} == {
        "fedavg": "finished",
        "gptfl": "finished",
    }
    (record,) = (json.loads(p.read_text("utf-8")) for p in out.glob("gptfl-*/record.json"))
    assert record["config"]["synthetic"]["generator"] == "cifake"
    assert kept(home) == sorted([NAME, ARCHIVE])
    assert main(["report", str(out)]) == 0
    caption = (out / "report" / "leaderboard.md").read_text("utf-8")
    assert "Synthetic data: cifake with prompts by grammar" in caption
    # Nothing is brought twice, and the same cells are found again.
    before = len(asked)
    assert run(out, "--no-download") == 0
    assert len(asked) == before
    assert len(list(out.glob("gptfl-*"))) == 1


@pytest.mark.slow
def test_all_methods_run_by_the_users_own_command(
    site: Path, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "runs", "--methods", "all", "model=cnn_small") == 0
    statuses = {name: row["status"] for name, row in rows(tmp_path / "runs", capfd).items()}
    assert statuses == dict.fromkeys(methods.names(), "finished")


def test_real_images_in_the_place_of_synthetic_ones_are_refused(
    site: Path,
    home: Path,
    tmp_path: Path,
    jpeg: Make,
    fakes: Files,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same names and even the same number of bytes: only the checksum tells."""
    reals = dict(zip(fakes, reversed(fakes.values()), strict=True))
    pack(site / ARCHIVE, reals, fakes)
    assert run(tmp_path / "runs") == 2
    sentence = capfd.readouterr().err.splitlines()[-1]
    for part in ("is not the published set 'cifake'", "SHA-256", "not kept"):
        assert part in sentence
    assert kept(home) == [NAME]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("archive", [b"", b"PK\x03\x04 and nothing else", b"<html>busy</html>"])
def test_what_is_no_archive_is_refused_and_not_kept(
    archive: bytes, site: Path, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (site / ARCHIVE).write_bytes(archive)
    assert run(tmp_path / "runs") == 2
    assert ARCHIVE in capfd.readouterr().err.splitlines()[-1]
    assert kept(home) == [NAME]
    assert not (tmp_path / "runs").exists()


def test_a_set_with_files_too_many_is_refused(
    site: Path, home: Path, fakes: Files, tmp_path: Path
) -> None:
    pack(tmp_path / "more.zip", {**fakes, "12.jpg": b"more"}, {})
    with pytest.raises(UsageError, match=r"is not 120 files of [\d,]+ bytes"):
        Cifake(path=str(tmp_path / "more.zip")).generate([])


def test_no_network_is_one_sentence(
    site: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gone = replace(Cifake.layout.files[ARCHIVE], url=f"http://127.0.0.1:9/{ARCHIVE}")
    monkeypatch.setitem(Cifake.layout.files, ARCHIVE, gone)
    assert run(tmp_path / "runs") == 2
    *_, announced, sentence = capfd.readouterr().err.splitlines()
    assert "fetching cifake" in announced
    for part in ("there is no connection", "--no-download", str(home / "data" / "cifake")):
        assert part in sentence
    assert kept(home) == [NAME]
    assert not (tmp_path / "runs").exists()


def test_without_downloads_gptfl_alone_is_refused(
    site: Path,
    home: Path,
    cifar10_tree: Path,
    tmp_path: Path,
    asked: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "runs"
    assert run(out, "--no-download", f"data.path={cifar10_tree}") == 0
    found = rows(out, capfd)
    assert found["fedavg"]["status"] == "finished"
    assert found["gptfl"]["status"] == "refused"
    for part in ("cifake (", "nothing is downloaded here", "synthetic.generator=folder"):
        assert part in found["gptfl"]["reason"]
    assert not asked


def test_an_unpacked_folder_does_as_well(
    site: Path, home: Path, cifar10_tree: Path, tmp_path: Path, asked: list[str]
) -> None:
    with ZipFile(site / ARCHIVE) as archive:
        archive.extractall(home / "data" / "cifake")
    assert run(tmp_path / "runs", "--no-download", f"data.path={cifar10_tree}") == 0
    assert len(list(tmp_path.glob("runs/gptfl-*/events.jsonl"))) == 1
    assert not asked


def test_each_file_is_handed_out_once_with_its_class(
    site: Path, home: Path, fakes: Files, tmp_path: Path
) -> None:
    generator = Cifake(path=str(site / ARCHIVE), access=Access(tmp_path, tmp_path))
    wanted = [Prompt(label, "", 1.0, 0, n) for label in CLASSES for n in range(EACH)]
    made = [sample.media for sample in generator.generate(wanted)]
    for label in range(10):
        theirs = {decode(fakes[named(n, label)], "").tobytes() for n in range(EACH)}
        assert {m.tobytes() for m in made[label * EACH : (label + 1) * EACH]} == theirs
    with pytest.raises(UsageError, match=r"has 12 samples of the label 'cat'.*multiplier"):
        generator.generate([Prompt("cat", "", 1.0, 0, EACH)])
    with pytest.raises(UsageError, match=r"has 0 samples of the label 'eel'"):
        generator.generate([Prompt("eel", "", 1.0, 0, 0)])


@pytest.fixture
def published_files(unpack_packs: Any) -> Files:
    """The authors' own 50,000 files by name, from a pack."""
    path = unpack_packs.packs_folder() / "cifake_sd14_jpeg.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    held = np.load(path, allow_pickle=False)
    data, offsets = held["data"], held["offsets"].tolist()
    rows = np.flatnonzero(held["split_names"][held["split"]] == "train").tolist()
    numbers, labels = held["file_number"].tolist(), held["labels"].tolist()
    return {
        named(numbers[row], labels[row]): data[offsets[row] : offsets[row + 1]].tobytes()
        for row in rows
    }


def test_the_pack_holds_what_was_published(published_files: Files) -> None:
    """The checksum in this repository is that of the authors' own 50,000 files."""
    assert Cifake.content.fault(published_files) == ""
    changed = {**published_files, "1000.jpg": published_files["1001.jpg"]}
    assert "is not 50,000 files" in Cifake.content.fault(changed)


@pytest.mark.slow
def test_the_whole_sets_give_a_start_far_above_chance(
    published_files: Files,
    unpack_packs: Any,
    as_tar_gz: Callable[..., Path],
    serve: Callable[[Path], str],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """All twelve methods by the user's own command, on all images: two clients, one round.

    The archive of CIFAR-10 stands in for its owner's, which no test fetches: the same images after
    JPEG. CIFAKE's holds the authors' own files.
    """
    source = unpack_packs.packs_folder() / "cifar10_real_jpeg.npz"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    held = np.load(source, allow_pickle=False)
    # Each look into the file reads all of an array.
    data, ends = held["data"], held["offsets"].tolist()
    pictures = np.stack([decode(data[a:b].tobytes(), "") for a, b in itertools.pairwise(ends)])
    halves = []
    for half in ("train", "test"):
        rows_of = held["split_names"][held["split"]] == half
        halves.append((pictures[rows_of], held["labels"][rows_of].tolist()))
    layouts = sys.modules["published_layouts"]
    layouts.write(tmp_path / "tree", layouts.cifar10(*halves, CLASSES))
    folder = tmp_path / "site"
    folder.mkdir()
    tree = tmp_path / "tree" / "cifar-10-batches-py"
    packed = as_tar_gz(tree, folder / NAME, "cifar-10-batches-py")
    pack(folder / ARCHIVE, published_files, {})
    offer(monkeypatch, serve(folder), packed)
    words = ["run", "--methods", "all", "--dataset", "cifar10", "--seeds", "0"]
    small = ["rounds=1", "cohort_size=2", "quality.samples=0", "evaluation.pretraining=0"]
    cheap = [
        *("methods.gptfl.pretrain.epochs=1", "methods.feddf.distillation.steps=20"),
        *("methods.fedftg.iterations=2", "methods.dsfl.distillation.steps=20"),
        *("methods.fedet.distillation.steps=20", "methods.dynafed.matching.outer_steps=2"),
    ]
    assert main([*words, "--out", str(tmp_path / "runs"), *small, *cheap]) == 0
    assert kept(home) == sorted([NAME, ARCHIVE])
    found = rows(tmp_path / "runs", capfd)
    assert {name: row["status"] for name, row in found.items()} == dict.fromkeys(
        methods.names(), "finished"
    )
    (cell,) = [c for c in read_cells(tmp_path / "runs") if c.record["method"] == "gptfl"]
    assert cell.evaluations[0].round == 0
    assert cell.evaluations[0].accuracy > 0.3
