"""A data set that is not there, from the command line: brought once, or one sentence."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_datasets.tasks import cifar

NAME = "cifar-100-python.tar.gz"


@pytest.fixture
def site(
    cifar100_tree: Path,
    tmp_path: Path,
    as_tar_gz: Callable[..., Path],
    serve: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The owner's folder with CIFAR-100's archive; its address takes the official one's place."""
    folder = tmp_path / "site"
    folder.mkdir()
    packed = as_tar_gz(cifar100_tree / "cifar-100-python", folder / NAME, "cifar-100-python")
    official = replace(
        cifar.CIFAR100.layout.files[NAME],
        url=f"{serve(folder)}/{NAME}",
        nbytes=packed.stat().st_size,
        md5=hashlib.md5(packed.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(cifar.CIFAR100.layout.files, NAME, official)
    return folder


def words(tmp_path: Path, *more: str) -> list[str]:
    where = ["--data", str(tmp_path / "data"), "--cache", str(tmp_path / "cache")]
    return ["data", "cifar100", *where, *more]


def test_prepare_brings_it_once(
    site: Path, tmp_path: Path, asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, "--prepare")) == 0
    answer = capfd.readouterr()
    assert "200 training and 100 test samples" in answer.out
    assert f"read from: official archive {NAME}" in answer.out
    (announced,) = answer.err.splitlines()
    for part in (NAME, "127.0.0.1", str(tmp_path / "data" / "cifar100"), "bytes"):
        assert part in announced
    assert [p.name for p in (tmp_path / "data").rglob("*") if p.is_file()] == [NAME]
    assert main(words(tmp_path, "--verify")) == 0
    assert "the samples are the same" in capfd.readouterr().out
    assert len(asked) == 1


def test_a_run_brings_it_too(site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, _, *where = words(tmp_path)
    run = [
        "run",
        "--dataset",
        "cifar100",
        "--methods",
        "fedavg",
        "--seeds",
        "0",
        "--preset",
        "quick",
    ]
    small = ["num_clients=4", "cohort_size=2", "rounds=1", "--out", str(tmp_path / "out")]
    assert main([*run, *small, *where]) == 0
    assert capfd.readouterr().err.startswith(f"gptfl-bench: fetching cifar100: {NAME}")


@pytest.mark.parametrize("more", [[], ["--prepare", "--no-download"], ["--verify"]])
def test_nothing_is_fetched_unless_asked(
    site: Path, tmp_path: Path, more: list[str], asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, *more)) == 2
    (sentence,) = capfd.readouterr().err.splitlines()
    for part in (NAME, str(tmp_path / "data" / "cifar100"), "bytes", "data cifar100 --prepare"):
        assert part in sentence
    assert not asked
    assert not (tmp_path / "data").exists()


def test_a_damaged_download_is_not_kept(
    site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = (site / NAME).read_bytes()
    (site / NAME).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main(words(tmp_path, "--prepare")) == 2
    assert NAME in capfd.readouterr().err
    kept = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert kept == []


def test_offline_is_one_sentence(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gone = replace(cifar.CIFAR100.layout.files[NAME], url=f"http://127.0.0.1:9/{NAME}")
    monkeypatch.setitem(cifar.CIFAR100.layout.files, NAME, gone)
    assert main(words(tmp_path, "--prepare")) == 2
    *_, sentence = capfd.readouterr().err.splitlines()
    for part in (NAME, "127.0.0.1:9", str(tmp_path / "data" / "cifar100" / NAME), "bytes"):
        assert part in sentence
