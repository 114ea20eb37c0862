"""Every text can be printed, whatever the encoding of the streams, and reads well in ASCII."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_bench.core.streams import any_text

CELLS = ("fedavg", "fedprox")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encodings") / "runs"
    words = ["run", "--methods", ",".join(CELLS), "--seeds", "0,1", "--preset", "quick"]
    assert main([*words, "--out", str(out), "rounds=2"]) == 0
    return out


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Sequence[object]], str]:
    """Return what a command prints to streams of an encoding."""

    def run(encoding: str, words: Sequence[object]) -> str:
        with monkeypatch.context() as patch:
            out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            assert main([str(word) for word in words]) == 0
            assert out.errors == err.errors == "strict", "the caller's streams are as they were"
        texts = [stream.buffer.getvalue() for stream in (err, out)]
        return "".join(text.decode(encoding) for text in texts)

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-16", "shift_jis"])
def test_results_print_in_any_encoding(
    runs: Path, printed: Callable[[str, Sequence[object]], str], encoding: str
) -> None:
    text = printed(encoding, ["results", runs])
    assert "fedavg" in text
    assert "\\u" not in text


def test_paths_and_lists_print_in_ascii(
    runs: Path, tmp_path: Path, printed: Callable[[str, Sequence[object]], str]
) -> None:
    assert "Ubersicht +/-" in printed("ascii", ["report", runs, "--out", tmp_path / "Übersicht ±"])
    assert "scaffold" in printed("ascii", ["list", "methods"])


def test_signs_read_well_in_ascii(runs: Path, printed: Callable[..., str]) -> None:
    again = ["--methods", ",".join(CELLS), "--seeds", "0,1", "--preset", "quick", "--out", runs]
    text = printed("ascii", ["run", *again, "rounds=2"])
    assert " +/- " in text
    assert "digits - dirichlet" in text
    assert "---------" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("61.2 ± 2.8†", b"61.2 +/- 2.8*"),
        ("a – b — c − d · e…", b"a - b - c - d - e..."),
        ("“Bińkowski” ‘é’ ½ ﬁ", b"\"Binkowski\" 'e' 1/2 fi"),  # noqa: RUF001 - what is to be replaced
        ("├──┤ │", b"---- |"),
        ("猫 \U0001f600", b"\\u732b \\U0001f600"),
        (os.fsdecode(b"caf\xe9"), b"caf\xe9"),
    ],
)
def test_what_an_encoding_lacks(monkeypatch: pytest.MonkeyPatch, text: str, shown: bytes) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, "ascii"))
    with any_text():
        print(text, end="")
    assert data.getvalue() == shown


def test_a_name_that_is_no_text_is_printed_as_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, "utf-8"))
    with any_text():
        print("é", "\udce9", end="")
    assert data.getvalue() == b"\xc3\xa9 \xe9"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["cp1252", "C"],
)
def test_a_whole_process_in_another_encoding(
    runs: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Files that are written are in UTF-8 all the same."""
    code = (
        "import sys; from gptfl_bench.cli import main; runs, report = sys.argv[1:]; "
        "sys.exit(main(['results', runs]) or main(['report', runs, '--out', report]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, runs, tmp_path / "report"],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "±" in (tmp_path / "report" / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, name, None)
    assert main(["list", "methods"]) == 0
    assert main(["nothing"]) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_a_redirect_is_one_sentence() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        words = [sys.executable, "-m", "gptfl_bench", "--help"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "standard output" in done.stderr
