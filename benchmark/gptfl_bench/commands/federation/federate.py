"""The command ``federate``: one cell as a federation of real processes, by FedML's gRPC."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import (
    FAILED,
    OK,
    PRESETS_HELP,
    access_of,
    arrange_access,
    command_line,
    expanded,
    names,
)
from gptfl_bench.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from gptfl_bench.cells.spec import CellSpec

ROLES = ("server", "client")


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``federate``."""
    add = parser.add_argument
    add("role", metavar="ROLE", help="server or client")
    add(
        "--hosts", default="127.0.0.1:8890,127.0.0.1:8891", metavar="A:P,..",
        help="address:port of the server and then of each client, the same for all",
    )  # fmt: skip
    add("--number", default="1", metavar="N", help="which client this is, from 1 on")
    add("--patience", default="120", metavar="S", help="seconds to wait for the others at first")
    add("--method", default="fedavg", metavar="M", help="the server's: fedavg (default), gptfl, ..")
    add("--dataset", default="digits", metavar="D", help="the server's: data set (default: digits)")
    add("--preset", default="auto", metavar="P", help=f"the server's: {PRESETS_HELP}")
    add("--seed", default="0", metavar="S", help="the server's: root of all randomness")
    add(
        "--out",
        type=expanded,
        default=Path("federated"),
        metavar="DIR",
        help="run folder of the server; a client's states and ledger (default: federated)",
    )
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="the server's: settings, as of run")


def run(options: argparse.Namespace) -> int:
    """Be the server, or one of the clients, until all rounds are over."""
    from gptfl_bench.silos.wire import hosts_in

    if options.role not in ROLES:
        raise unknown("role", options.role, ROLES)
    hosts = hosts_in(options.hosts)
    patience = _whole("--patience", options.patience, 1, 10**6)
    if options.role == "client":
        return _client(options, hosts, patience)
    return _server(options, hosts, patience)


def _server(options: argparse.Namespace, hosts: list[tuple[str, int]], patience: int) -> int:
    from gptfl_bench.cells.cell import run_cell
    from gptfl_bench.commands.run import print_leaderboard
    from gptfl_bench.runs import experiment, launchers
    from gptfl_bench.runs.bars import for_terminal
    from gptfl_bench.silos.fedml_wire import FedmlWire
    from gptfl_bench.silos.server import Silos

    seed, count = _whole("--seed", options.seed, 0, 2**31), len(hosts) - 1
    access = access_of(options)
    settings = [f"num_clients={count}", f"cohort_size={count}", *options.overrides]
    asked = names(options.method)
    plan = experiment.plan(asked, options.dataset, options.preset, [seed], settings, access=access)
    spec = _one(plan.cells)
    context = experiment.context(options.out, command_line(), cache=options.cache)
    launchers.check(plan.cells, context)
    wire = FedmlWire(hosts, 0)
    silos = Silos(wire, count)
    try:
        silos.gather(patience)
        silos.open(spec)
        with for_terminal() as shown:
            cell = run_cell(spec, replace(context, apart=silos), shown)
    finally:
        silos.close()
    print_leaderboard([cell])
    return FAILED if cell.ending.status == "failed" else OK


def _client(options: argparse.Namespace, hosts: list[tuple[str, int]], patience: int) -> int:
    from gptfl_bench.data.access import check_writable
    from gptfl_bench.silos import client
    from gptfl_bench.silos.fedml_wire import FedmlWire

    number = _whole("--number", options.number, 1, len(hosts) - 1)
    check_writable(options.out, "--out")
    folder = options.out / f"client-{number}"
    wire = FedmlWire(hosts, number)
    silo = client.Silo(access_of(options), folder)
    try:
        client.serve(wire, silo, patience)
    finally:
        silo.close()
        wire.close()
    print(f"client {number}: {client.in_words(folder)}", file=sys.stderr)
    return OK


def _one(cells: "tuple[CellSpec, ...]") -> "CellSpec":
    """Return the cell, if it can be run by silos.

    Raises:
        UsageError: If there are several, or it needs what silos don't do.
    """
    from gptfl_bench.engine.method import Need

    if len(cells) != 1:
        raise UsageError("federate runs one method; name it, such as --method gptfl.")
    (spec,) = cells
    if needs := spec.method.needs - {Need.GENERATOR}:
        raise UsageError(
            f"--method {spec.name} needs {', '.join(sorted(needs))}; federate runs methods that "
            "need sums over clients alone, such as fedavg, fedprox, fedopt, scaffold and gptfl."
        )
    if spec.settings.secure_aggregation:
        raise UsageError(
            "secure_aggregation=true is for the simulation, where one process plays all parties; "
            "leave it out."
        )
    return spec


def _whole(option: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text) <= most:
        return int(text)
    raise UsageError(f"{option} {text!r} must be a whole number from {least} to {most}.")
