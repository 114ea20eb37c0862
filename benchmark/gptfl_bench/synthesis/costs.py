"""What synthetic data cost: prices that services state, budgets that hold, rates measured before.

Money is counted in decimals, so that ten requests at 0.1 are a budget of 1.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Protocol, Self, runtime_checkable

from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_reports.records import checksums


class BudgetSpent(UsageError):  # noqa: N818 - an end that was asked for, no fault
    """Another request could cost more than may be spent; what was made is kept."""


@runtime_checkable
class Priced(Protocol):
    """A generator or prompt writer whose requests cost money; anybody's may be one."""

    @property
    def price(self) -> float | None:
        """Money for one request, in any currency; None if nobody said."""
        ...

    @property
    def budget(self) -> float | None:
        """Most money that one process may spend; None for no bound."""
        ...

    @property
    def spent(self) -> float:
        """Money that this process has spent, by whatever :meth:`within` returned, too."""
        ...

    def requests(self, count: int, modality: Modality) -> int:
        """Return how many requests ``count`` samples, or texts of one label, take at least."""
        ...

    def within(self, money: float) -> Self:
        """Return the same, which raises :class:`BudgetSpent` before it spends more than that."""
        ...


class Ledger:
    """What one process spends on one service; threads may share it.

    Args:
        setting: Where the service's fields are set.
    """

    def __init__(self, setting: str) -> None:
        self._setting = setting
        self._lock = Lock()
        self._spent = self._held = Decimal(0)

    @property
    def spent(self) -> float:
        """Money spent so far."""
        return float(self._spent)

    def covers(self, requests: int, price: float | None, budget: float | None) -> bool:
        """Return whether a budget pays for so many more requests if none is on its way."""
        return budget is None or self._spent + requests * exact(price or 0) <= exact(budget)

    @contextmanager
    def request(self, price: float | None, budget: float | None) -> Iterator[Callable[[], None]]:
        """Hold the price of a request while it is on its way.

        Yields:
            What to call if the request is charged for; if it is not, its price is free again.

        Raises:
            BudgetSpent: Instead, if this and all that is on its way could exceed the budget.
        """
        cost, charged = exact(price or 0), False

        def charge() -> None:
            nonlocal charged
            charged = True

        with self._lock:
            if budget is not None and self._spent + self._held + cost > exact(budget):
                raise self.refusal(price, budget)
            self._held += cost
        try:
            yield charge
        finally:
            with self._lock:
                self._held -= cost
                self._spent += cost if charged else 0

    def refusal(self, price: float | None, budget: float | None) -> BudgetSpent:
        """Return the sentence that says that the budget does not pay for what is wanted."""
        return BudgetSpent(
            f"{self._setting.rpartition('.')[2]!r} has spent {in_words(self.spent)} of its budget "
            f"of {in_words(budget or 0)}, which does not pay for what comes next at "
            f"{in_words(price or 0)} a request; run the same again with a larger budget "
            f"({self._setting}.budget, or --money of generate) to go on from here."
        )


@cache
def ledger(setting: str, service: str) -> Ledger:
    """Return the ledger of a service, the same one in all of this process."""
    return Ledger(setting)


def exact(money: float) -> Decimal:
    """Return money as it is written."""
    return Decimal(repr(money))


def less(money: float, spent: float) -> float:
    """Return what is left of money.

    >>> less(0.3, 0.1)
    0.2
    """
    return float(exact(money) - exact(spent))


def in_words(money: float) -> str:
    """Return money to a millionth.

    >>> in_words(1234.5), in_words(0.0004), in_words(2.0)
    ('1,234.5', '0.0004', '2')
    """
    return f"{money:,.6f}".rstrip("0").rstrip(".")


def rate(artifacts: Artifacts, fingerprint: str) -> float | None:
    """Return the seconds a sample took when last measured; None if that is not known."""
    path = artifacts.place("rates", digest({"generator": fingerprint})) / "rate.json"
    try:
        seconds = json.loads(checksums.read(path, _beginning))["seconds"]
        known = isinstance(seconds, float) and math.isfinite(seconds) and seconds > 0
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return seconds if known else None


def keep_rate(artifacts: Artifacts, fingerprint: str, seconds: float) -> None:
    """Keep how many seconds a sample took."""
    with artifacts.claim("rates", digest({"generator": fingerprint})) as place:
        about = {"generator_fingerprint": fingerprint, "seconds": seconds}
        checksums.write(place / "rate.json", json.dumps(about).encode())


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1000)


@dataclass(frozen=True)
class Share:
    """What is asked of one priced part.

    Attributes:
        setting: Where its fields are set.
        requests: How many, at least.
        price: Money for one; None if nobody said.
        left: Money it may spend; None for no bound.
    """

    setting: str
    requests: int
    price: float | None
    left: float | None

    def __str__(self) -> str:
        """Return requests and money as a line."""
        asked = f"{self.requests:,} requests or more to {self.setting.rpartition('.')[2]!r}"
        if self.price is None:
            return f"{asked}, at a price that is not known ({self.setting}.price)"
        cost = in_words(float(self.requests * exact(self.price)))
        line = f"{asked}, for {cost} or more at {in_words(self.price)} each"
        if self.left is None:
            return line
        pays = int(exact(self.left) / exact(self.price))
        return f"{line}; the budget of {in_words(self.left)} pays for {pays:,}"


@dataclass(frozen=True)
class Estimate:
    """What a call is going to do.

    Attributes:
        wanted: Samples that the folder is to hold.
        there: Samples that it holds.
        due: Samples to make now.
        shares: What is asked of priced parts.
        seconds: Seconds that a sample took before; None if that is not known.
    """

    wanted: int
    there: int
    due: int
    shares: tuple[Share, ...]
    seconds: float | None

    def __str__(self) -> str:
        """Return it as lines."""
        lines = [f"{self.wanted:,} samples wanted, {self.there:,} there, {self.due:,} to make now"]
        lines += [str(share) for share in self.shares]
        if self.due:
            lines.append(f"time: {self._time()}")
        return "\n".join(lines)

    def _time(self) -> str:
        if self.seconds is None:
            return "not known yet"
        whole = self.due * self.seconds
        unit, name = (1, "s") if whole < 100 else (60, "min") if whole < 6000 else (3600, "h")
        return (
            f"about {whole / unit:.1f} {name}, at {self.seconds:.2g} s a sample as measured before"
        )
