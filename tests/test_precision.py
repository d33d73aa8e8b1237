"""Half precision: networks compute in float16, what would lose its meaning does not, and plans are worth as much."""

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper
from wmctrl_export.bundle import write_bundle
from wmctrl_export.precision import BETWEEN, FARTHEST, MOVES, PRODUCTS, halve
from wmctrl_export.regret import Regret, Spread, regret

from tests.onnx_graphs import Array, Use, floats, model, port, use
from tests.test_onnx_shapes import USES
from tests.tiny_bundle import controller, copied, home, made
from wmctrl.learning.agent import Agent
from wmctrl.runtime import bundle, manifest, onnx_file, onnx_shapes
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Engine

SETTINGS = (
    *("FetchReach-v4", "task.observe=[proprio,camera,goal]", "task.camera_size=16", "agent.model.camera_depth=2"),
    *("agent.objective.goal=0.1", "agent.objective.reward=1", "agent.objective.value=1", "agent.objective.risk=0.5"),
    *("agent.objective.particles=3", "agent.planner.samples=40", "agent.planner.iterations=3"),
    *("agent.model.deter=64", "agent.model.units=64"),
)
"""Everything that a graph may have, and wide enough for its weights to be most of its files.

With draws under which no future hangs on rounding: where one does, another component is drawn, and another worth.
"""
Seen = Mapping[str, NDArray[Any]]


@functools.cache
def agent() -> Agent:
    """A tiny agent, not to be changed."""
    return made(*SETTINGS)[0]


@functools.cache
def halved() -> Path:
    """Its bundle in half precision, not to be changed."""
    folder = home() / "bundle"
    write_bundle(agent(), single().bundle.manifest.task, drive(5), folder, {"steps": "0"}, precision="fp16")
    return folder


def single(*, policy_only: bool = False) -> Controller:
    """A controller of the agent's bundle in single precision."""
    return controller(*SETTINGS, policy_only=policy_only)


def half(*, policy_only: bool = False) -> Controller:
    """A controller of its bundle in half precision; loading it repeats the golden steps."""
    return Controller.load(halved(), provider="cpu", in_time=False, policy_only=policy_only)


def engine_of(driven: Controller) -> Engine:
    return cast(Engine, driven.engine)


def drive(count: int, scale: float = 1.0) -> list[Seen]:
    """Random observations, of about this size, the same each time."""
    generator = np.random.default_rng(11)
    return [
        {
            "proprio": (scale * generator.standard_normal(10)).astype(np.float32),
            "goal": (scale * generator.standard_normal(3)).astype(np.float32),
            "camera": generator.integers(0, 256, (16, 16, 3), dtype=np.uint8),
        }
        for _ in range(count)
    ]


def types(content: bytes) -> list[tuple[str, set[str]]]:
    """Operators of a graph, with the types of what each takes, whole numbers apart."""
    told = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), strict_mode=True)
    known = {value.name: value.type.tensor_type.elem_type for value in (*told.graph.value_info, *told.graph.input)}
    known |= {value.name: value.data_type for value in told.graph.initializer}
    names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "float16"}
    return [
        (node.op_type, {names[known[name]] for name in node.input if known.get(name) in names})
        for node in told.graph.node
    ]


def test_a_bundle_in_half_precision_is_called_like_any_other() -> None:
    told, other = half().bundle.manifest, single().bundle.manifest
    assert told.graphs.keys() == {"observe", "imagine", "depict", "refine", "propose", "policy"}
    assert told.graphs == other.graphs
    assert {port.dtype for graph in told.graphs.values() for port in graph.inputs} == {"float32", "uint8"}
    assert (told.precision, other.precision) == ("fp16", "fp32")


def test_every_product_takes_half_precision() -> None:
    for file, content in half().bundle.graphs.items():
        counts = Counter((kind, *taken) for kind, taken in types(content) if kind in PRODUCTS)
        before = Counter(kind for kind, _ in types(single().bundle.graphs[file]) if kind in PRODUCTS)
        assert counts == {(kind, "float16"): count for kind, count in before.items()}
        assert counts.total() >= 3


