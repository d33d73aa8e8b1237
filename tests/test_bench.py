"""The benchmark: that it counts what is computed, compares like with like, and says where time goes."""

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from wmctrl.bench import workload
from wmctrl.bench.breakdown import OVERHEAD, breakdown, kind
from wmctrl.bench.cost import Answer, Cost, Rate, bench, tables, write_json
from wmctrl.bench.gemm import Gemm, products_of, total_flops
from wmctrl.bench.roofline import LIBRARIES, Library, Rating, libraries, operands, rate, replays
from wmctrl.bench.workload import Question, decision_steps, gradients, iterations, planning, random_batch, update
from wmctrl.config import Config, TaskConfig
from wmctrl.learning.agent import Agent, AgentConfig
from wmctrl.learning.behavior import BehaviorConfig
from wmctrl.learning.replay import ReplayConfig
from wmctrl.model.world_model import Sizes, WorldModelConfig
from wmctrl.planning.planner import Planner

B, T = 3, 7
SMALL = AgentConfig(
    model=WorldModelConfig(deter=11, stoch=5, units=13, camera_depth=2, members=2),
    behavior=BehaviorConfig(units=17, horizon=2, starts=8),
    planner=Planner(horizon=4, samples=19, iterations=3, elites=6, kept=2),
    proposals=5,
)


def agent(*, camera: tuple[int, int, int] | None = None) -> Agent:
    torch.manual_seed(0)
    return Agent(Sizes(proprio=6, goal=0, action=2, camera=camera), SMALL)


def cost(name: str = "update", p50: float = 0.04) -> Cost:
    return Cost(name, 1, 640, 2_000_000_000, p50, 0.09, 0.01, {"matrix products": 0.25, OVERHEAD: 0.75})


def test_a_layer_is_one_product_forward_and_two_backward() -> None:
    x, weight = torch.randn(3, 5, requires_grad=True), torch.randn(7, 5, requires_grad=True)
    forward, by_input, by_weight = Gemm(1, rows=3, inner=5, columns=7), Gemm(1, 3, 7, 5), Gemm(1, 7, 3, 5)
    assert products_of(lambda: x @ weight.t()) == {forward: 1}
    found = products_of(lambda: torch.autograd.grad((x @ weight.t()).sum(), [x, weight]))
    by_other = by_weight._replace(rows=5, columns=7)  # torch forms the gradient of the transposed weight
    assert found in ({forward: 1, by_input: 1, by_weight: 1}, {forward: 1, by_input: 1, by_other: 1})
    assert total_flops(found) == 3 * 2 * 3 * 5 * 7


def test_of_a_gradient_are_counted_its_own_products_and_not_those_of_descending_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "deployed", lambda name, graph: None)
    config = Config(TaskConfig("Pendulum-v1"), replay=ReplayConfig(batch=B, length=T), agent=SMALL)
    whole, gradient = gradients(agent(), config)
    assert gradient.twin is not None
    every, own = products_of(whole.run), products_of(gradient.twin)
    assert own < every, "an update orthogonalises the gradients as well"
    batch = random_batch(Sizes(proprio=6, goal=0, action=2, camera=None), B, T)
    loss = products_of(lambda: agent().trained.loss(batch, torch.zeros(B, T, SMALL.model.stoch)))
    assert 2.0 < total_flops(own) / total_flops(loss) <= 3.0, "a backward pass takes up to twice what the forward takes"


def test_a_batch_of_products_counts_every_one() -> None:
    found = products_of(lambda: torch.randn(4, 3, 5) @ torch.randn(4, 5, 7))
    assert found == {Gemm(4, 3, 5, 7): 1}
    assert total_flops(found) == 4 * 2 * 3 * 5 * 7


def test_a_convolution_is_a_product_of_patches_and_kernels() -> None:
    convolution = torch.nn.Conv2d(3, 5, 4, stride=2, padding=1)
    assert products_of(lambda: convolution(torch.randn(2, 3, 8, 8))) == {Gemm(1, 2 * 4 * 4, 3 * 4 * 4, 5): 1}
    mirror = torch.nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1)
    assert products_of(lambda: mirror(torch.randn(2, 5, 4, 4))) == {Gemm(1, 2 * 4 * 4, 5, 3 * 4 * 4): 1}


