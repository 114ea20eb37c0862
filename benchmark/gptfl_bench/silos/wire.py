"""How a server and its silos reach each other: bytes, by number, the server being 0."""

from typing import Protocol

from gptfl_bench.core.errors import UsageError

SERVER = 0


class Gone(Exception):  # noqa: N818 - the end of another process, not a fault of this one
    """The other side does not answer any more."""


class Wire(Protocol):
    """Carries messages between this process and the others."""

    def send(self, to: int, data: bytes) -> None:
        """Send a message.

        Raises:
            Gone: If nobody is there.
        """
        ...

    def receive(self, seconds: float) -> tuple[int, bytes] | None:
        """Return who sent the next message and what it says; None if none came in time."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


def hosts_in(text: str) -> list[tuple[str, int]]:
    """Return the address and port of each process, the server's first.

    >>> hosts_in("10.0.0.1:8890, 10.0.0.2:8890")
    [('10.0.0.1', 8890), ('10.0.0.2', 8890)]

    Raises:
        UsageError: If there are not two or more, or one is no ``address:port``.
    """
    parts = [part.strip().rpartition(":") for part in text.split(",") if part.strip()]
    right = all(
        a and port.isascii() and port.isdigit() and int(port) < 2**16 for a, _, port in parts
    )
    if not right or len(parts) < 2 or len({*parts}) < len(parts):
        raise UsageError(
            f"--hosts {text!r} must be the address:port of the server and then of each client, "
            "with commas, such as 127.0.0.1:8890,127.0.0.1:8891."
        )
    return [(address, int(port)) for address, _, port in parts]
