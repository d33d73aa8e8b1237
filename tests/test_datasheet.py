"""What is told of a bundle's graphs is what is in their files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.tiny_bundle import CHEETAH, made
from wmctrl.commands import datasheet


def told(folder: Path) -> dict[str, dict[str, str]]:
    """Cells by graph and column."""
    return {row[0]: dict(zip(datasheet.COLUMNS, row, strict=True)) for row in datasheet.rows(folder)}


@pytest.fixture(scope="module")
def cheetah() -> dict[str, dict[str, str]]:
    return told(made(*CHEETAH)[1])


def test_every_graph_is_told_and_the_whole_decision_last(cheetah: dict[str, dict[str, str]]) -> None:
    assert [*cheetah] == ["observe", "imagine", "propose", "refine", "policy", "a decision"]


def test_a_planned_decision_calls_its_iterations_and_no_policy(cheetah: dict[str, dict[str, str]]) -> None:
    assert {name: cells["calls"] for name, cells in cheetah.items() if cells["calls"]} == {
        "observe": "1",
        "imagine": "0",
        "propose": "1",
        "refine": "1",
        "policy": "0",
    }
    mppi = made("Pendulum-v1", "agent.planner.temperature=0.5", "agent.planner.iterations=3")[1]
    assert told(mppi)["refine"]["calls"] == "3"
    reacting = told(made("Pendulum-v1", "agent.plan=false")[1])
    assert {name: cells["calls"] for name, cells in reacting.items()} == {
        "observe": "1",
        "imagine": "0",
        "policy": "1",
        "a decision": "",
    }


def test_nodes_and_parameters_are_those_of_the_file(cheetah: dict[str, dict[str, str]]) -> None:
    graph = onnx.load(made(*CHEETAH)[1] / "refine.onnx").graph
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert cheetah["refine"]["nodes"] == f"{len(graph.node):,}"
    assert cheetah["refine"]["parameters"] == f"{sum(int(np.prod(one.dims)) for one in floats):,}"
    assert cheetah["refine"]["in half"] == "0%"