@pytest.mark.parametrize("camera", [None, (16, 16, 3)])
def test_the_products_of_an_update_are_all_that_torch_counts(camera: tuple[int, int, int] | None) -> None:
    learner = agent(camera=camera)
    batch = random_batch(learner.sizes, B, T)
    with FlopCounterMode(display=False) as counter:
        learner.learn(batch, torch.Generator().manual_seed(0))
    found = products_of(lambda: learner.learn(batch, torch.Generator().manual_seed(0)))
    assert total_flops(found) == counter.get_total_flops() > 0


def test_a_decision_steps_the_model_as_often_as_it_says() -> None:
    driver = agent()
    rows = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal rows
        rows += output.shape[:-1].numel()

    driver.model.rssm.gates.register_forward_hook(count)
    work = planning("planning", driver)
    work.run()
    assert rows == work.model_steps == decision_steps(SMALL) == 1 + 4 * (5 + 3 * (19 + 1 + 2 + 5))


def test_an_iteration_is_the_same_work_in_both_libraries() -> None:
    driver = agent()
    eager, deployed = iterations(driver)
    assert eager.model_steps == deployed.model_steps == 4 * (19 + 1 + 2 + 5)
    came = cast("dict[str, NDArray[np.float32]]", deployed.run())
    for wanted, found in zip(cast("tuple[torch.Tensor, ...]", eager.run()), came.values(), strict=True):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)
    assert deployed.twin is not None
    assert products_of(deployed.twin) == products_of(eager.run) != {}


@pytest.mark.parametrize("learn_behavior", [False, True])
def test_an_update_steps_the_model_as_often_as_it_says(learn_behavior: bool) -> None:
    config = replace(SMALL, learn_behavior=learn_behavior, behavior=replace(SMALL.behavior, updates=3))
    learner = Agent(agent().sizes, config)
    rows = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal rows
        rows += output.shape[:-1].numel()

    for model in (learner.trained, learner.model):
        model.rssm.gates.register_forward_hook(count)
    work = update("update", learner, Config(TaskConfig("any"), config))
    work.run()
    assert rows == work.model_steps


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("gemm", [Gemm(1, 3, 5, 7), Gemm(2, 3, 5, 7)])
def test_every_library_multiplies_any_size(library: str, gemm: Gemm) -> None:
    call = libraries(1)[library](gemm)
    out = call()
    assert isinstance(out, np.ndarray | torch.Tensor)
    out[:] = 0.0  # it may have held the product before the first call
    assert call() is out
    left, right = operands(gemm)
    np.testing.assert_allclose(np.asarray(out), left @ right, rtol=1e-4, atol=1e-4)


