"""Where and by what a result was made: versions, commit, machine, source of the method."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gptfl_bench import __version__
from gptfl_bench.cells.method_sources import SAME_AS
from gptfl_bench.core.sources import source_sha256
from gptfl_bench.engine.method import Method

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions of Python, this program and the packages that make numbers."""
    found = {"python": platform.python_version(), "gptfl-bench": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """Return the commit of this program's checkout, "-dirty" if changed; empty if there is none."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        # An installed copy may lie inside somebody else's repository.
        if not git("ls-files", Path(__file__).name):
            return ""
        return head + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def machine(device: torch.device) -> str:
    """Return processor and device in words, without naming the host."""
    words = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} thread(s)"
    return f"{words}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else words


def method_source(method: Method) -> tuple[str, str]:
    """Return the module of a method's class and the SHA-256 of its source, empty if unreadable."""
    kind = type(method)
    sha256 = source_sha256(kind, Method)
    return kind.__module__, SAME_AS.get(sha256, sha256)
