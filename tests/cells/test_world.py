"""What a cell works with is made once."""

from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World, build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.data.partition import Partition, partitions
from gptfl_bench.runs import launchers
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedprox import FedProx


def test_a_world_is_built_once_a_cell_and_a_partition_drawn_once(
    make_spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[CellSpec] = []
    drawn: list[int] = []
    build, draw = build_world, partitions.get("group")

    def counted(spec: CellSpec) -> World:
        built.append(spec)
        return build(spec)

    def noted(*given: Any, **settings: Any) -> Partition:
        drawn.append(settings["seed"])
        return draw(*given, **settings)

    monkeypatch.setattr("gptfl_bench.cells.cell.build_world", counted)
    monkeypatch.setitem(partitions._parts, "group", noted)
    # Other seeds than elsewhere: a partition is remembered for as long as the process lives.
    cells = [make_spec(method(), seed=seed) for seed in (91, 92) for method in (FedAvg, FedProx)]
    ended = list(launchers.execute(cells, Context(tmp_path, Artifacts(tmp_path / "cache"))))
    assert [cell.ending.status for cell in ended] == ["finished"] * 4
    assert len(built) == 4
    assert sorted(drawn) == [91, 92]