def test_engines_are_made_before_libraries_share_threads_and_keep_their_own() -> None:
    """In a process of its own, for what is shared once is shared ever after."""
    script = """
import onnxruntime as ort
from wmctrl.bench.roofline import Gemm, libraries, onnx_call

engine = onnx_call(Gemm(1, 3, 5, 7), ort.SessionOptions())
before = engine().copy()
shared = libraries(2)["onnxruntime"](Gemm(1, 7, 3, 5))
assert shared().any() and (engine() == before).all()
try:
    onnx_call(Gemm(1, 3, 5, 7), ort.SessionOptions())
except RuntimeError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["refused"]), done.stderr


def test_the_fastest_library_is_called() -> None:
    calls: Counter[str] = Counter()

    def taking(name: str, seconds: float) -> Library:
        def call() -> None:
            time.sleep(seconds)
            calls.update([name])

        return lambda gemm: call

    durations = {"middle": 0.002, "fast": 0.0, "slow": 0.004}
    found = rate(Gemm(1, 3, 5, 7), {name: taking(name, seconds) for name, seconds in durations.items()})
    assert sorted(found.seconds, key=found.seconds.__getitem__) == ["fast", "middle", "slow"]
    assert found.best == "fast"
    calls.clear()
    found.call()
    assert calls == {"fast": 1}


def test_every_library_is_rated() -> None:
    found = rate(Gemm(1, 3, 5, 7), libraries(1))
    assert set(found.seconds) == set(LIBRARIES)
    assert found.rate("torch") == pytest.approx(2 * 3 * 5 * 7 / found.seconds["torch"])


def test_products_are_replayed_as_often_as_they_were_counted() -> None:
    calls: Counter[str] = Counter()
    small, middle, large = Gemm(1, 2, 3, 5), Gemm(1, 3, 5, 7), Gemm(1, 7, 11, 13)
    ratings = {
        small: Rating(small, {"torch": 1.0, "numpy": 2.0}, lambda: calls.update(["small"])),
        middle: Rating(middle, {"torch": 2.0, "numpy": 1.0}, lambda: calls.update(["middle"])),
        large: Rating(large, {"torch": 3.0, "numpy": 4.0}, lambda: calls.update(["large"])),
    }
    by_torch, by_numpy = replays({small: 4, middle: 2, large: 1}, ratings)
    by_torch()
    assert calls == {"small": 4, "large": 1}
    by_numpy()
    assert calls == {"small": 4, "large": 1, "middle": 2}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mm", "matrix products"),
        ("aten::convolution_backward", "matrix products"),
        ("aten::native_layer_norm_backward", "normalisation"),
        ("aten::silu_backward", "activations"),
        ("aten::_log_softmax", "activations"),
        ("aten::_fused_adam_", "optimiser and averages"),
        ("aten::copy_", "concatenation and copies"),
        ("aten::t", "views"),
        ("aten::add_", "other element-wise"),
        ("autograd::engine::evaluate_function: AddmmBackward0", OVERHEAD),
        ("MmBackward0", OVERHEAD),
    ],
)
def test_every_event_has_its_kind(event: str, expected: str) -> None:
    assert kind(event) == expected


def test_a_large_product_takes_more_of_its_own_time_than_a_small_one() -> None:
    small, large = (breakdown(partial(torch.mm, x, x), 5) for x in (torch.randn(4, 4), torch.randn(512, 512)))
    assert sum(small.values()) == pytest.approx(1.0)
    assert sum(large.values()) == pytest.approx(1.0)
    assert large["matrix products"] > small["matrix products"] > 0.0


def test_the_fraction_is_of_the_products_alone() -> None:
    assert cost(p50=0.04).fraction == pytest.approx(0.25)


def test_tables_show_milliseconds_and_the_time_by_kind() -> None:
    rates = (Rate(1, Gemm(1, 2, 3, 5), {"torch": 1e11, "numpy": 2e11, "onnxruntime": 3e11}),)
    costs, times, libraries = tables([Answer((cost("update: world model"),), rates)])
    assert costs[2] == [("update: world model", "1", "640", "2.00", "40.0", "90.0", "10.0", "25 %")]
    assert times[2] == [("matrix products", "10.0"), (OVERHEAD, "30.0")]
    assert libraries[2] == [("2x3x5", "1", "100", "200", "300")]


def test_another_librarys_time_is_not_told_apart() -> None:
    _, shares, _ = tables([Answer((cost("a"), replace(cost("b"), shares={})), ())])
    assert shares[1] == ("what", "a, 1 thr.")


def test_a_measurement_in_a_process_of_its_own_is_finite_and_kept(tmp_path: Path) -> None:
    question = Question("Pendulum-v1", width=8, parts=("planning",), repetitions=3)
    (answer,) = bench(question, [1])
    (found,) = answer.costs
    assert 0.0 < found.p50 <= found.p99
    assert 0.0 < found.fraction < 1.0
    assert (found.threads, answer.rates[0].gemm) == (1, Gemm(1, 1024, 1024, 1024))
    write_json(tmp_path / "bench.json", question, [answer])
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert kept["costs"][0]["fraction"] == pytest.approx(found.fraction)
    assert {"torch", "numpy", "onnxruntime", "python"} == set(kept["versions"])


def test_a_failed_measurement_says_why() -> None:
    with pytest.raises(ValueError, match="Pendulum-v11"):
        list(bench(Question("Pendulum-v11", width=8, parts=("planning",), repetitions=1), [1]))


def test_a_measurement_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(ValueError, match=r"2 threads within 0.01 s \(load .* stop what else is running"):
        list(bench(Question("Pendulum-v1"), [2], patience=0.01))