def test_activations_take_half_precision_and_nothing_else_that_computes() -> None:
    for file, content in half().bundle.graphs.items():
        found = {kind for kind, taken in types(content) if "float16" in taken and kind not in PRODUCTS}
        normalises = set() if file == "depict.onnx" else {"LayerNormalization"}
        assert found >= {"Mul", "Sigmoid", "Cast"} | normalises
        assert found <= BETWEEN | MOVES | {"Cast"}


def test_files_are_smaller() -> None:
    for file, content in half().bundle.graphs.items():
        assert len(content) < 0.75 * len(single().bundle.graphs[file])


def test_beliefs_and_policies_stay_close_to_those_of_single_precision() -> None:
    one, other = half(policy_only=True), single(policy_only=True)
    for seen in drive(30):
        np.testing.assert_allclose(one.act(seen).command, other.act(seen).command, atol=0.02)
        np.testing.assert_allclose(one.state.belief.deter, other.state.belief.deter, atol=0.02)
        np.testing.assert_allclose(one.state.belief.stoch, other.state.belief.stoch, atol=0.02)


@pytest.mark.parametrize("scale", [1e4, 1e6, 1e30])
@pytest.mark.parametrize("policy_only", [False, True])
def test_what_lies_beyond_half_precision_leaves_decisions_finite(policy_only: bool, scale: float) -> None:
    driven = half(policy_only=policy_only)

    def decide(seen: Seen) -> None:
        action = driven.act(seen)
        assert np.isfinite(action.command).all()
        assert np.abs(action.command).max() <= 1.0
        assert np.isfinite([*driven.state.belief.deter, *driven.state.belief.stoch]).all()
        assert action.health is None or action.health.finite == 1.0 or scale > 1e4

    for seen in drive(4, scale):
        if policy_only or scale <= 1e4:
            decide(seen)
        else:  # costs of such goals can be beyond single precision too, and are refused then
            with contextlib.suppress(ValueError):
                decide(seen)
    for seen in drive(2):
        decide(seen)


def test_other_parameters_can_be_given_in_single_precision() -> None:
    one, other = half(), single()
    (seen,) = drive(1)
    one.observe(seen)
    before = one.state.belief.stoch
    values = {f"model.{name}": 0.5 * value.numpy() for name, value in agent().model.named_parameters()}
    for driven in (one, other):
        engine_of(driven).override({name: values[name] for name in engine_of(driven).parameters() if name in values})
        driven.reset()
        driven.observe(seen)
    np.testing.assert_allclose(one.state.belief.stoch, other.state.belief.stoch, atol=0.01)
    assert np.abs(one.state.belief.stoch - before).max() > 0.1


def test_both_precisions_have_the_same_parameters() -> None:
    assert engine_of(half()).parameters() == engine_of(single()).parameters()


def test_a_parameter_beyond_half_precision_is_refused_and_changes_nothing() -> None:
    name = "model.rssm.gates.weight"
    values = {"model.rssm.input_norm.bias": np.zeros(64, np.float32), name: np.full((192, 128), -7e4, np.float32)}
    engine = engine_of(half())
    with pytest.raises(ValueError, match=rf"{name} must be at most 65,504\.0 in this bundle's precision, came 70,000"):
        engine.override(values)
    assert not any(engine.held.values.values())
    engine_of(single()).override(values)


@pytest.mark.parametrize(("told", "came"), [("fp32", "fp16"), ("fp16", "fp32")])
def test_graphs_of_another_precision_than_their_manifest_tells_are_refused(
    tmp_path: Path, told: str, came: str
) -> None:
    folder = copied(halved() if came == "fp16" else single().bundle.folder, tmp_path)
    path = folder / manifest.NAME
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"precision": told}))
    with pytest.raises(ValueError, match=rf"\.onnx: has parameters of {came}, manifest\.json tells {told}"):
        bundle.load(folder)


def test_a_precision_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    told = single().bundle.manifest
    with pytest.raises(ValueError, match="precision must be fp32 or fp16, came int8"):
        write_bundle(agent(), told.task, drive(1), tmp_path / "bundle", {}, precision="int8")
    with pytest.raises(ValueError, match="precision must be fp32 or fp16, came 'int8'"):
        replace(told, precision="int8")


@functools.cache
def judged() -> Regret:
    """Of half precision."""
    return regret(agent(), single(), half(), drive(40))


