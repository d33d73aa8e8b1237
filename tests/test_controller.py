"""What a program hands to a controller is taken as it is meant, or refused by one line that changes nothing."""

from collections.abc import Callable
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_bundle import CHEETAH, controller, made
from wmctrl.runtime import engine
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Engine
from wmctrl.runtime.planner import Planner

FETCH = ("FetchReach-v4", "agent.objective.goal=1", "agent.objective.reward=0")
SEEN = {"proprio": np.zeros(10, np.float32), "goal": np.zeros(3, np.float32)}
GATES = "model.rssm.gates.weight"


def parameter(value: float) -> dict[str, NDArray[Any]]:
    """One of the networks' parameters, an element of which is something else."""
    changed = np.zeros((48, 32), np.float32)
    changed[5, 7] = value
    return {GATES: changed}


def engine_of(deployed: Controller) -> Engine:
    return cast(Engine, deployed.engine)


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "a seed of text": (lambda c: c.reset("a"), r"seed must be a whole number from 0 to 18,446,\S+, came 'a'"),
    "a negative seed": (lambda c: c.reset(-1), r"seed must be a whole number from 0 to .*, came -1"),
    "half a seed": (lambda c: c.reset(0.5), r"seed must be a whole number from 0 to .*, came 0\.5"),
    "too large a seed": (
        lambda c: c.reset(2**64),
        r"seed must be a whole number from 0 to .*, came 18446744073709551616",
    ),
    "a weight of text": (lambda c: c.set_weights(goal="a"), r"goal must be from 0 to 1e\+06, came 'a'"),
    "no weight": (lambda c: c.set_weights(goal=None), r"goal must be from 0 to 1e\+06, came None"),
    "several weights": (lambda c: c.set_weights(goal=np.ones(2)), r"goal must be from 0 to 1e\+06, came array\(\[1"),
    "limits of text": (lambda c: c.set_limits("a", 1.0), r"the limit low must be numbers of shape \(4,\), came 'a'"),
    "one limit": (lambda c: c.set_limits(np.zeros(4), 1.0), r"the limit high must be of shape \(4,\), came \(\)"),
    "no dictionary": (lambda c: c.act([1.0]), "must be a dictionary that holds goal .*, came list"),
    "a goal of text": (lambda c: c.act(SEEN | {"goal": ["a"]}), r"goal must be numbers of shape \(3,\), came \['a'\]"),
    "a given goal of text": (lambda c: c.act(SEEN, "abc"), r"goal must be numbers of shape \(3,\), came 'abc'"),
    "a negative rate": (
        lambda c: c.set_limits(rate=np.full(4, -0.1)),
        r"a rate must be at least 0, came array\(\[-0\.1",
    ),
    "a rate that is no number": (lambda c: c.set_limits(rate=np.full(4, np.nan)), "a rate must be at least 0, came"),
    "limits the wrong way round": (lambda c: c.set_limits(np.full(4, 0.5), np.zeros(4)), "the lower at most the upper"),
    "a risk of two": (lambda c: c.set_limits(risk=2.0), r"a risk must be from 0 to 1, came array\(2"),
    "a delay of text": (lambda c: c.set_delay("a"), "the delay must be a whole number from 0 to 8, came 'a'"),
    "too long a delay": (lambda c: c.set_delay(9), "the delay must be a whole number from 0 to 8, came 9"),
    "a goal that is no number": (lambda c: c.act(SEEN | {"goal": np.full(3, np.nan)}), "goal must be finite"),
    "an observation to come": (lambda c: c.act(SEEN, taken=5), "step, must be a whole number from 0 to 1, came 5"),
    "a time for a step": (lambda c: c.act(SEEN, taken=0.5), r"step, must be a whole number from 0 to 1, came 0\.5"),
    "ragged lists": (
        lambda c: c.act(SEEN | {"goal": [[1], [1, 2]]}),
        r"goal must be numbers of .*, came \[\[1\], \[1, 2",
    ),
    "another key": (lambda c: c.act(SEEN | {"propio": 1}), "holds 'propio', which is not taken; known: proprio, goal"),
    "a misspelt key": (
        lambda c: c.act({"propio": SEEN["proprio"], "goal": SEEN["goal"]}),
        r"must hold proprio \(10,\), came propio, goal",
    ),
    "a key of another kind": (lambda c: c.act({1: 2}), r"must hold goal \(3,\), came 1"),
    "parameters of text": (
        lambda c: c.engine.override("a"),
        "parameters must be a dictionary of arrays by .* came 'a'",
    ),
    "a parameter of text": (
        lambda c: c.engine.override({GATES: "a"}),
        rf"{GATES} must be numbers of shape .*, came 'a'",
    ),
    "a parameter that is none": (
        lambda c: c.engine.override({GATES: None}),
        rf"{GATES} must be numbers of .* came None",
    ),
    "NaN in a parameter": (lambda c: c.engine.override(parameter(np.nan)), rf"{GATES} must be finite, came array"),
    "infinity in a parameter": (
        lambda c: c.engine.override(parameter(-np.inf)),
        rf"{GATES} must be finite, came array",
    ),
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_what_is_not_meant_is_refused_in_one_line_and_changes_nothing(
    call: Callable[[Controller], object], said: str
) -> None:
    deployed = controller(*FETCH)
    deployed.act(SEEN)
    noise = cast(Planner, deployed.planner).noise
    before = (deployed.state, dict(deployed.weights), deployed.limits, noise.number.copy())
    with pytest.raises(ValueError, match=said) as caught:
        call(deployed)
    assert "\n" not in str(caught.value)
    assert deployed.state is before[0]
    assert deployed.weights == before[1]
    assert deployed.limits is before[2]
    np.testing.assert_array_equal(noise.number, before[3])
    assert not any(engine_of(deployed).held.values.values())


