"""The doctor knows every optional part."""

import re
import tomllib
from pathlib import Path

from gptfl_bench.commands.doctor import OPTIONAL

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_extra_is_looked_for() -> None:
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {
        name for text in OPTIONAL.values() for name in re.findall(r"gptfl-bench\[(\w+)\]", text)
    }
    assert named == extras.keys() - {"test", "dev", "docs"}
