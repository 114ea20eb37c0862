"""Names to parts."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.core import registry
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty package for a registry of its own."""
    folder = tmp_path / "parts_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def points(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: list(found))


def test_names_near_and_far(package: str) -> None:
    parts = Registry[int]("part", package, "nothing.here")
    for number, name in enumerate(("fedavg", "fedprox", "scaffold")):
        assert parts.register(name, title=name.upper(), source="me", year=2020)(number) == number
    assert parts.names() == ["fedavg", "fedprox", "scaffold"]
    assert (parts.get("fedprox"), parts.name_of(2), parts.name_of(9)) == (1, "scaffold", None)
    reference = parts.reference("fedavg")
    assert (reference.title, reference.source, reference.year) == ("FEDAVG", "me", 2020)
    with pytest.raises(
        UsageError, match=r"unknown part 'fedprx': did you mean fedprox .*choose from"
    ):
        parts.get("fedprx")
    with pytest.raises(
        UsageError, match=r"^unknown part 'zzz': choose from fedavg, fedprox, scaffold\.$"
    ):
        parts.get("zzz")
    with pytest.raises(UsageError):
        parts.reference("zzz")


def test_two_parts_cannot_share_a_name(package: str) -> None:
    parts = Registry[object]("part", package, "nothing.here")
    first = object()
    parts.register("a", title="")(first)
    parts.register("a", title="")(first)
    with pytest.raises(ValueError, match="two parts are called part 'a'"):
        parts.register("a", title="")(object())


def test_modules_register_by_being_there(package: str, tmp_path: Path) -> None:
    """A new file is a new part; private modules are left alone."""
    folder = tmp_path / package
    (folder / "_private.py").write_text("raise RuntimeError('imported')")
    (folder / "deep").mkdir()
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "new.py").write_text("from gptfl_bench.data.task import tasks\nFOUND = True")
    parts = Registry[int]("part", package, "nothing.here")
    assert parts.names() == []
    assert sys.modules[f"{package}.deep.new"].FOUND


def test_parts_from_other_distributions(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points(monkeypatch, EntryPoint("counter", "collections:Counter", "some.group"))
    parts = Registry[type]("part", package, "some.group")
    from collections import Counter

    assert parts.get("counter") is Counter
    assert parts.reference("counter").source == "collections:Counter"
    assert parts.reference("counter").title.startswith("Dict subclass for counting")


@pytest.mark.parametrize("value", ["no_such_module:x", "collections:NoSuchThing"])
def test_a_broken_distribution_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    points(monkeypatch, EntryPoint("mine", value, "some.group"))
    parts = Registry[type]("part", package, "some.group")
    with pytest.raises(
        UsageError, match=rf"the part 'mine' from '{value}' can't be loaded .*repair"
    ):
        parts.names()


def test_a_broken_distribution_is_named_again(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook the second call must not quietly go on without the part."""
    points(monkeypatch, EntryPoint("mine", "no_such_module:x", "some.group"))
    parts = Registry[type]("part", package, "some.group")
    for _ in range(2):
        with pytest.raises(UsageError, match="can't be loaded"):
            parts.names()
