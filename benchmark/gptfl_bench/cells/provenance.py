"""Where and by what a result was made: versions, commit, machine, source of the method."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gptfl_bench.core.code.identity import of_program
from gptfl_bench.core.code.sources import source_sha256
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.engine.method import Method
from gptfl_bench.workers import ranks

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "scikit-learn")


SAME_AS = {
    # dsfl
    "a2edd34d75b0ac6ca2ff4cd2db5b8b215915d252fdeaaeff0e6b6775b3af89ee": (
        "a9c850533275deba1754f2269b4cd327f2e48a69e324bd70801b89f791af2539"
    ),
    # dynafed
    "5f860ee16269519816e5f47ea7494fe385d4021d4c712daaf170090af1ff6133": (
        "f56d2cef3b7269fd88018239ebb39c1674c57afd551796aec4472544946ec7de"
    ),
    # fedavg
    "554a776f9c3dcf8ba9a8c5a9151913271ab010ea7c87b4eac67d7f5a4a553744": (
        "86a0ba1eb61781fc055ee209d0986e9fc514f0ee70f1f608387c3bb5910b375a"
    ),
    # feddf
    "b0406fe460ca868cc18c7471d08a9ca903b84083023869f885f93d4f60730997": (
        "816c2f80f0edd3d1e95685984de9e37cb400c42296236ff52f31a138ab8ff0fd"
    ),
    # fedet
    "a2aa425ed1ef32dde62b3088959ce8fa93d3abc0113025f0fb341ca76041887b": (
        "d098db8c5e4eea27f8c0244d47c582ecd8336679a92839c2347e2f52078e3f6b"
    ),
    # fedftg
    "532833a6d8ac60cb7fb95aae4028dff5fa7ee3632c2eda79b230917fa18c8e04": (
        "2f367b7f0371f933e5dcbf3328a95adaeb5f9d1d89ebbfa611311071cf71e049"
    ),
    # fedgen
    "5827026aa3e301e0d9d3e82ab6defd564374eb7248fcffab2af5ed49b90a2739": (
        "cf83c99872502c3c523f5bc2019272e73db8b2ab4b57cd02448213abac48b445"
    ),
    # fedopt
    "b66dafcff94ab1a8654bc77e12adacdfaa6642a4046a27841811b9cdcdc909d2": (
        "30005f1e3f1c2537c0f02a5c97cef727a83ad7f399f282b80b9b7e2e5d70031d"
    ),
    # fedprox
    "944e52b5c93e5ac33a06f4d48395fd51d5ce43f51ec45c3309b3198fdb679ac1": (
        "03fa5d190a8528cadf0d0086476f53c6e984d57d51cb213a85d21bc8727284d9"
    ),
    # gptfl
    "b5d840c498db002849b1cd2fe527c86f481a20fbd748b56c9d0c050e665d29b6": (
        "153cd6223afd032bbc17b530bd165bbcce94658539eab75adb51b9232510234d"
    ),
    # moon
    "93c814292f1c7f1fb314d4f8569894ab092ddb79ed018ac9123d627b9d3d565f": (
        "78a88816bb571e99ae00a6ec21432a356889c250bc0bea59953ea0771698ebd4"
    ),
    # scaffold
    "2279284bab1d81b2ab72ea41b105a02619909fad1307b3bb8719fc5e659b1e5f": (
        "af5b93e225504f8649df72ed92e4cca89ad6f918ba225544ab2157ebf2139d43"
    ),
}
"""What records hold, by the hash of today's source, for methods whose numbers did not change.

Until version 0.1.0 a record held the hash of a method's whole file; a line here keeps old and new
cells of a method together. A change that changes numbers takes the line out.
"""


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this program and the packages that make numbers."""
    found = {"python": platform.python_version(), "gptfl-bench": version("gptfl-bench")}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def commit() -> str:
    """Return the commit of this program's checkout, "-dirty" if changed; empty if there is none.

    Asked once a process, whose code is that of its first cells.
    """
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


def machine(device: torch.device, workers: int | str = 1) -> str:
    """Return processor, memory policy, processes and device in words, without naming the host."""
    # PyTorch's kernels follow what the processor can do, and so do the last bits of every number.
    able = torch.backends.cpu.get_cpu_capability()
    kind = platform.machine() if able == "DEFAULT" else f"{platform.machine()} with {able}"
    words = f"{platform.system()} {kind}, {torch.get_num_threads()} thread(s)"
    if ranks.count() > 1:
        words = f"{words}, ranks={ranks.count()}"
    elif workers != 1:
        words = f"{words}, workers={workers}"
    words = f"{words}, {keep_freed_memory()}"
    return f"{words}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else words


def program_bases(method: Method) -> tuple[str, ...]:
    """Return the sources of this program's methods that an own method is made from."""
    kind = type(method)
    bases = [part for part in kind.__mro__ if part is not kind and issubclass(part, Method)]
    ours = [source_sha256(part, Method) for part in bases if of_program(part)]
    return tuple(SAME_AS.get(sha256, sha256) for sha256 in ours)


def method_source(method: Method) -> tuple[str, str]:
    """Return the module of a method's class and the SHA-256 of its source, empty if unreadable."""
    kind = type(method)
    sha256 = source_sha256(kind, Method)
    return kind.__module__, SAME_AS.get(sha256, sha256)
