"""The generator and the prompt writer of the documents, in a distribution of their own."""

import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "new-generator.md"
PARTS = ["synthetic.generator=flat", "synthetic.prompts=polite"]
FIELDS = ["generators.flat.grey=200", "prompts.polite.word=kindly"]
RUN = ["run", "--methods", "gptfl", "--dataset", "digits", "--preset", "quick", "--seeds", "0"]
SMALL = ["synthetic.multiplier=0.1", "methods.gptfl.pretrain.epochs=2", "rounds=1"]
COMMANDS = {
    "generators": ["list", "generators", "--json"],
    "prompts": ["list", "prompts", "--json"],
    "run": [*RUN, "--out", "runs", *PARTS, *FIELDS, *SMALL],
    "generate": ["generate", "--generator", "flat", "--out", "made", PARTS[1], *FIELDS, SMALL[0]],
    "bad value": [*RUN, "--out", "none", *PARTS, "generators.flat.grey=300"],
    "bad field": [*RUN, "--out", "none", *PARTS, "generators.flat.gray=3"],
}
SCRIPT = """
import contextlib, io, json, sys
from gptfl_bench.cli import main
said = {}
for name, words in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    said[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(said))
"""


@dataclass(frozen=True)
class Said:
    """Exit code and both streams of each command, and where they ran."""

    by: dict[str, tuple[int, str, str]]
    folder: Path


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in a Markdown text."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def as_pip_writes_it(packaging: str) -> str:
    """A distribution's entry points, from its ``pyproject.toml``."""
    lines = []
    for group, points in tomllib.loads(packaging)["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in points.items())]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def said(python: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Said:
    """All commands in one process that finds the distribution as pip leaves it behind."""
    folder = tmp_path_factory.mktemp("third-party")
    about = folder / "site" / "my_package-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(blocks(text, "python"))
    (about / "entry_points.txt").write_text(as_pip_writes_it(*blocks(text, "toml")))
    (folder / "site" / "my_package.py").write_text(re.sub(r"(?m)^@[\w.]+\.register.*\n", "", code))
    environment = {"PYTHONPATH": str(folder / "site"), "GPTFL_BENCH_CACHE": "cache"}
    done = python(SCRIPT, json.dumps(COMMANDS), cwd=folder, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return Said(json.loads(done.stdout), folder)


@pytest.mark.parametrize(
    ("kind", "name", "title"),
    [
        ("generators", "flat", "Makes images of a single grey."),
        ("prompts", "polite", "Asks for each class in the same words."),
    ],
)
def test_both_are_listed_with_what_they_say_of_themselves(
    said: Said, kind: str, name: str, title: str
) -> None:
    rows = {row["name"]: row for row in json.loads(said.by[kind][1])}
    assert rows[name]["title"] == title


def test_gptfl_runs_on_both(said: Said) -> None:
    """One grey for all classes teaches nothing: the warm start tells no class from another."""
    assert said.by["run"][0] == 0, said.by["run"][2]
    cell = next((said.folder / "runs").glob("gptfl-*"))
    record = json.loads((cell / "record.json").read_text())
    assert record["config"]["generator"] == {"grey": 200}
    assert record["config"]["prompts"] == {"word": "kindly"}
    events = [json.loads(line) for line in (cell / "events.jsonl").read_text().splitlines()]
    ready = next(event for event in events if "prompts" in event)
    assert (ready["generator"], ready["prompts"]) == ("flat", "polite")
    start = next(event for event in events if "accuracy" in event)
    assert start["round"] == 0
    assert start["accuracy"] < 0.3


def test_generate_writes_what_both_make(said: Said) -> None:
    assert said.by["generate"][0] == 0, said.by["generate"][2]
    made = said.folder / "made"
    first = json.loads((made / "metadata.jsonl").read_text().splitlines()[0])
    assert first["prompt"] == "zero, kindly"
    assert np.unique(np.asarray(Image.open(made / first["file_name"]))).tolist() == [200]


def test_their_fields_are_checked_before_anything_is_written(said: Said) -> None:
    code, _, error = said.by["bad value"]
    assert code == 2
    assert "generator 'flat': grey=300 must be from 0 to 255." in error
    code, _, error = said.by["bad field"]
    assert code == 2
    assert "did you mean generators.flat.grey" in error
    assert not (said.folder / "none").exists()
