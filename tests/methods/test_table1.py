"""The paper's Table 1 from the code: what methods need, and where the paper says otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gptfl_bench.cells.profile import profile
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_bench.runs import catalogue
from gptfl_bench.runs.config import load
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedgen import FedGen
from gptfl_methods.gptfl import GptFl
from gptfl_methods.moon import Moon
from gptfl_reports.tables.table1 import EXPLAINED, SECURE, Facts, published

RunCell = Callable[..., Any]
PLAN = Plan(epochs=1, batch_size=4, lr=0.1)


def test_the_observed_column() -> None:
    """Who reads single replies: the methods that distil from or train on clients' own models."""
    seen = {name for name, _, saw in catalogue.profiles() if saw}
    assert seen == {"feddf", "fedet", "fedftg", "fedgen"}
    assert all(saw is not None for _, _, saw in catalogue.profiles())


def test_every_difference_from_the_paper_is_explained_and_nothing_else() -> None:
    differing = set()
    for row in (Facts(*values) for values in catalogue.profiles()):
        ours = {**row.profile, SECURE: row.secure}
        if any(ours[key] != value for key, value in published().get(row.method, {}).items()):
            differing.add(row.method)
    assert differing == EXPLAINED.keys()
    assert published().keys() <= set(methods.names())


def test_a_wrapper_adds_what_it_wraps() -> None:
    both = profile(load("digits", "default", []).method("gptfl+fedgen"))
    assert both["generates_during_fl"] == "yes"
    assert both["generator_location"] == "client"
    assert both["client_access"] == "required"
    assert both["generated"] == "samples of a pre-trained generator; features of the network"
    public = profile(load("digits", "default", []).method("gptfl+dsfl"))
    assert public["external_data"] == "public data"
    assert public["generates_during_fl"] == "no"
    assert public["client_access"] == "required"


@pytest.mark.parametrize("name", ["feddf", "dsfl", "fedet", "gptfl+feddf"])
def test_without_public_data_methods_that_need_them_are_refused(
    run_cell: RunCell, make_spec: Callable[..., Any], name: str
) -> None:
    from gptfl_bench.data.public import PublicSettings

    method = load("digits", "quick", []).method(name)
    none = PublicSettings(source="none")
    ending = run_cell(method, public=none).cell.ending
    assert ending.status == "refused"
    assert "needs public data at the server" in ending.reason
    assert "choose public.source=synthetic or public.source=held_out" in ending.reason
    others = run_cell(load("digits", "quick", []).method("fedavg"), public=none)
    assert others.cell.ending.status == "finished"


def test_recomputed_statistics_need_public_data_too(run_cell: RunCell) -> None:
    from gptfl_bench.data.public import PublicSettings

    method = load("digits", "quick", []).method("fedavg")
    ending = run_cell(
        method, public=PublicSettings(source="none"), buffers="recompute", rounds=1
    ).cell.ending
    assert ending.reason.startswith("buffers=recompute needs public data")


@pytest.mark.parametrize("method", [FedGen(plan=PLAN), Moon(plan=PLAN), GptFl(inner=FedGen())])
def test_conventions_are_lifted_on_request(
    run_cell: RunCell, tiny_task: Task, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    """Nothing technical keeps them from speech; they were published for images."""
    speech = replace(tiny_task, modality="speech")
    refused = run_cell(method, task=speech).cell.ending
    assert refused.status == "refused"
    assert "set lift_conventions=true" in refused.reason
    if not isinstance(method, GptFl):
        lifted = run_cell(method, task=speech, lift_conventions=True, rounds=2)
        assert lifted.cell.ending.status == "finished"
