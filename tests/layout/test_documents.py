"""What the documents show can be run as it stands, and their tables leave nothing out."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tutorial_notebook  # type: ignore[import-not-found]  # ci/, loaded by conftest.py

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)(?: title=\"(\S+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
NEW_METHOD = DOCS / "how-to" / "new-method.md"
RUNNABLE = [ROOT / "README.md", DOCS / "tutorial.md", DOCS / "python.md", NEW_METHOD]


def _blocks(document: Path, language: str) -> list[tuple[str, str]]:
    """Return a document's blocks in a language, each with the file it is, if any."""
    text = document.read_text(encoding="utf-8")
    return [(name, code) for kind, name, code in BLOCK.findall(text) if kind == language]


@pytest.mark.parametrize("document", RUNNABLE, ids=lambda path: path.stem)
def test_python_in_documents_runs(
    python: Callable[..., Any], document: Path, tmp_path: Path
) -> None:
    script = []
    for name, code in _blocks(document, "python"):
        if name:
            (tmp_path / name).write_text(code, encoding="utf-8")
        else:
            script.append(code)
    # Tiny pictures in place of the embedded model, so that seconds do.
    code = "\n".join(script).replace("rounds=2", "rounds=1, synthetic={'generator': 'renderer'}")
    assert "gb.run(" in code
    result = python(code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_notebook_is_the_tutorial_and_has_its_outputs() -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    made = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in made]
    # python ci/tutorial_notebook.py makes it anew.
    assert found == tutorial_notebook.cells(text)
    assert sum(bool(cell.get("outputs")) for cell in made) >= 4


def test_the_example_method_is_in_house_style(tmp_path: Path) -> None:
    for name, code in _blocks(NEW_METHOD, "python"):
        if name:
            (tmp_path / name).write_text(code, encoding="utf-8")
            options = ["--config", str(ROOT / "pyproject.toml"), str(tmp_path / name)]
            ruff = [sys.executable, "-m", "ruff"]
            subprocess.run([*ruff, "check", *options], check=True)
            subprocess.run([*ruff, "format", "--check", *options], check=True)


def test_commands_in_documents_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gptfl_bench.cli import main

    monkeypatch.chdir(tmp_path)
    words = ["--methods", "fedavg", "--seeds", "0", "--preset", "quick", "rounds=1"]
    assert main(["run", *words, "--cache", "cache"]) == 0
    # The page of results has a run folder of its own, that of reports two.
    for folder in ("digits", "before", "after"):
        shutil.copytree("runs", folder)
    tried = 0
    for document in DOCUMENTS:
        for _, code in _blocks(document, "console"):
            for line in re.findall(r"^\$ gptfl-bench (.*)$", code, re.MULTILINE):
                command = shlex.split(line, comments=True)
                # Settings are composed and checked in full, but nothing is run.
                extra = ["--cfg"] if command[0] == "run" else []
                assert main([*command, *extra]) == 0, line
                tried += 1
    assert tried >= 5


def _shell() -> list[tuple[Path, str]]:
    return [(path, code) for path in DOCUMENTS for _, code in _blocks(path, "sh")]


def test_commands_that_are_not_run_say_what_they_need() -> None:
    # What a newcomer gives first is run by .ci/run and ci/wheel, in fresh environments.
    run = ("ci/test\n", "python3 -m venv .venv && ")
    silent = [
        f"{path.name}: {code}" for path, code in _shell() if not code.startswith(("# needs ", *run))
    ]
    assert silent == []


def test_settings_in_commands_that_are_not_run_are_understood() -> None:
    from gptfl_bench.cli import main

    lines = [
        line
        for _, code in _shell()
        for line in code.replace("\\\n", "").splitlines()
        if line.startswith("gptfl-bench run ") and not re.search(r"\$\(|\||cuda:", line)
    ]
    assert len(lines) >= 10
    for line in lines:
        assert main([*shlex.split(line, comments=True)[1:], "--cfg"]) == 0, line


def test_commands_in_tables_exist(bench_commands: Callable[[Path], list[str]]) -> None:
    from gptfl_bench.cli import COMMANDS

    named = {command.split()[0] for document in DOCUMENTS for command in bench_commands(document)}
    assert named == COMMANDS.keys()


@pytest.fixture
def bench_commands() -> Callable[[Path], list[str]]:
    return lambda document: re.findall(
        r"^\| `gptfl-bench ([^`]+)` \|", document.read_text(encoding="utf-8"), re.MULTILINE
    )


def test_every_method_is_in_the_table() -> None:
    from gptfl_bench.engine.method import methods

    ours = {n for n in methods.names() if methods.get(n).__module__.startswith("gptfl_methods.")}
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    table = text.partition("\n\n| ")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| \[`([a-z0-9_]+)`\]", table, re.MULTILINE)) == ours
    assert {path.stem for path in (DOCS / "methods").glob("*.md")} == ours


def test_every_data_set_is_in_the_tables() -> None:
    from gptfl_bench.data.task import tasks

    text = (DOCS / "datasets.md").read_text(encoding="utf-8")
    for name in tasks.names():
        if tasks.get(name).__module__.startswith("gptfl_datasets"):
            # What it is and what it needs; its split and its licence.
            assert text.count(f"| `{name}` |") >= 2, name


def test_every_generator_is_in_the_table() -> None:
    from gptfl_bench.synthesis.generator import generators

    text = (DOCS / "generators.md").read_text(encoding="utf-8")
    table = text.partition("\n\n| ")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    ours = {n for n in generators.names() if generators.get(n).__module__.startswith("gptfl_")}
    assert set(re.findall(r"`([a-z0-9_]+)`", " ".join(first))) == ours


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_files_named_in_documents_are_there() -> None:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for name in re.findall(r"(?<![\w./])(?:tests|ci|\.ci)/[\w/.]*\w", text):
            assert (ROOT / name).exists(), f"{document.name}: {name}"


def test_the_version_is_the_same_everywhere() -> None:
    import gptfl_bench

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {gptfl_bench.__version__}\n" in citation
