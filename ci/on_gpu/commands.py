"""Runs ``gptfl-bench`` for so many seconds; what it did until then stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_GRACE = 10.0
"""Seconds in which an interrupted run writes its checkpoints."""


def bench(words: Sequence[str], seconds: float, log: Path) -> int | None:
    """Return the exit code of ``gptfl-bench WORDS``; None if its time was up.

    Args:
        words: The command's arguments.
        seconds: After so many it is interrupted, as by Ctrl-C.
        log: Takes what it prints.
    """
    command = [sys.executable, "-m", "gptfl_bench", *words]
    with log.open("a", encoding="utf-8") as file:
        print(f"$ gptfl-bench {' '.join(words)}", file=file, flush=True)
        # A group of its own, so that the processes it starts end with it.
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            return process.wait(max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            return None


def last_lines(log: Path, count: int = 5) -> str:
    """Return the end of what was printed, in a line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return " / ".join(line.strip() for line in lines[-count:] if line.strip())
