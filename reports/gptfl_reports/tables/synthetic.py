"""How good synthetic data are: measures beside those of real samples, and a contact sheet.

All of it was measured by the run, for readers alone; it is read from the run folder.
"""

import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gptfl_reports.numbers.tasks import QUICK, data_title
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.quality import (
    FOLDER,
    Feature,
    Looks,
    Numbers,
    Quality,
    Shares,
    clip_names,
    read_looks,
    strip_name,
)
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, markdown

_NO_METHOD = "Measured for readers alone, on a fixed random part: no method sees any of it."


@dataclass(frozen=True)
class Described:
    """A synthetic data set as cells of the run used it.

    Attributes:
        looks: Its measures and contact sheet.
        title: Data, generator, prompts, amount and judge, in a line.
        stamp: A warning that goes before the title; empty for none.
    """

    looks: Looks
    title: str
    stamp: str = ""


@dataclass(frozen=True)
class Strip:
    """A class on a contact sheet, as ``data:`` addresses; sizes in pixels."""

    name: str
    count: int
    picture: str
    width: int
    height: int
    clips: tuple[str, ...]


def described(run_folder: Path, cells: Sequence[Cell]) -> list[Described]:
    """Return what a run folder says of the synthetic data that some cells used.

    Raises:
        UsageError: If a description is damaged.
    """
    found = []
    for looks in read_looks(run_folder):
        users = [cell for cell in cells if _used(cell, looks.quality)]
        if users:
            records = [cell.record for cell in users]
            quick = all(record["preset"]["quick"] for record in records)
            one = looks.quality
            title = (
                f"{data_title(records)} · {one.generator} · {one.prompts} prompts · "
                f"{one.samples:,} samples · judged by {one.model}"
            )
            found.append(Described(looks, title, QUICK if quick else ""))
    return sorted(found, key=lambda one: (one.title, one.looks.name))


def _used(cell: Cell, one: Quality) -> bool:
    data, made = cell.record["dataset"], cell.synthetic
    return (
        made is not None
        and made.sha256 == one.sha256
        and (data["name"], data["sha256"]) == (one.dataset, one.dataset_sha256)
        and cell.record["model"]["name"] == one.model
    )


def quality_table(described: Described) -> Table:
    """Return the measures, one a row, synthetic beside real."""
    one = described.looks.quality
    rows = [
        (m.words, m.text(m.pair.synthetic), m.text(m.pair.real), m.beside) for m in _measures(one)
    ]
    columns = (
        Column("measure", "measure", "left"),
        Column("synthetic", "synthetic"),
        Column("real", "real"),
        Column("beside", "what stands beside", "wide"),
    )
    shown = [tuple(map(Entry, row)) for row in rows if row[1] != units.NONE]
    return Table(described.title, columns, tuple(shown), _notes(one), described.stamp)


class _Measure(NamedTuple):
    """A measure of a data set: its name in CSV and in words, and what stands beside it."""

    key: str
    words: str
    pair: Shares | Numbers
    text: Callable[[float | None], str]
    beside: str


def _measures(one: Quality) -> tuple[_Measure, ...]:
    train = "real training samples"
    agreement, near, exact = one.agreement, one.near_duplicates, one.exact_duplicates
    judge, floor = "the judge on real test samples", "real test samples, the floor"
    return (
        _Measure("label_agreement", "label agreement", agreement, _percent, judge),
        _Measure("distance", "distance to real samples", one.distance, _number, floor),
        _Measure("diversity", "diversity within a class", one.diversity, _number, train),
        _Measure("near_duplicates", "near-duplicates", near, _percent, train),
        _Measure("exact_duplicates", "exact duplicates", exact, _percent, train),
    )


def _notes(one: Quality) -> tuple[str, ...]:
    looked = one.looked_at
    notes = [
        f"Looked at: {looked.synthetic:,} synthetic, {looked.train:,} real training and "
        f"{looked.test:,} real test samples. {_NO_METHOD}"
    ]
    if one.judge:
        notes += [
            f"Judge: {one.model}, trained centrally on the real training samples for "
            f"{one.judge.steps:,} steps; right on {_percent(one.judge.accuracy)} of real test "
            "samples. The less that is, the less the judge says.",
            "Label agreement: share of samples whose label the judge gives.",
        ]
    if one.feature:
        notes += [
            "Distance: kernel inception distance to real training samples (Bińkowski et al. 2018; "
            f"unbiased, all samples at once) in {_feature(one.feature)}. 0 for samples of the same "
            "distribution, or slightly below.",
            "Diversity: cosine distance of two samples of a class in the same features, mean over "
            "pairs, then over classes. Far less than real ones have means repetition.",
        ]
    notes.append(
        "Near-duplicates: share of samples with another one in the whole set whose network input, "
        f"averaged to 16 x 16 places, correlates above {one.alike:g}. Exact ones, counted over the "
        "whole set, are among them."
    )
    return tuple(notes)