def test_plans_in_half_precision_are_accepted() -> None:
    assert judged().accepted
    assert judged().states == 40
    assert abs(judged().half.median) <= judged().seed.high


def test_controllers_that_decide_the_same_have_no_regret() -> None:
    found = regret(agent(), single(), single(), drive(7))
    assert found.half == Spread(0.0, 0.0, 0.0)
    assert found.seed.high > 0.0
    assert found.accepted


def test_a_controller_with_damaged_weights_is_not_accepted() -> None:
    damaged = half()
    critic = agent().behavior.slow_critic.net
    nets = {"model.prospect_head.reward.0": agent().model.prospect_head.reward[0]}
    nets |= {f"slow_critic.net.{len(critic) - 1}": critic[-1]}
    values = {
        f"{name}.{part}": value.flip(0).detach().numpy()  # what is good is taken for bad
        for name, last in nets.items()
        for part, value in last.named_parameters()
    }
    engine_of(damaged).override(values)
    found = regret(agent(), single(), damaged, drive(20))
    assert not found.accepted
    assert found.half.mean > 10.0 * abs(judged().half.mean)


def test_bundles_of_different_noise_are_not_compared() -> None:
    other = half()
    other.bundle.noise["candidates"] = -other.bundle.noise["candidates"]
    with pytest.raises(ValueError, match="must draw the same noise"):
        regret(agent(), single(), other, drive(1))


def test_a_regret_that_is_not_a_number_is_not_accepted() -> None:
    sound, broken = Spread(0.0, 0.0, 1.0), Spread.of(np.array([0.0, np.nan, 1.0]))
    assert Regret(3, sound, sound).accepted
    assert not Regret(3, broken, sound).accepted
    assert not Regret(3, sound, broken).accepted


def test_what_counts_is_the_95th_percentile_between_seeds_and_neither_mean_nor_95th_percentile_is_above_it() -> None:
    lost = np.arange(101.0)
    assert Spread.of(lost) == Spread(50.0, 50.0, 95.0)
    seed = Spread(0.0, 0.0, 95.0)
    assert Regret(101, Spread.of(lost), seed).accepted
    assert not Regret(101, Spread.of(lost + 1.0), seed).accepted
    assert not Regret(101, Spread.of(np.append(lost[:100], 1e6)), seed).accepted


def test_a_policy_has_no_regret() -> None:
    with pytest.raises(ValueError, match="only plans have a regret"):
        regret(agent(), single(), half(policy_only=True), drive(1))


def network(made: Array, *nodes: onnx.NodeProto, **parameters: Array) -> bytes:
    """A network in half precision of `x` (3, 5), and its result `y`."""
    single = model([*nodes], [port("x", floats(3, 5))], [port("y", made)], parameters)
    read = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(single))
    halve(read)
    written = onnx_ir.to_proto(read)
    onnx.checker.check_model(written, full_check=True)
    written.graph.ClearField("value_info")
    content = written.SerializeToString()
    onnx_file.inspect(content, "y.onnx")
    return content


def result(content: bytes, x: Array) -> Array:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def node(kind: str, takes: str, gives: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, takes.split(), [gives], **attributes)


def test_what_lies_between_two_products_is_in_half_and_what_is_made_of_the_last_is_not() -> None:
    content = network(
        floats(3, 1),
        *(node("Sub", "x shift", "centred"), node("MatMul", "centred first", "a"), node("Add", "a bias", "b")),
        *(node("Sigmoid", "b", "s"), node("Mul", "b s", "silu"), node("MatMul", "silu second", "c")),
        *(node("Sigmoid", "c", "p"), node("ReduceSum", "p axes", "y")),
        shift=floats(5),
        first=floats(5, 7),
        bias=floats(7),
        second=floats(7, 2),
        axes=np.array([1]),
    )
    found = [(kind, *taken) for kind, taken in types(content)]
    assert found == [
        *(("Sub", "float32"), ("Clip", "float32"), ("Cast", "float32"), ("MatMul", "float16"), ("Add", "float16")),
        *(("Sigmoid", "float16"), ("Mul", "float16"), ("MatMul", "float16"), ("Cast", "float16")),
        *(("Sigmoid", "float32"), ("ReduceSum", "float32")),
    ]


