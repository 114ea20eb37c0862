"""Images that methods trained themselves, such as DynaFed's (GPT-FL, Figure 6), for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptfl_reports.numbers.tasks import QUICK, data_title
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.quality import read_pictures
from gptfl_reports.tables.synthetic import Strip, strip


@dataclass(frozen=True)
class TrainedPictures:
    """The images of one cell.

    Attributes:
        title: Data, method and seed in a line.
        strips: One for each class.
        stamp: A warning that goes before the title; empty for none.
    """

    title: str
    strips: tuple[Strip, ...]
    stamp: str = ""


def trained_pictures(cells: Sequence[Cell]) -> list[TrainedPictures]:
    """Return the images of the cells that have any, one seed of each method and data set.

    Raises:
        UsageError: If a file is damaged.
    """
    found: dict[tuple[str, str], TrainedPictures] = {}
    for cell in sorted(cells, key=lambda cell: cell.record["seed"]):
        record = cell.record
        key = (data_title([record]), record["method"])
        strips = {} if key in found else read_pictures(cell.folder)
        if strips:
            found[key] = TrainedPictures(
                f"{key[0]} · {key[1]} · seed {record['seed']}",
                tuple(strip(name, 0, picture) for name, picture in strips.items()),
                QUICK if record["preset"]["quick"] else "",
            )
    return [pictures for _, pictures in sorted(found.items())]
