"""The machine: packages that it lacks, the program's folders, and what it is in words."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACK = ROOT / "gpu"
"""What ``ci/gpu --pack`` prepares."""
FOLDERS = ("benchmark", "methods", "datasets", "reports", "ci")


def python_path(site: Path) -> str:
    """Return the ``PYTHONPATH`` that shows this checkout and the packages that were brought."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    ours = [str(ROOT / folder) for folder in FOLDERS]
    return os.pathsep.join(dict.fromkeys([*ours, str(site), *filter(None, given)]))


def missing(wheels: Path) -> list[Path]:
    """Return the wheels of packages that are not installed here, of each package one."""
    lacking = {}
    for wheel in sorted(wheels.glob("*.whl")):
        name = wheel.name.partition("-")[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking[name] = wheel
    return list(lacking.values())


def furnish(site: Path) -> list[str]:
    """Install what was brought and is missing here, and return what it was."""
    site.mkdir(parents=True, exist_ok=True)
    found = missing(PACK / "wheels")
    if found:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        pip += ["--no-compile", "--disable-pip-version-check", "--upgrade", "--target", str(site)]
        subprocess.run([*pip, *map(str, found)], check=True)
    try:
        importlib.metadata.version("gptfl-bench")
    except importlib.metadata.PackageNotFoundError:
        # The code is run from this checkout; records ask for the version alone.
        about = site / "gptfl_bench-0.dist-info"
        about.mkdir(exist_ok=True)
        text = f"Metadata-Version: 2.1\nName: gptfl-bench\nVersion: {_version()}\n"
        (about / "METADATA").write_text(text, encoding="utf-8")
    return [wheel.name for wheel in found]


def lacking() -> list[str]:
    """Return the program's requirements that are neither here nor brought."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = []
    for line in project["dependencies"]:
        name = line.partition(";")[0].split("<")[0].split(">")[0].strip()
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            names.append(name)
    return sorted(set(names))


def words(device: str) -> str:
    """Return what was measured on: device, versions, cores."""
    import torch

    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "the CPU alone"
    return (
        f"{name}; {os.cpu_count()} cores, Python {platform.python_version()}, PyTorch "
        f"{torch.__version__}"
    )


def _version() -> str:
    text = (ROOT / "benchmark" / "gptfl_bench" / "__init__.py").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("__version__"))
    return line.split('"')[1]
