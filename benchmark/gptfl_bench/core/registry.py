"""Names to parts: methods, data sets, models, generators and partitions, found by discovery.

A registry walks one package of this distribution and one entry-point group, so a new part is one
new file, or one line in another distribution's packaging, and no list is edited.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from threading import RLock
from typing import Generic, TypeVar

from gptfl_bench.core.errors import UsageError, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Reference:
    """What a table says about a part.

    Attributes:
        title: One line for humans.
        source: The paper, package or site the part comes from.
        year: Year of the source; 0 where none applies.
        needs: What must be there for it to work, in words; empty if nothing.
    """

    title: str
    source: str = ""
    year: int = 0
    needs: str = ""


_DISCOVERY = RLock()
"""One for all registries: what is imported for one may ask another."""


@dataclass
class Registry(Generic[T]):
    """Parts of one kind by name.

    Attributes:
        kind: What the parts are, in the singular, for messages.
        package: The package whose modules register parts when they are imported.
        group: The entry-point group that adds parts from outside.
    """

    kind: str
    package: str
    group: str
    _parts: dict[str, T] = field(default_factory=dict)
    _references: dict[str, Reference] = field(default_factory=dict)
    _unlisted: set[str] = field(default_factory=set)
    _discovered: bool = False

    def register(
        self,
        name: str,
        *,
        title: str,
        source: str = "",
        year: int = 0,
        needs: str = "",
        listed: bool = True,
    ) -> Callable[[T], T]:
        """Return a decorator that files the decorated part under ``name``.

        Args:
            name: Its name.
            title: One line for humans.
            source: The paper, package or site it comes from.
            year: Year of the source; 0 where none applies.
            needs: What must be there for it to work, in words.
            listed: Whether :meth:`names` has it; what is not listed has to be asked for by name.

        Raises:
            ValueError: If another part already has the name.
        """

        def add(part: T) -> T:
            if name in self._parts and self._parts[name] is not part:
                raise ValueError(f"two parts are called {self.kind} {name!r}")
            self._parts[name] = part
            self._references[name] = Reference(title, source, year, needs)
            if not listed:
                self._unlisted.add(name)
            return part

        return add

    def names(self) -> list[str]:
        """Return the names of all listed parts in alphabetical order."""
        self._discover()
        return sorted(self._parts.keys() - self._unlisted)

    def unlisted(self) -> list[str]:
        """Return the names of the parts that :meth:`names` leaves out."""
        self._discover()
        return sorted(self._unlisted)

    def get(self, name: str) -> T:
        """Return the part called ``name``.

        Raises:
            UsageError: If there is none; the sentence names the nearest.
        """
        self._discover()
        if name not in self._parts:
            raise unknown(self.kind, name, self._parts)
        return self._parts[name]

    def reference(self, name: str) -> Reference:
        """Return what is known about the part called ``name``."""
        self.get(name)
        return self._references[name]

    def name_of(self, part: T) -> str | None:
        """Return the name ``part`` is registered under, or None."""
        self._discover()
        return next((name for name, known in self._parts.items() if known is part), None)

    def _discover(self) -> None:
        # A second thread that asks meanwhile would be told a part of the names.
        with _DISCOVERY:
            if not self._discovered:
                # Set first: a module that is being imported may ask for a name of its own kind.
                self._discovered = True
                self._load()

    def _load(self) -> None:
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            inside = module.name.removeprefix(package.__name__)
            if "._" not in inside:
                importlib.import_module(module.name)
        for point in entry_points(group=self.group):
            try:
                part = point.load()
            except Exception as error:
                self._discovered = False
                raise UsageError(
                    f"the {self.kind} {point.name!r} from {point.value!r} can't be loaded "
                    f"({type(error).__name__}: {error}); repair or uninstall its package."
                ) from error
            if part not in self._parts.values():
                title = (part.__doc__ or point.value).strip().splitlines()[0]
                self.register(point.name, title=title, source=point.value)(part)
