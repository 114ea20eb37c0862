"""A wrong file is answered by one sentence that names it; nothing is written, nothing executed."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from gptfl_bench.cli import main

CORPUS = yaml.safe_load(Path(__file__).with_name("wrong_files.yaml").read_text(encoding="utf-8"))
ROWS = [
    pytest.param(about["words"], about["name"], *row, id=f"{category} {number}")
    for category, about in CORPUS.items()
    for number, row in enumerate(about["rows"])
]


def _png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), shade).save(file, "png")
    return file.getvalue()


def _packed(members: Mapping[str, str], name: str) -> bytes:
    """Return an archive of a kind by its name; ``PNG`` stands for an image."""
    file = io.BytesIO()
    contents = {
        member: _png(number) if text == "PNG" else text.encode()
        for number, (member, text) in enumerate(members.items())
    }
    if name.endswith(".zip"):
        with zipfile.ZipFile(file, "w") as packed:
            for member, content in contents.items():
                packed.writestr(member, content)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member, content in contents.items():
            header = tarfile.TarInfo(member)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "RUNS"
    words = ["run", "--methods", "fedavg", "--seeds", "0", "--preset", "quick", "rounds=1"]
    small = ["model=linear", "num_clients=2", "cohort_size=1", "plan.steps=1"]
    assert main([*words, *small, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize(("words", "name", "content", "named", "meant"), ROWS)
def test_one_sentence_that_names_the_file(
    words: str,
    name: str,
    content: str | dict[str, str],
    named: str,
    meant: str,
    bench: Callable[..., Any],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    monkeypatch.setenv("GPTFL_BENCH_CACHE", str(cache))
    shutil.copytree(finished, "RUNS")
    for folder in ("OWN", "MADE"):
        Path(folder).mkdir()
    for number in range(8):
        Path("OWN", f"{number}.png").write_bytes(_png(number))
    data = _packed(content, name) if isinstance(content, dict) else content.encode("latin-1")
    Path(name).write_bytes(data)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}

    answer = bench(*words.split())
    assert answer.code == 2, answer
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1, answer.err
    assert answer.err.startswith("gptfl-bench: ")
    assert named in answer.err
    assert meant in answer.err
    left = [path for path in tmp_path.rglob("*") if cache not in (path, *path.parents)]
    assert {path: path.is_file() and path.read_bytes() for path in left} == before
    # Locks in the cache stay: another process may wait for one.
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
