"""The command ``labels``: private label discovery alone, and how full its table may be."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import PRESETS_HELP, access_of, arrange_access, expanded

if TYPE_CHECKING:
    from gptfl_bench.labels.sketch import Shape
    from gptfl_reports.records.events import Event, TrafficCounted

_LOADS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0)


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``labels``."""
    add = parser.add_argument
    add("--dataset", default="digits", metavar="D", help="data set (default: digits)")
    add("--preset", default="auto", metavar="P", help=PRESETS_HELP)
    add("--seed", type=int, default=0, metavar="S", help="seed (default: 0)")
    add(
        "--decode-rates",
        type=expanded,
        metavar="DIR",
        help="also measure how full the table may be, and draw it in DIR",
    )
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, as of run")


def run(options: argparse.Namespace) -> int:
    """Say what the server learns of the clients' labels, and what it costs."""
    from gptfl_bench.cells.assemble import build_server
    from gptfl_bench.cells.world import build_world
    from gptfl_bench.core.cache import Artifacts
    from gptfl_bench.core.errors import Refusal, UsageError
    from gptfl_bench.core.progress import Silent
    from gptfl_bench.data.access import check_writable
    from gptfl_bench.labels.discovery import discover_labels
    from gptfl_bench.runs import experiment

    if options.decode_rates:
        check_writable(options.decode_rates, "--decode-rates")
    (spec,) = experiment.plan(
        ["gptfl"],
        options.dataset,
        options.preset,
        [options.seed],
        # Sealed unless the command line says otherwise.
        ["secure_aggregation=true", *options.overrides],
        access=access_of(options),
    ).cells
    events: list[Event] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        server = build_server(
            spec, build_world(spec), folder, Artifacts(folder), events.append, Silent()
        )
        try:
            discover_labels(server.federation, spec.settings.labels, server.log)
        except Refusal as refusal:
            raise UsageError(str(refusal)) from refusal
        finally:
            traffic = server.federation.channel.settle()
    print(_learnt(events))
    print(_cost(events, traffic, server.num_clients, spec.settings.labels))
    if options.decode_rates:
        _draw(spec.settings.labels, options.decode_rates)
    return 0


def _learnt(events: Sequence["Event"]) -> str:
    """Return what the server reads from the sum, as the paper prints it (section 3.2)."""
    from gptfl_reports.records.events import LabelsDiscovered

    told = [event for event in events if isinstance(event, LabelsDiscovered)][-1]
    lines = [
        f"Number of clients participated: {told.num_clients}",
        "Discovered label names and counts:",
        str(told.counts),
    ]
    if told.epsilon is not None:
        lines.append(f"Counts carry noise: each table is {told.epsilon:g}-differentially private.")
    if told.withheld:
        lines.append(f"Withheld, for too few clients hold them: {told.withheld}")
    return "\n".join(lines)


def _cost(
    events: Sequence["Event"],
    traffic: Sequence["TrafficCounted"],
    clients: int,
    first: "Shape",
) -> str:
    from gptfl_reports.records.events import LabelsDiscovered, SecureSum

    attempts = sum(isinstance(event, LabelsDiscovered) for event in events)
    sums = [event for event in events if isinstance(event, SecureSum)]
    table = first.repetitions * first.cells
    sent = {way: sum(t.nbytes for t in traffic if t.direction == way) for way in ("up", "down")}
    lines = [
        f"Sketch: {table * (first.chunks + 2):,} + {table:,} numbers a client for "
        f"{first.capacity:,} names of up to {first.max_bytes} bytes"
        + (f"; read whole at attempt {attempts}, doubled each time" if attempts > 1 else ""),
        f"Sent: {sent['up'] / clients:,.0f} bytes up and {sent['down'] / clients:,.0f} bytes down "
        "a client",
        (
            f"The server saw: {sums[-1].stayed} masked vectors and their sum "
            f"({sums[-1].protocol}, {sum(event.seconds for event in sums):.1f} s)"
            if sums
            else f"The server saw: {clients} sketches (secure_aggregation=false)"
        ),
    ]
    return "\n".join(lines)


def _draw(shape: "Shape", out: Path) -> None:
    from gptfl_bench.labels.decode_rates import read_whole
    from gptfl_reports.figures import decode_rates as decoding

    trials = 60
    distinct = [max(round(load * shape.capacity), 1) for load in _LOADS]
    rates = [
        decoding.DecodeRate(shape.capacity, count, whole, trials)
        for count, whole in zip(distinct, read_whole(shape, distinct, trials), strict=True)
    ]
    for path in decoding.write(rates, out):
        print(path)
