"""What stands for own code changes with all that may change a result, and with nothing else."""

import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gptfl_bench.core.code.identity import describe
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl

HELPERS = """
LIMIT = 3
def scaled(x):
    return x * FACTOR
FACTOR = 2
"""
OWN = """
import {helpers} as helpers
from {helpers} import LIMIT

STEPS = [1, 2]
CALLS = []
COUNT = {{"calls": 0}}

class Base:
    def step(self, x):
        return helpers.scaled(x)

class Own(Base):
    rate: float = 0.1

    def __call__(self, x, rng=None):
        CALLS.append(x)
        COUNT["calls"] += 1
        return [self.step(x) + LIMIT, [lambda y: y + 1, lambda y: y + 2], STEPS]

class Unused:
    pass
"""
CHANGES = {
    "a comment and blanks": ("rate: float = 0.1", "# why\n\n    rate: float  =  0.1", True),
    "a docstring": ("class Base:", 'class Base:\n    """Says what."""\n', True),
    "a docstring of a function": (
        "    def step(self, x):",
        '    def step(self, x):\n        """Says what."""',
        True,
    ),
    "a class it does not use": ("    pass", "    other = 2", True),
    "an import": ("STEPS =", "import math\nSTEPS =", True),
    "a field": ("0.1", "0.2", False),
    "a base": ("helpers.scaled(x)", "helpers.scaled(-x)", False),
    "another base": ("class Own(Base)", "class Own(dict, Base)", False),
    "a list that it reads": ("[1, 2]", "[1, 3]", False),
    "a default of an argument": ("rng=None", "rng=0", False),
    "one of two lambdas": ("y: y + 2", "y: y + 3", False),
    "a function in another file": ("x * FACTOR", "x / FACTOR", False),
    "what that function reads": ("FACTOR = 2", "FACTOR = 4", False),
    "a value from another file": ("LIMIT = 3", "LIMIT = 4", False),
}


def _load(text: str, folder: Path, name: str) -> Any:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _own(folder: Path, name: str, change: tuple[str, str] = ("", "")) -> Any:
    helpers = f"identity_helpers_{name}"
    _load(HELPERS.replace(*change), folder, helpers)
    text = OWN.replace(*change).format(helpers=helpers)
    return _load(text, folder, f"identity_own_{name}").Own


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_may_change_a_result_counts(change: str, tmp_path: Path) -> None:
    old, new, same = CHANGES[change]
    before, after = _own(tmp_path, "before"), _own(tmp_path, change.replace(" ", "_"), (old, new))
    for made in (lambda kind: kind, lambda kind: kind(), lambda kind: kind().__call__):
        first, second = describe(made(before)), describe(made(after))  # type: ignore[no-untyped-call]
        assert first.own
        assert first.unread == second.unread == ""
        assert (first.sha256 == second.sha256) is same


def test_a_counter_of_the_codes_own_does_not_count(tmp_path: Path) -> None:
    own = _own(tmp_path, "counting")()
    before = describe(own)
    own(1)
    assert describe(own) == before
    seen: list[int] = []
    settings = [1]

    def counts(x: int) -> int:
        seen.append(x)
        return x * settings[0]

    first = describe(counts)
    counts(1)
    assert describe(counts) == first
    settings.append(2)
    assert describe(counts) != first


def _closing_over(value: object) -> Callable[..., object]:
    def inner(x: object) -> object:
        return (x, value)

    return inner


class Cached:
    """Holds what its code makes of itself."""

    @lru_cache  # noqa: B019 - what is tested
    def value(self) -> int:
        return 1

    @property
    def other(self) -> int:
        return 2


def test_values_that_were_closed_over_count() -> None:
    values = [1, 2, "a", (1, 2), torch.zeros(2), torch.ones(2), nn.ReLU(), nn.Tanh(), Cached]
    values += [partial(int, base=2), partial(int, base=8), {"a": 1}, {"a": 2}, {1, 2}]
    found = [describe(_closing_over(value)) for value in values]
    assert len({about.sha256 for about in found}) == len(values)
    assert not any(about.unread for about in found)
    assert describe(_closing_over({1, 2})) == describe(_closing_over({2, 1}))


class Net(nn.Module):
    """Two weights, and a number that ``repr`` does not show."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.linear, self.scale = nn.Linear(1, 1), scale
        nn.init.ones_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)


def test_weights_numbers_and_frozen_layers_of_networks_count() -> None:
    plain, frozen, other = Net(), Net(), Net()
    frozen.linear.requires_grad_(False)
    nn.init.zeros_(other.linear.weight)
    found = [describe(net).sha256 for net in (plain, frozen, other, Net(2.0))]
    assert len(set(found)) == 4
    # Every copy is put into the mode it is needed in.
    assert describe(Net().eval()).sha256 == found[0] == describe(plain).sha256


def test_parts_of_the_program_and_of_packages_count_by_name() -> None:
    for value in (FedAvg(), GptFl(inner=FedAvg()), nn.Sequential(nn.Linear(1, 1))):
        assert not describe(value).own
        assert describe(value).unread == ""


EXECUTED = {
    "a method": "class Made:\n    def f(self):\n        return 1",
    "no method": "class Made:\n    rate = 1",
    "a function": "def Made(x):\n    return x",
    "a lambda": "Made = lambda x: x",
}


@pytest.mark.parametrize("namespace", [{}, {"__name__": "nowhere"}, {"__name__": "__main__"}])
@pytest.mark.parametrize("code", EXECUTED)
def test_code_without_a_source_is_not_known_again(code: str, namespace: dict[str, object]) -> None:
    space = dict(namespace)
    exec(EXECUTED[code], space)  # noqa: S102 - what is tested
    about = describe(space["Made"])
    assert about.unread
    assert about.key() != about.key()
    assert about.key("token") == about.key("token")
