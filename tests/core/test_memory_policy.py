"""Freed memory is kept where glibc is, says so, can be left out, and changes no number."""

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from gptfl_bench.core import memory
from gptfl_bench.core.errors import UsageError

GLIBC = platform.libc_ver()[0] == "glibc"
FAULTS = """
import resource
from gptfl_bench.core.memory import keep_freed_memory
print(keep_freed_memory())
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
# A block of 48 MiB, larger than any threshold of glibc's for mapping blocks by themselves.
for _ in range(2): bytearray(48 << 20)
before = faults()
for _ in range(20): bytearray(48 << 20)
print(faults() - before)
"""


def _run(*arguments: str, keep: str) -> str:
    environment = {**os.environ, memory.KEEP: keep}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env=environment
    ).stdout


@pytest.mark.skipif(not GLIBC, reason="the policy is glibc's")
def test_a_freed_block_is_used_again_without_page_faults() -> None:
    said, faults = _run("-c", FAULTS, keep="1").splitlines()
    assert said.startswith("freed memory kept (glibc ")
    assert int(faults) < 1000
    said, faults = _run("-c", FAULTS, keep="0").splitlines()
    assert said == f"freed memory as the system has it ({memory.KEEP}=0)"
    # Pages of 4 KiB, or some large ones.
    assert int(faults) > 5000 or os.sysconf("SC_PAGE_SIZE") > 4096


@pytest.mark.parametrize("error", [OSError("no library"), TypeError("Windows"), AttributeError()])
def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Library:
        """A C library without the functions of glibc, or none at all."""

        def __init__(self, name: None) -> None:
            if not isinstance(error, AttributeError):
                raise error

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert memory._keep.__wrapped__() == "freed memory as the system has it (no glibc)"


def test_a_refusal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Mock()
    library.gnu_get_libc_version.return_value = b"2.0"
    library.mallopt.return_value = 0
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert memory._keep.__wrapped__() == "freed memory as the system has it (glibc 2.0 refused)"


@pytest.mark.parametrize("value", ["yes", "2", "-1"])
def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(memory.KEEP, value)
    with pytest.raises(UsageError, match=rf"{memory.KEEP}='{value}' must be 0 .* or 1"):
        memory.keep_freed_memory()


def test_the_record_tells_it_and_the_numbers_do_not_depend_on_it(tmp_path: Path) -> None:
    found = {}
    for keep in ("0", "1"):
        _run(
            *("-m", "gptfl_bench", "run", "--methods", "fedavg", "--preset", "smoke"),
            *("--seeds", "0", "--out", str(tmp_path / keep), "--cache", str(tmp_path / "cache")),
            keep=keep,
        )
        (path,) = (tmp_path / keep).glob("*/record.json")
        events = [json.loads(line) for line in (path.parent / "events.jsonl").open()]
        for event in events:
            event.pop("seconds", None)
        found[keep] = (path.parent.name, events)
        machine = json.loads(path.read_text())["machine"]
        assert ("freed memory kept" in machine) == (GLIBC and keep == "1")
    assert found["0"] == found["1"]