def _feature(feature: Feature) -> str:
    if feature.layer == "inception":
        return f"Inception's features ({feature.size:,} values)"
    layer = "last layer but one" if feature.layer == "penultimate" else "logits"
    return f"the judge's {layer} ({feature.size:,} values of mean square 1)"


def class_table(described: Described) -> Table:
    """Return the measures of each class."""
    one = described.looks.quality
    columns = (
        Column("class", "class", "left"),
        Column("samples", "samples"),
        Column("agreement", "label agreement"),
        Column("accuracy", "judge on real test samples"),
        Column("diversity", "diversity"),
        Column("real_diversity", "diversity of real samples"),
    )
    rows = tuple(
        tuple(
            map(
                Entry,
                (
                    own.name,
                    f"{own.samples:,}",
                    _percent(own.agreement.synthetic),
                    _percent(own.agreement.real),
                    _number(own.diversity.synthetic),
                    _number(own.diversity.real),
                ),
            )
        )
        for own in one.classes
    )
    return Table("By class", columns, rows)


def strips(described: Described) -> tuple[Strip, ...]:
    """Return the contact sheet's classes, those without a sample left out."""
    looks = described.looks
    found = []
    for number, own in enumerate(looks.quality.classes):
        if own.shown:
            clips = [looks.files[name] for name in clip_names(number, own.heard)]
            found.append(strip(own.name, own.shown, looks.files[strip_name(number)], clips))
    return tuple(found)


def strip(name: str, count: int, picture: bytes, clips: Sequence[bytes] = ()) -> Strip:
    """Return a strip for a page.

    Args:
        name: The class.
        count: Samples on it; 0 if that is not known.
        picture: A PNG file.
        clips: WAV files.
    """
    # A PNG file begins with its size.
    width, height = struct.unpack(">II", picture[16:24].rjust(8, b"\0"))
    addresses = tuple(_address("audio/wav", clip) for clip in clips)
    return Strip(name, count, _address("image/png", picture), width, height, addresses)


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def synthetic_markdown(all_described: Iterable[Described]) -> str:
    """Return all measures as Markdown, each data set under a heading."""
    return "\n".join(
        markdown(quality_table(one)) + "\n" + markdown(class_table(one), 3) for one in all_described
    )


def synthetic_csv(all_described: Iterable[Described]) -> str:
    """Return all measures, one a line; shares are fractions, ``class`` is empty for all classes."""
    columns = ("data", "dataset", "generator", "prompts", "samples", "model")
    return csv_text(
        (*columns, "measure", "class", "synthetic", "real"),
        [
            (
                *(one.looks.name, quality.dataset, quality.generator),
                *(quality.prompts, quality.samples, quality.model),
                *(measure, name, units.exact(synthetic), units.exact(real)),
            )
            for one in all_described
            for quality in (one.looks.quality,)
            for measure, name, synthetic, real in _values(quality)
        ],
    )


def _values(one: Quality) -> Iterable[tuple[str, str, float | None, float | None]]:
    for measure in _measures(one):
        yield measure.key, "", measure.pair.synthetic, measure.pair.real
    for own in one.classes:
        yield "label_agreement", own.name, own.agreement.synthetic, own.agreement.real
        yield "diversity", own.name, own.diversity.synthetic, own.diversity.real


SHEETS = f"{FOLDER}/*/*"
"""Pattern of the contact sheets' files in a report."""


def sheet_files(all_described: Iterable[Described]) -> dict[str, bytes]:
    """Return the contact sheets' files by their path within the report."""
    return {
        f"{FOLDER}/{one.looks.name}/{name}": content
        for one in all_described
        for name, content in one.looks.files.items()
    }


def _percent(value: float | None) -> str:
    return units.NONE if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return units.NONE if value is None else f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