def test_changes_of_what_is_carried_on_add_up_in_single_precision() -> None:
    """Between 128 and 256, float16 knows only eighths: 200 + 0.03 is 200. ONNX Runtime on a CPU would hide it."""
    content = network(
        floats(3, 5),
        *(node("MatMul", "x weight", "a"), node("Add", "x a", "later"), node("MatMul", "later weight", "b")),
        *(node("Add", "later b", "last"), node("MatMul", "last weight", "z"), node("Neg", "z", "y")),
        weight=floats(5, 5),
    )
    assert [taken for kind, taken in types(content) if kind == "Add"] == [{"float32"}] * 2
    assert [taken for kind, taken in types(content) if kind == "MatMul"] == [{"float16"}] * 3


def test_what_enters_half_precision_is_bounded() -> None:
    content = network(
        floats(3, 1),
        *(node("MatMul", "x weight", "z"), node("Neg", "z", "y")),
        weight=np.ones((5, 1), np.float32),
    )
    x = np.array([[1e38, 0, 0, 0, 0], [-1e5, -1e5, -1e5, 0, 0], [1, 2, 3, 4, 5]], np.float32)
    np.testing.assert_array_equal(result(content, x), [[-FARTHEST], [3 * FARTHEST], [-15.0]])


def test_a_product_of_what_is_computed_is_no_network() -> None:
    content = network(floats(3, 3), node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "x t", "y"))
    assert {taken for _, types_ in types(content) for taken in types_} == {"float32"}


def test_a_parameter_that_is_used_in_both_is_held_in_single_precision() -> None:
    content = network(
        floats(3, 7),
        *(node("MatMul", "x weight", "z"), node("ReduceMean", "weight", "m"), node("Add", "z m", "y")),
        weight=floats(5, 7),
    )
    (held,) = (value for value in onnx.load_from_string(content).graph.initializer if value.name == "weight")
    assert held.data_type == onnx.TensorProto.FLOAT


def test_a_trained_parameter_beyond_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight must be at most 65,504\.0 in this bundle's precision, came 1,000,00"):
        network(
            floats(3, 1),
            *(node("MatMul", "x weight", "z"), node("Neg", "z", "y")),
            weight=np.full((5, 1), 1e6, np.float32),
        )


ADDS = "ScatterElements"
"""What ONNX Runtime does not do in half precision, and no graph of ours asks for."""


def in_half(whole: Use) -> Use:
    """The same use of an operator, its numbers in half precision."""
    arrays = [a.astype(np.float16) if a is not None and a.dtype == np.float32 else a for a in whole.inputs]
    return replace(whole, inputs=arrays)


def takes_numbers(whole: Use) -> bool:
    return any(array is not None and array.dtype == np.float32 for array in whole.inputs)


@pytest.mark.parametrize("whole", [one for one in USES if one.kind != ADDS and takes_numbers(one)], ids=str)
def test_laws_of_shape_hold_in_half_precision(whole: Use) -> None:
    tried = in_half(whole)
    arrays = tried.run()
    graph = onnx_file.inspect(tried.model(arrays).SerializeToString(), "y.onnx")
    assert [(port.dtype, port.shape) for port in graph.outputs] == [(array.dtype.name, array.shape) for array in arrays]
    for array, wanted in zip(arrays, whole.run(), strict=True):
        np.testing.assert_allclose(array, wanted, rtol=0.01, atol=0.01)


def test_what_onnx_runtime_does_not_do_in_half_precision_is_refused() -> None:
    tried = use(ADDS, *(np.ones((3, 5), kind) for kind in (np.float16, np.int64, np.float16)), reduction="add")
    with pytest.raises(ValueError, match=r"'ScatterElements' .* expected float32 or int32 or int64 for float16"):
        onnx_file.inspect(tried.model([np.ones((3, 5), np.float16)]).SerializeToString(), "y.onnx")


def test_an_array_of_half_precision_is_bounded_as_any_other() -> None:
    length = np.array([1 + (onnx_shapes.LARGEST_VALUE >> 1)])
    tried = use("Expand", np.ones(1, np.float16), length, fixed=(1,))
    with pytest.raises(ValueError, match=r"needs 268,435,458 bytes, expected at most 268,435,456"):
        onnx_file.inspect(tried.model([np.ones(1, np.float16)]).SerializeToString(), "y.onnx")
