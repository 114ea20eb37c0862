"""Messages by FedML's cross-silo communication over gRPC, without its cloud.

What is used of FedML is its communication manager with the backend ``GRPC``, and its messages.
``fedml.init``, which looks for FedML's cloud over HTTPS, is never called. Messages are pickles over
an open channel, as all of FedML's are: for networks whose every machine is trusted.
"""

import logging
import pickle
import queue
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptfl_bench.core.errors import UsageError
from gptfl_bench.silos.wire import Gone, Wire

_KIND = "gptfl-bench"
_BODY = "body"
_IDLE = 0.02
"""Seconds between two looks for messages; FedML's own loop never rests."""


class FedmlWire(Wire):
    """A process's end of FedML's gRPC runtime.

    Args:
        hosts: Address and port of each process, the server's first.
        number: Which of them this one is.

    Raises:
        UsageError: If FedML is missing, or the address can't be listened at.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]], number: int) -> None:
        try:
            import grpc
            from fedml.core.distributed.communication.grpc.grpc_comm_manager import GRPCCommManager
            from fedml.core.distributed.communication.message import Message
            from fedml.core.distributed.fedml_comm_manager import FedMLCommManager
        except ImportError as error:
            raise UsageError(
                f"a federation needs FedML ({error}); install gptfl-bench[fedml], with Python "
                "below 3.13."
            ) from error
        # Each message would be told in ten lines.
        logging.getLogger().setLevel(logging.WARNING)
        arrived: queue.Queue[tuple[int, bytes]] = queue.Queue()

        class Patient(GRPCCommManager):  # type: ignore[misc]
            def handle_receive_message(self) -> None:
                rest = threading.Event()
                while self.is_running:
                    if self.grpc_servicer.message_q.empty():
                        rest.wait(_IDLE)
                        continue
                    data = self.grpc_servicer.message_q.get()
                    message = pickle.loads(data)  # noqa: S301 - FedML's form
                    for observer in self._observers:
                        observer.receive_message(message.get_type(), message)

        class Manager(FedMLCommManager):  # type: ignore[misc]
            def _init_manager(self) -> None:
                self.com_manager = Patient(self.args, client_rank=self.rank, client_num=self.size)
                self.com_manager.add_observer(self)

            def register_message_receive_handlers(self) -> None:
                self.register_message_receive_handler(_KIND, self.take)

            def take(self, message: Any) -> None:  # noqa: ANN401 - FedML's
                arrived.put((int(message.get_sender_id()), message.get(_BODY)))

        with tempfile.TemporaryDirectory() as scratch:
            table = Path(scratch) / "hosts.csv"
            lines = [f"{n},{n},{address},{port}" for n, (address, port) in enumerate(hosts)]
            table.write_text("\n".join(["eid,rank,grpc_server_ip,grpc_server_port", *lines]))
            try:
                self._manager = Manager(str(table), rank=number, size=len(hosts), backend="GRPC")
            except RuntimeError as error:
                address, port = hosts[number]
                raise UsageError(
                    f"{address}:{port} can't be listened at ({error}); name another port."
                ) from error
        self._number, self._message, self._arrived = number, Message, arrived
        self._error = grpc.RpcError
        threading.Thread(target=self._manager.run, daemon=True).start()

    def send(self, to: int, data: bytes) -> None:
        """Send a message by FedML.

        Raises:
            Gone: If nobody is there.
        """
        message = self._message(_KIND, self._number, to)
        message.add_params(_BODY, data)
        try:
            self._manager.send_message(message)
        except self._error as error:
            raise Gone(str(to)) from error

    def receive(self, seconds: float) -> tuple[int, bytes] | None:
        """Return who sent the next message and what it says; None if none came in time."""
        try:
            return self._arrived.get(timeout=seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """End FedML's manager."""
        self._manager.finish()
