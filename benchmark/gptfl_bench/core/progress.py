"""What a person sees while cells run; a view of what happens, never a source of numbers."""

from contextlib import AbstractContextManager
from typing import Protocol


class Progress(AbstractContextManager["Progress", None], Protocol):
    """Takes news of a run, between its entry and its exit."""

    def cell(self, number: int, total: int, name: str) -> None:
        """A cell begins; ``number`` counts from 1."""

    def stage(self, name: str, done: int, total: int) -> None:
        """A stage of the cell, such as rounds or clients, has come so far."""

    def ended(self, name: str, text: str) -> None:
        """A cell ended."""


class Silent(AbstractContextManager["Silent", None]):
    """Shows nothing."""

    def cell(self, number: int, total: int, name: str) -> None:
        """Show nothing."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Show nothing."""

    def ended(self, name: str, text: str) -> None:
        """Show nothing."""

    def __exit__(self, *_: object) -> None:
        """End."""
