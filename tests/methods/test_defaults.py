"""No default of a method and no value of a preset changes without its line in the documents."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gptfl_bench
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import config
from gptfl_bench.training.fit import Plan

CI = Path(gptfl_bench.__file__).parents[2] / "ci"
METHODS = [name for name in methods.names() if methods.get(name).__module__.startswith("gptfl_")]


@pytest.fixture(scope="module", autouse=True)
def load() -> Iterator[Callable[..., config.Config]]:
    """What loads a preset, each once: the page of all of them is made twice."""
    original = config.load
    once = cache(original)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "load", lambda *given: once(*given[:2], tuple(given[2])))
        yield original


@pytest.fixture(scope="module")
def document() -> ModuleType:
    sys.path.insert(0, str(CI))
    return importlib.import_module("document_defaults")


@pytest.fixture
def lines(document: ModuleType) -> Any:
    return document.origins()


def test_the_pages_are_those_of_the_code(document: ModuleType) -> None:
    for name, page in document.pages().items():
        written = (document.DOCS / name).read_text(encoding="utf-8")
        assert page == written, "run python ci/document_defaults.py, and say why in the changelog"


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("moon", {"mu": 5.0}),
        ("fedopt", {"beta2": 0.999}),
        ("feddf", {"weighting": "examples"}),
        ("dsfl", {"distillation": Plan(epochs=5, batch_size=50, lr=0.2)}),
        ("dsfl", {"distillation": Plan(epochs=5, batch_size=50, momentum=0.9)}),
        ("fedavg", {"plan": Plan(epochs=2)}),
    ],
)
def test_another_default_is_noticed(
    name: str, changed: dict[str, Any], document: ModuleType, lines: Any
) -> None:
    kind: type[Method] = methods.get(name)
    namespace: dict[str, Any] = {"__annotations__": dict.fromkeys(changed, "object"), **changed}
    mutant: Any = dataclass(frozen=True)(type(kind.__name__, (kind,), namespace))
    known = {n: methods.get(n) for n in METHODS}
    assert document.defaults_page(known, lines)
    with pytest.raises(ValueError, match=name):
        document.defaults_page({**known, name: mutant}, lines)


def test_every_line_has_a_source(document: ModuleType, lines: Any) -> None:
    known = {n: methods.get(n) for n in METHODS}
    for damage in ({"source": ""}, {"ours": 0.02}):
        lines["fedprox"]["mu"] |= damage
        with pytest.raises(ValueError, match=r"fedprox\.mu"):
            document.defaults_page(known, lines)
    del lines["fedprox"]["mu"]
    with pytest.raises(ValueError, match="fedprox"):
        document.defaults_page(known, lines)


def test_another_value_of_a_preset_is_noticed(
    document: ModuleType, load: Callable[..., config.Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = config.load

    def changed(dataset: str, preset: str, overrides: list[str]) -> config.Config:
        if (dataset, preset) == ("digits", "default"):
            return load(dataset, preset, ["methods.moon.mu=0.2"])
        return kept(dataset, preset, overrides)

    monkeypatch.setattr(config, "load", changed)
    written = (document.DOCS / "presets.md").read_text(encoding="utf-8")
    assert document.presets_page() != written
