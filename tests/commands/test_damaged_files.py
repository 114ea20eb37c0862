"""A file that was cut or flipped ends in the same numbers or in a sentence, never in other numbers.

``ci/torture files`` damages every file of small run folders and of their cache in seven ways; the
tests that are always run damage one file of each kind.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cells import checkpoint
from gptfl_bench.cells.rounds import Rounds
from gptfl_bench.core.groups import Groups

METHODS = ("fedavg", "scaffold", "gptfl")
SETTINGS = (
    *("--seeds", "0", "--preset", "quick", "--out", "runs", "--cache", "cache", "model=linear"),
    *("rounds=3", "num_clients=5", "cohort_size=3", "evaluation.every=1"),
    *("synthetic.generator=renderer", "synthetic.multiplier=0.02"),
    *("methods.gptfl.pretrain.epochs=1", "quality.samples=20", "quality.judge_steps=5"),
)
Bench = Callable[..., Any]
Rows = list[dict[str, object]]
Damage = Callable[[str, Path, str], str]


def _cut(data: bytes, share: float) -> bytes:
    return data[: int(share * len(data))]


def _flipped(data: bytes, share: float) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[int(share * (len(changed) - 1))] ^= 1
    return bytes(changed)


def _other_digit(data: bytes) -> bytes:
    """Change a digit in the middle, so that JSON stays JSON."""
    digits = list(re.finditer(rb"[0-8](?=[0-9]*[,\n}])", data))
    if not digits:
        return _flipped(data, 0.3)
    at = digits[len(digits) // 2].start()
    return data[:at] + bytes([data[at] + 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut in half": lambda data: _cut(data, 0.5),
    "one byte short": lambda data: data[:-1],
    "first bit": lambda data: _flipped(data, 0),
    "bit in the middle": lambda data: _flipped(data, 0.5),
    "last bit": lambda data: _flipped(data, 1),
    "other digit": _other_digit,
}


def _rows(bench: Bench) -> Rows | str:
    """Return the rows of the run folder; what was said in place of them if it is refused."""
    answer = bench("results", "runs", "--format", "json")
    if answer.code:
        return str(answer.err)
    rows: Rows = json.loads(answer.out)
    return [{key: row[key] for key in row.keys() - {"seconds"}} for row in rows]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``finished`` and ``unfinished`` runs and a cache."""
    from gptfl_bench.cli import main

    folder = tmp_path_factory.mktemp("made")
    store = Rounds.store

    def interrupted(self: Rounds, state: Groups, number: int) -> None:
        store(self, state, number)
        if number == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(checkpoint, "CHECKPOINT_SHARE", float("inf"))
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Rounds, "store", interrupted)
            for method in METHODS:
                assert main(["run", "--methods", method, *SETTINGS]) == 130
        shutil.copytree("runs", "unfinished")
        assert main(["run", "--methods", ",".join(METHODS), *SETTINGS]) == 0
        shutil.move("runs", "finished")
    return folder


@pytest.fixture
def damage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench) -> Damage:
    """Return what damages a file of a fresh copy, looks at what follows and returns what was said.

    It takes the run folder to copy, empty for the cache alone, a file in it and a way.
    """
    (tmp_path / "now").mkdir()
    monkeypatch.chdir(tmp_path / "now")

    def lay_out(runs: str) -> None:
        for name in ("runs", "cache"):
            shutil.rmtree(name, ignore_errors=True)
        shutil.copytree(made / "cache", "cache")
        if runs:
            shutil.copytree(made / runs, "runs")

    lay_out("finished")
    whole = _rows(bench)
    assert not isinstance(whole, str)

    def check(runs: str, file: Path, way: str) -> str:
        lay_out(runs)
        before = _rows(bench) if runs else []
        file.write_bytes(DAMAGE[way](file.read_bytes()))
        place = next((p for p in file.parents if p.parent.name in ("runs", "cache")), file)
        what = f"{way}: {file}"

        def refused(said: str) -> bool:
            *_, last = said.splitlines()
            return last.startswith("gptfl-bench: ") and place.name in last

        if runs:
            seen = _rows(bench)
            assert seen == before or (isinstance(seen, str) and refused(seen)), what
        methods = [method for method in METHODS if place.name.startswith(f"{method}-")]
        names = methods or ([*METHODS] if runs else ["gptfl"])
        answer = bench("run", "--methods", ",".join(names), *SETTINGS)
        assert "Traceback" not in answer.err, what
        if answer.code:
            assert refused(answer.err), (what, answer.err)
            return str(answer.err)
        now = _rows(bench)
        assert not isinstance(now, str), (what, now)
        for row in (row for row in now if row["method"] in names):
            # What can't be made again, such as answers of a service, ends a cell in a sentence.
            named = row["status"] == "refused" and place.name in str(row["reason"])
            assert row in whole or named, (what, answer.err)
        if runs == "finished" and place.parent.name == "runs":
            report = bench("report", "runs")
            assert not report.code or refused(report.err), (what, report.err)
        return str(answer.err)

    return check


def _files(made: Path, runs: str) -> Iterator[Path]:
    """Yield the files to damage, as they are called where the command is run."""
    parent, name = (made / runs, "runs") if runs else (made / "cache", "cache")
    for path in sorted(parent.rglob("*")):
        if path.is_file() and path.name != ".lock" and path.stat().st_size:
            yield name / path.relative_to(parent)


@pytest.mark.parametrize(
    ("runs", "pattern", "way", "said"),
    [
        ("finished", "runs/gptfl-*/events.jsonl", "other digit", "events.jsonl does not fit"),
        ("finished", "runs/fedavg-*/record.json", "other digit", "record.json does not fit"),
        ("unfinished", "runs/fedavg-*/events.jsonl", "other digit", "the cell begins anew"),
        ("unfinished", "runs/gptfl-*/state/*", "bit in the middle", "the cell begins anew"),
        ("unfinished", "runs/scaffold-*/*/clients/*", "last bit", "the cell begins anew"),
        ("", "cache/synthetic/*/*.npy", "bit in the middle", "are made anew"),
        ("", "cache/pretrained/*/groups*", "last bit", "is made anew"),
        ("", "cache/quality/*/quality.json", "other digit", "are looked at again"),
    ],
)
def test_a_file_of_each_kind(
    made: Path, damage: Damage, runs: str, pattern: str, way: str, said: str
) -> None:
    file = next(file for file in _files(made, runs) if fnmatch(file.as_posix(), pattern))
    assert said in damage(runs, file, way)


@pytest.mark.slow
@pytest.mark.parametrize("way", DAMAGE)
@pytest.mark.parametrize("runs", ["finished", "unfinished", ""], ids=lambda runs: runs or "cache")
def test_every_file(made: Path, damage: Damage, runs: str, way: str) -> None:
    for file in _files(made, runs):
        damage(runs, file, way)
