"""A method's hash follows what it does, not where or how its file is written."""

import importlib.util
import sys
from pathlib import Path

import pytest

from gptfl_bench.cells.provenance import SAME_AS, method_source
from gptfl_bench.core.code.sources import source_sha256
from gptfl_bench.engine.method import methods

BASE = """
class Base:
    def step(self):
        return helper() + 1

class Unused:
    pass

def helper():
    return inner()

def inner():
    return 1
"""
OWN = BASE + "class Own(Base):\n    rate = 0.1\n"
CHANGES = {
    "an import": (f"import math\n{OWN}", True),
    "a comment and blanks": (OWN.replace("rate = 0.1", "# why\n\n    rate   = 0.1"), True),
    "a docstring": (OWN.replace("class Base:", 'class Base:\n    """Says what."""\n'), True),
    "a class it does not use": (OWN.replace("    pass", "    other = 2"), True),
    "a line above": (f"OTHER = 3\n{OWN}", True),
    "a field": (OWN.replace("0.1", "0.2"), False),
    "a base": (OWN.replace("+ 1", "+ 2"), False),
    "a function that its base calls": (OWN.replace("return 1", "return 2"), False),
}


def _load(text: str, folder: Path, name: str) -> type:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    own: type = module.Own
    return own


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_may_change_a_result_changes_the_hash(change: str, tmp_path: Path) -> None:
    text, same = CHANGES[change]
    before = source_sha256(_load(OWN, tmp_path, "sources_before"))
    after = source_sha256(_load(text, tmp_path, f"sources_{change.replace(' ', '_')}"))
    assert before
    assert (before == after) is same


def test_a_class_made_inside_a_function_has_a_hash_of_its_own() -> None:
    def make(rate: float) -> type:
        class Local:
            value = rate

        return Local

    class Other:
        value = 2

    assert source_sha256(make(1)) == source_sha256(make(2)) != source_sha256(Other) != ""


def test_a_class_without_source_has_no_hash() -> None:
    assert source_sha256(type("Made", (), {})) == ""


@pytest.mark.parametrize("name", methods.names())
def test_methods_that_give_the_same_numbers_count_as_what_they_were(name: str) -> None:
    # A method that gives other numbers on purpose loses its line, and this test its name.
    assert method_source(methods.get(name)())[1] in SAME_AS.values()


def test_no_method_counts_as_another() -> None:
    assert len(set(SAME_AS.values())) == len(SAME_AS)


def test_a_class_of_no_module_has_no_hash() -> None:
    namespace: dict[str, object] = {"__name__": "nowhere_to_be_found"}
    exec("class Made: pass", namespace)  # noqa: S102 - what is tested
    made = namespace["Made"]
    assert isinstance(made, type)
    assert source_sha256(made) == ""