def test_a_goal_for_a_bundle_without_any_is_refused() -> None:
    deployed = controller(*CHEETAH)
    with pytest.raises(ValueError, match="this bundle takes no goal; leave it out"):
        deployed.act({"proprio": np.zeros(17)}, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="holds 'goal', which is not taken; known: proprio"):
        deployed.act({"proprio": np.zeros(17), "goal": np.zeros(3)})


@pytest.mark.parametrize("threads", [0, -1, 1.5, "a", 1025])
def test_threads_are_a_whole_number_from_one(threads: Any) -> None:
    with pytest.raises(ValueError, match=r"^threads must be a whole number from 1 to 1,024, came"):
        Controller.load(made(*FETCH)[1], threads=threads)


def test_numbers_of_every_kind_are_taken_as_the_same() -> None:
    deployed = controller(*FETCH)
    wanted = deployed.act({"proprio": np.ones(10, np.float32), "goal": np.ones(3, np.float32)}).command
    for seen in ({"proprio": [1] * 10, "goal": [1.0] * 3}, {"proprio": np.ones(10), "goal": np.ones(3, np.bool_)}):
        deployed.reset(cast(int, np.int64(0)))
        np.testing.assert_array_equal(deployed.act(cast(Any, seen)).command, wanted)
    deployed.set_weights(goal=cast(float, np.float32(2.0)), terminal=3)
    assert deployed.weights["goal"] == 2.0


def test_a_provider_that_is_not_built_in_is_refused_with_those_that_are_and_nothing_else_is_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match=r"^tensorrt: ONNX Runtime \S+ was built without it here; choose cpu, or"):
        Controller.load(made(*FETCH)[1], provider="tensorrt")
    assert capfd.readouterr() == ("", "")


class Unloaded:
    """A session of ONNX Runtime that fell back to the CPU."""

    asked: ClassVar[list[Any]] = []

    def __init__(self, *_: Any, enable_fallback: int, **__: Any) -> None:
        self.asked.append(enable_fallback)

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_provider_that_does_not_load_is_refused_in_one_line_while_onnx_runtime_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    severities: list[int] = []
    Unloaded.asked.clear()
    monkeypatch.setattr(engine, "present", lambda: ["cuda", "cpu"])
    monkeypatch.setattr("onnxruntime.InferenceSession", Unloaded)
    monkeypatch.setattr("onnxruntime.set_default_logger_severity", severities.append)
    with pytest.raises(ValueError, match=r"^cuda: does not load here: its libraries or its device .*; see"):
        Controller.load(made(*FETCH)[1], provider="cuda")
    assert (Unloaded.asked, severities) == ([0], [engine.FATAL_ALONE, engine.WARNINGS])


def test_the_largest_seed_is_one() -> None:
    controller(*FETCH).reset(2**64 - 1)
