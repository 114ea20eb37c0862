"""Where things lie, and that packaging, tools and folders agree about it."""

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmark", "methods", "datasets", "reports")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PACKAGES = {path.parent.relative_to(ROOT) for f in FOLDERS for path in ROOT.glob(f"{f}/*/py.typed")}


@pytest.fixture(scope="module")
def check_wheel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "ci" / "check_wheel.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_top_folder_is_no_package_itself(folder: str) -> None:
    # An __init__.py would make it one, and shadow Hugging Face's "datasets" at the root.
    assert not (ROOT / folder / "__init__.py").exists()
    packages = [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")]
    assert len(packages) == 1
    assert (ROOT / folder / packages[0] / "py.typed").is_file()
    assert (ROOT / folder / "README.md").is_file()


def test_every_list_of_packages_is_the_same() -> None:
    names = {path.name for path in PACKAGES}
    assert len(names) == 4
    build = PROJECT["hatch"]["build"]
    assert {Path(item) for item in build["targets"]["wheel"]["packages"]} == PACKAGES
    assert set(build["dev-mode-dirs"]) == set(FOLDERS)
    assert set(PROJECT["ruff"]["src"]) == set(FOLDERS)
    assert set(PROJECT["ruff"]["lint"]["isort"]["known-first-party"]) == names
    assert set(PROJECT["mypy"]["packages"]) == names
    assert set(PROJECT["mypy"]["mypy_path"]) == set(FOLDERS)
    assert set(PROJECT["coverage"]["run"]["source_pkgs"]) == names
    for folder, paths in PROJECT["coverage"]["paths"].items():
        assert paths[0] in {path.as_posix() for path in PACKAGES}
        assert paths[0].startswith(f"{folder}/")


def test_hugging_faces_datasets_is_told_from_the_folder() -> None:
    assert "datasets" in PROJECT["ruff"]["lint"]["isort"]["known-third-party"]
    assert PROJECT["mypy"]["namespace_packages"] is False


def test_tests_lie_under_tests_alone() -> None:
    assert PROJECT["pytest"]["ini_options"]["testpaths"] == ["tests"]
    for folder in FOLDERS:
        for pattern in ("test_*.py", "*_test.py", "conftest.py", "tests"):
            assert not list((ROOT / folder).rglob(pattern))


def test_ignored_patterns_name_places_at_the_root() -> None:
    # Hatchling leaves out of the wheel what git ignores: "reports/" would lose a package.
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    floating = [line for line in lines if not line.startswith("/")]
    assert set(floating) <= {"__pycache__/", "*.egg-info/"}


def test_the_scripts_can_be_run() -> None:
    for name in (
        "ci/test",
        "ci/lint",
        "ci/types",
        "ci/wheel",
        "ci/smoke",
        "ci/regression",
        "ci/gpu",
        "ci/torture",
        "ci/scaling",
        ".ci/run",
    ):
        path = ROOT / name
        assert path.stat().st_mode & 0o111, name
        assert "set -euo pipefail" in path.read_text(encoding="utf-8")
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_wheel_check_knows_what_belongs(check_wheel: ModuleType) -> None:
    wanted = check_wheel.source_files()
    assert {name.partition("/")[0] for name in wanted} == {path.name for path in PACKAGES}
    for part in (
        "gptfl_bench/conf/presets/digits/quick.yaml",
        "gptfl_bench/py.typed",
        "gptfl_reports/page/templates/page.html.j2",
        "gptfl_methods/gptfl.py",
    ):
        assert part in wanted
    assert any(name.endswith(".npz") for name in wanted)


def test_the_wheel_check_sees_a_lost_file_and_a_stray_one(
    check_wheel: ModuleType, tmp_path: Path
) -> None:
    typed = {f"{path.name}/py.typed" for path in PACKAGES}
    wheel = tmp_path / "a.whl"

    def faults(names: set[str]) -> list[str]:
        with ZipFile(wheel, "w") as archive:
            for name in sorted(names | {"gptfl_bench-0.dist-info/METADATA"}):
                archive.writestr(name, "")
        complaints: list[str] = check_wheel.faults(wheel, typed | {"gptfl_bench/a.yaml"})
        return complaints

    assert faults(typed | {"gptfl_bench/a.yaml"}) == []
    assert faults(typed) == ["missing: gptfl_bench/a.yaml"]
    assert faults(typed | {"gptfl_bench/a.yaml", "datasets/x.py"}) == [
        "does not belong: datasets/x.py"
    ]


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_whole(check_wheel: ModuleType, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert check_wheel.faults(wheel, check_wheel.source_files()) == []
