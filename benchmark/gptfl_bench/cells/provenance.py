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

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "scikit-learn")


SAME_AS = {
    # dsfl
    "33924a2ea9929349429f9f1b1d77754bd6ec31b728e82c3bfd732c0e5d0b568a": (
        "a9c850533275deba1754f2269b4cd327f2e48a69e324bd70801b89f791af2539"
    ),
    # dynafed
    "552c0bc0e5d688a137865e81adb3bd1a472e1bc2c65438ccf67b396f7fbabbb3": (
        "f56d2cef3b7269fd88018239ebb39c1674c57afd551796aec4472544946ec7de"
    ),
    # fedavg
    "0dd877b61ecf254237b21ad65890ea028581259e4ae93ca7a6404278575d1660": (
        "86a0ba1eb61781fc055ee209d0986e9fc514f0ee70f1f608387c3bb5910b375a"
    ),
    # feddf
    "afc6d2814a6624ada1e007bed02d38e69c4a0cddbc735718d98655a2e804f715": (
        "816c2f80f0edd3d1e95685984de9e37cb400c42296236ff52f31a138ab8ff0fd"
    ),
    # fedet
    "4e3a0d4f35b2a462b55b7c4b1d653dccbd942b64fcb4b0ba12c03313c00289b3": (
        "d098db8c5e4eea27f8c0244d47c582ecd8336679a92839c2347e2f52078e3f6b"
    ),
    # fedftg
    "cc9337496136c4321a52fdb55f95b8e75698e158563829821fca581c2c18eccc": (
        "2f367b7f0371f933e5dcbf3328a95adaeb5f9d1d89ebbfa611311071cf71e049"
    ),
    # fedgen
    "0deaaf133eb8bb2ca44f9d9179f565b27672ca9ebbf9e764374afdd7d6f5132b": (
        "cf83c99872502c3c523f5bc2019272e73db8b2ab4b57cd02448213abac48b445"
    ),
    # fedopt
    "f4ccaa7183dc02e9eb9c4c496118ac51258db5a5afba3f77633e128591319da8": (
        "30005f1e3f1c2537c0f02a5c97cef727a83ad7f399f282b80b9b7e2e5d70031d"
    ),
    # fedprox
    "5ae89e17dad12fb734854036ff696bf19f6b10cb4a60dcad6f81acd179a3b2c9": (
        "03fa5d190a8528cadf0d0086476f53c6e984d57d51cb213a85d21bc8727284d9"
    ),
    # gptfl
    "e2dc987fd0d978fbcad6eb7a40bcfb3e40ab1c2c464c933ceafd7ddf161460ca": (
        "153cd6223afd032bbc17b530bd165bbcce94658539eab75adb51b9232510234d"
    ),
    # moon
    "97f31cc473bbdffd5eb26d6d55187e972cc80d220c775b69db143238dabb83c8": (
        "78a88816bb571e99ae00a6ec21432a356889c250bc0bea59953ea0771698ebd4"
    ),
    # scaffold
    "e68f03dec46518ef04eb3cc30283a01a57e1286bbe3c38244a13fe2341c3a739": (
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
    """Return processor, memory policy and device in words, without naming the host."""
    words = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} thread(s)"
    words = words if workers == 1 else f"{words}, workers={workers}"
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
