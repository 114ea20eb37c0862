"""The paper's claims as data: what is said, where, and which cells decide it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

Statistic = Literal["value", "traffic", "diversity"]
Expected = Literal["more", "less", "same"]


@dataclass(frozen=True)
class Side:
    """Cells of one method with one setting.

    Attributes:
        text: As in the file of claims.
        method: The method's name.
        settings: Settings by dotted name, as text.
        at_start: Whether the value before the first round counts instead of that at the end.
    """

    text: str
    method: str
    settings: Mapping[str, str]
    at_start: bool

    @classmethod
    def read(cls, text: str, common: list[str]) -> Self:
        """Return what ``METHOD [at start] [key=value ...]`` means.

        Args:
            text: The words.
            common: Settings ``key=value`` of all sides of a claim.
        """
        method, *words = text.split()
        given = [*common, *(word for word in words if "=" in word)]
        settings = dict(word.split("=", 1) for word in given)
        return cls(text, method, settings, "start" in words)


@dataclass(frozen=True)
class Pair:
    """Two sides that are compared.

    Attributes:
        ours: Whose number comes first.
        theirs: What is taken away from it, or what it is divided by.
        paper: The paper's number, in points or as a ratio; None if it has none.
    """

    ours: Side
    theirs: Side
    paper: float | None


@dataclass(frozen=True)
class Claim:
    """What the paper says.

    Attributes:
        key: Its number.
        says: The claim in a sentence.
        where: Where the paper says it.
        dataset: The data set that it is tested on, by its name here.
        statistic: What is compared.
        expected: Whether ours is to be more than theirs, less, or the same.
        pairs: What is compared; nothing if it can't be tested.
        untestable: Why nothing here can test it; empty if something can.
    """

    key: str
    says: str
    where: str
    dataset: str
    statistic: Statistic
    expected: Expected
    pairs: tuple[Pair, ...]
    untestable: str

    @property
    def sides(self) -> tuple[Side, ...]:
        """All sides, each once."""
        every = [side for pair in self.pairs for side in (pair.ours, pair.theirs)]
        return tuple({side.text: side for side in every}.values())


@cache
def claims() -> tuple[Claim, ...]:
    """Return all claims in the order of the file."""
    path = files("gptfl_reports") / "published" / "claims.toml"
    return read(path.read_text(encoding="utf-8"))


def read(text: str) -> tuple[Claim, ...]:
    """Return the claims of a file, or questions of one's own: those have no numbers of the paper.

    Args:
        text: TOML as in ``published/claims.toml``, whose head says what it holds.
    """
    tree = tomllib.loads(text)
    return tuple(_claim(entry, tree["common"]) for entry in tree["claim"])


def _claim(entry: Mapping[str, Any], common: Mapping[str, list[str]]) -> Claim:
    shared = [*common["all"], *common.get(entry["dataset"], []), *entry.get("settings", [])]
    theirs = entry.get("theirs", [])
    papers = entry.get("paper", ["none"] * len(theirs))
    pairs = [
        Pair(
            Side.read(entry["ours"], shared),
            Side.read(text, shared),
            None if paper == "none" else float(paper),
        )
        for text, paper in zip(theirs, papers, strict=True)
    ]
    return Claim(
        entry["key"],
        entry["says"],
        entry.get("where", ""),
        entry["dataset"],
        entry.get("statistic", "value"),
        entry.get("expected", "more"),
        tuple(pairs),
        entry.get("untestable", ""),
    )
