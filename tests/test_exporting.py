"""Bundles decide as the agents they were made from, on every kind of task, with nothing but numpy and ONNX Runtime."""

import copy
import math
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from wmctrl_export.parity import Beside, parity
from wmctrl_export.targets import TARGETS, page, row

from tests.tiny_bundle import CHEETAH, controller, copied, made, taught
from wmctrl.commands import exporting, training
from wmctrl.config import TaskConfig
from wmctrl.learning.agent import Agent
from wmctrl.runtime import golden
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.engine import Arrays, Computes, Engine
from wmctrl.runtime.files import replacement
from wmctrl.runtime.noise import NoiseBank
from wmctrl.runtime.plant import Element

CAMERA = ("task.camera_size=16", "agent.model.camera_depth=2")
FAMILIES = {
    "goal": ("FetchReach-v4", "agent.objective.goal=1", "agent.objective.reward=0"),
    "reward, value and drawn futures": CHEETAH,
    "failure and disagreement": ("racetrack-v1", "agent.objective.failure=7", "agent.objective.disagreement=2"),
    "camera, proprio and goal": ("FetchReach-v4", "task.observe=[proprio,camera,goal]", *CAMERA),
    "camera alone": ("Pendulum-v1", "task.observe=[camera]", *CAMERA),
    "cem": ("Pendulum-v1", "agent.planner.kept=0", "agent.planner.noise_exponent=0"),
    "mppi": ("Pendulum-v1", "agent.planner.temperature=0.5", "agent.planner.iterations=3"),
    "policy alone": ("Pendulum-v1", "agent.plan=false"),
}
FETCH = FAMILIES["goal"]


def observations(settings: tuple[str, ...], count: int) -> list[Mapping[str, NDArray[Any]]]:
    """Random observations of a task, the same each time."""
    agent, folder = made(*settings)
    told = Controller.load(folder, provider="cpu", in_time=False).bundle.manifest.task
    generator = np.random.default_rng(7)
    found: list[Mapping[str, NDArray[Any]]] = []
    for _ in range(count):
        seen: dict[str, NDArray[Any]] = {
            "proprio": generator.standard_normal(len(told.proprio)).astype(np.float32),
            "goal": generator.standard_normal(len(told.goal)).astype(np.float32),
        }
        if told.camera:
            seen["camera"] = generator.integers(0, 256, told.camera, dtype=np.uint8)
        found.append({name: value for name, value in seen.items() if value.size and name in parts(agent)})
    return found


def parts(agent: Agent) -> set[str]:
    return {name for name in ("proprio", "goal", "camera") if getattr(agent.sizes, name)}


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
def test_a_bundle_decides_as_its_agent(settings: tuple[str, ...]) -> None:
    agent, _ = made(*settings)
    found = parity(agent, controller(*settings), observations(settings, 200))
    assert found.one_step <= 1e-5
    assert found.recurrent <= 1e-4
    assert found.surprise <= 1e-4
    assert found.as_good == 1.0
    assert found.same_action >= 0.99


class Refit:
    """An engine whose every iteration ends in the same plan."""

    provider = "test"

    def __init__(self, mean: float, best: float) -> None:
        self.found = {"next_plan_mean": np.full((2, 1), mean), "health": np.array([best, 0.0, 1.0, 0.5])}

    def run(self, name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self.found


@pytest.mark.parametrize(
    ("mean", "best", "worths"),
    [(0.2, 3.0, []), (0.9, 3.0, [0.0]), (0.9, 7.0, [1.0]), (math.nan, 3.0, [0.0])],
    ids=["the same plan", "another of the same worth", "another of other worth", "not a number"],
)
def test_an_iteration_that_refits_otherwise_is_judged_by_what_its_elites_are_worth(
    mean: float, best: float, worths: list[float]
) -> None:
    reference = Refit(0.2, 3.0)
    beside = Beside(reference, Refit(mean, best))
    assert beside.run("refine", {}) is reference.found
    assert beside.worths == worths


@pytest.mark.parametrize("settings", [FETCH, CHEETAH, FAMILIES["policy alone"]], ids=["fetch", "cheetah", "policy"])
def test_the_runtime_carries_belief_and_plan_as_the_agent_does(settings: tuple[str, ...]) -> None:
    agent, _ = made(*settings)
    deployed = controller(*settings)
    bank = NoiseBank(deployed.bundle.noise, agent.randomness)
    state = agent.start()
    for seen in observations(settings, 6):
        wanted, state = agent.decide(state, seen, bank)
        np.testing.assert_allclose(deployed.act(seen).command, wanted, atol=1e-4)


def test_weights_can_be_changed_while_driving() -> None:
    agent, _ = made(*CHEETAH)
    deployed = controller(*CHEETAH)
    deployed.set_weights(action_rate=50.0, risk=1.0)
    other = copy.deepcopy(agent)
    other.config = replace(agent.config, objective=replace(agent.config.objective, action_rate=50.0, risk=1.0))
    (seen,) = observations(CHEETAH, 1)
    plain = controller(*CHEETAH).act(seen).command
    wanted, _ = other.decide(other.start(), seen, NoiseBank(deployed.bundle.noise, other.randomness))
    changed = deployed.act(seen).command
    np.testing.assert_allclose(changed, wanted, atol=1e-4)
    assert np.abs(changed - plain).max() > 1e-3


def test_weights_that_mean_nothing_are_refused() -> None:
    deployed = controller(*FETCH)
    before = dict(deployed.weights)
    with pytest.raises(ValueError, match=r"reward is not weighed in this bundle; known: goal, terminal"):
        deployed.set_weights(reward=1.0)
    for wrong in (-1.0, math.inf, math.nan, 1e39):
        with pytest.raises(ValueError, match=r"goal must be from 0 to 1e\+06, came"):
            deployed.set_weights(terminal=3.0, goal=wrong)
    assert deployed.weights == before
    with pytest.raises(ValueError, match=r"risk must be from 0\.001 to 1, came 0"):
        controller(*CHEETAH).set_weights(risk=0.0)


@pytest.mark.parametrize("policy_only", [False, True])
def test_limits_hold_from_the_next_decision_on(policy_only: bool) -> None:
    low, high = np.full(4, -0.01, np.float32), np.full(4, 0.02, np.float32)
    deployed = controller(*FETCH, policy_only=policy_only)
    for seen in observations(FETCH, 3):
        assert np.abs(deployed.act(seen).command).max() > 0.02
    deployed.set_limits(low, high)
    for seen in observations(FETCH, 3):
        command = deployed.act(seen).command
        assert ((low <= command) & (command <= high)).all()


def test_limits_the_wrong_way_round_are_refused() -> None:
    deployed = controller(*FETCH)
    with pytest.raises(ValueError, match="the lower at most the upper"):
        deployed.set_limits(np.full(4, 0.5, np.float32), np.full(4, -0.5, np.float32))
    with pytest.raises(ValueError, match=r"limit low must be of shape \(4,\)"):
        deployed.set_limits(np.zeros(3, np.float32), np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({}, r"must hold goal \(3,\), came nothing"),
        ({"proprio": np.zeros(10), "goal": np.full(3, np.nan)}, "goal must be finite"),
        ({"proprio": np.zeros(9), "goal": np.zeros(3)}, r"proprio must be of shape \(10,\), came \(9,\)"),
    ],
)
def test_a_wrong_observation_is_refused_and_changes_nothing(seen: dict[str, NDArray[Any]], said: str) -> None:
    deployed = controller(*FETCH)
    deployed.act(observations(FETCH, 1)[0])
    before = deployed.state
    with pytest.raises(ValueError, match=said):
        deployed.act(seen)
    assert deployed.state is before


@pytest.mark.parametrize("reading", [np.nan, np.inf, 1e39])
def test_a_reading_that_is_not_finite_counts_as_what_was_expected(reading: float) -> None:
    deployed, (seen, later) = controller(*FETCH), observations(FETCH, 2)
    command = deployed.act(seen).command
    after = deployed.engine.run("imagine", {**deployed.state.belief._asdict(), "action": command})
    before, partly = deployed.state, later["proprio"].astype(np.float64)
    partly[3] = reading
    found = deployed.act({**later, "proprio": partly})
    deployed.state = before
    partly[3] = after["next_proprio"][3]
    assert found.surprise == deployed.act({**later, "proprio": partly}).surprise
    assert np.isfinite(found.command).all()


class Broken:
    """An engine one of whose outputs is not a number, after some calls."""

    provider = "broken"

    def __init__(self, engine: Computes, output: str, calls: int) -> None:
        self.engine, self.output, self.calls = engine, output, calls

    def run(self, name: str, feeds: Arrays) -> dict[str, NDArray[Any]]:
        found = self.engine.run(name, feeds)
        if self.output in found:
            self.calls -= 1
            if self.calls == 0:
                return found | {self.output: np.full_like(found[self.output], np.nan)}
        return found


@pytest.mark.parametrize(
    ("output", "call", "policy_only", "said"),
    [
        ("next_deter", 3, False, "what is believed after this observation is not finite"),
        ("next_stoch", 3, True, "what is believed after this observation is not finite"),
        ("surprise", 2, False, "what is believed after this observation is not finite"),
        ("health", 2, False, "what plans are worth is not finite"),
        ("next_plan_mean", 2, False, "what is decided is not finite"),
        ("next_action", 2, True, "what is decided is not finite"),
    ],
)
def test_what_is_not_finite_is_neither_sent_nor_believed(output: str, call: int, policy_only: bool, said: str) -> None:
    """The second decision foresees before it observes, so its observation is the third to make a belief."""
    sound = controller(*FETCH)
    deployed = Controller(sound.bundle, Broken(sound.engine, output, call), policy_only=policy_only)
    first, *rest = observations(FETCH, 3)
    deployed.act(first)
    before = deployed.state
    with pytest.raises(ValueError, match=said):
        deployed.act(rest[0])
    assert deployed.state is before
    assert np.isfinite(deployed.act(rest[1]).command).all()


def test_a_command_belongs_to_the_one_who_asked_for_it() -> None:
    deployed, (seen,) = controller(*FETCH), observations(FETCH, 1)
    command = deployed.act(seen).command
    kept = command.copy()
    command *= 0.0
    np.testing.assert_array_equal(deployed.state.last, kept)


def test_other_parameters_can_be_given_at_run_time() -> None:
    agent, _ = made(*CHEETAH)
    deployed = controller(*CHEETAH)
    engine = cast(Engine, deployed.engine)
    seen = observations(CHEETAH, 1)[0]
    before = deployed.act(seen).command
    named = {f"model.{name}": value for name, value in agent.model.named_parameters()}
    named |= {f"slow_actor.{name}": value for name, value in agent.behavior.slow_actor.named_parameters()}
    named |= {f"slow_critic.{name}": value for name, value in agent.behavior.slow_critic.named_parameters()}
    shapes = engine.parameters()
    assert {name: tuple(value.shape) for name, value in named.items() if name in shapes} == shapes
    turned = {name: -0.5 * named[name].detach().numpy() for name in shapes}
    engine.override(turned)
    other = copy.deepcopy(agent)
    other.load_state({key: -0.5 * value if wanted(key, turned) else value for key, value in agent.state().items()})
    deployed.reset()
    expected, _ = other.decide(other.start(), seen, NoiseBank(deployed.bundle.noise, other.randomness))
    changed = deployed.act(seen).command
    np.testing.assert_allclose(changed, expected, atol=1e-4)
    assert np.abs(changed - before).max() > 1e-3


def test_parameters_are_constants_until_prepared_ones_are_taken() -> None:
    deployed, (seen,) = controller(*CHEETAH), observations(CHEETAH, 1)
    engine = cast(Engine, deployed.engine)

    def decided() -> NDArray[np.float32]:
        deployed.reset()
        return deployed.act(seen).command

    before = decided()
    first, second = list(engine.parameters().items())[:2]
    values = {name: np.full(shape, 0.3, np.float32) for name, shape in (first, second)}
    prepared = engine.prepared(values)
    np.testing.assert_array_equal(decided(), before)
    engine.take(prepared)
    changed = decided()
    assert np.abs(changed - before).max() > 1e-3
    for session in engine.held.sessions.values():
        assert not [one.name for one in session.get_overridable_initializers() if one.name in engine.parameters()]
    one_by_one = controller(*CHEETAH)
    for name, value in values.items():
        cast(Engine, one_by_one.engine).override({name: value})
    one_by_one.reset()
    np.testing.assert_array_equal(one_by_one.act(seen).command, changed)


def wanted(key: str, given: Mapping[str, NDArray[Any]]) -> bool:
    """Whether an entry of an agent's state is one of the parameters given by a graph's names."""
    return key.removeprefix("behavior.") in given


def test_a_parameter_of_another_shape_is_refused() -> None:
    engine = cast(Engine, controller(*FETCH).engine)
    name = "model.rssm.gates.weight"
    with pytest.raises(ValueError, match=rf"{name} must be of shape \(48, 32\), came \(2, 2\)"):
        engine.override({name: np.zeros((2, 2), np.float32)})
    with pytest.raises(ValueError, match=r"no graph has a parameter model\.rssm\.gate;"):
        engine.override({"model.rssm.gate": np.zeros(2, np.float32)})


def test_the_same_seed_decides_the_same_and_another_one_otherwise() -> None:
    deployed, (seen,) = controller(*CHEETAH), observations(CHEETAH, 1)
    commands = []
    for seed in (3, 3, 4):
        deployed.reset(seed)
        commands.append(deployed.act(seen).command)
    np.testing.assert_array_equal(commands[0], commands[1])
    assert np.abs(commands[0] - commands[2]).max() > 0.0


def test_a_disk_that_fills_up_leaves_the_bundle_that_was_there(tmp_path: Path) -> None:
    folder = copied(made(*FETCH)[1], tmp_path)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def fill() -> None:
        with replacement(folder) as fresh:
            (fresh / "a").write_bytes(b"1")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_an_interruption_between_two_bundles_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(made(*FETCH)[1], tmp_path)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    rename, renamed = Path.rename, []

    def interrupted(path: Path, target: Path) -> Path:
        renamed.append(path.name)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)

    def fill() -> None:
        with replacement(folder) as fresh:
            (fresh / "a").write_bytes(b"1")

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert len(renamed) == 3
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    fill()
    assert [path.name for path in folder.iterdir()] == ["a"]


def bare_python(home: Path) -> Path:
    """A virtual environment that holds numpy and ONNX Runtime alone."""
    venv.create(home, with_pip=False)
    (packages,) = home.glob("lib/python*/site-packages")
    for found in (Path(np.__file__).parents[1], Path(onnxruntime.__file__).parents[1]):
        for name in ("numpy", "numpy.libs", "onnxruntime"):
            if (found / name).exists() and not (packages / name).exists():
                (packages / name).symlink_to(found / name)
    return home / "bin" / "python"


def test_a_copied_folder_drives_where_only_numpy_and_onnxruntime_are_installed(tmp_path: Path) -> None:
    folder = copied(made(*CHEETAH)[1], tmp_path)
    python = bare_python(tmp_path / "bare")
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in missing.stderr
    command = [str(python), "run.py", "--decisions", "5", "--untimed"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    loaded, decided, held = done.stdout.splitlines()
    assert "golden steps repeated" in loaded
    assert decided.startswith("decision:")
    assert re.fullmatch(r"memory: \d+\.\d MB after 1 of them, \d+\.\d MB after 5", held)


ADAPTS = """
import sys
from pathlib import Path
from wmctrl.runtime import bundle
from wmctrl.runtime.adaptation import Adaptation
from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.experience import step_of
controller = Controller.load(Path(), provider="cpu", in_time=False)
config = Adaptation(always=True, fresh=10, updates=3, better=-1.0, worse=0.0)
adapter = Adapter.of(controller, config, kept=Path(sys.argv[1]))
print(len(adapter.memory), len(adapter.regimes), adapter.active is not adapter.nominal)
for number, proprio in enumerate(bundle.load(Path(), learning=True).nominal["proprio"][:40]):
    last = controller.state.last
    adapter.note(step_of({"proprio": proprio}, last, first=not number), controller.act({"proprio": proprio}).surprise)
    adapter.work()
adapter.close()
print(*{event.what for event in adapter.state.events})
"""


def test_what_learns_while_driving_needs_no_more_and_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = copied(taught(*CHEETAH), tmp_path)
    python = bare_python(tmp_path / "bare")

    def adapted() -> list[str]:
        command = [str(python), "-c", ADAPTS, str(tmp_path / "kept")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    began, learned = adapted()
    assert began == "0 1 False"
    assert "promoted" in learned
    assert adapted()[0] == "40 1 True", "what was promoted drives, and counts as known once it is consolidated"


def test_being_timed_leaves_a_controller_as_it_was() -> None:
    (seen,) = observations(CHEETAH, 1)
    plain, timed = controller(*CHEETAH), controller(*CHEETAH)
    assert len(timed.latencies(4)) == 4
    np.testing.assert_array_equal(timed.act(seen).command, plain.act(seen).command)


def test_a_controller_is_timed_on_what_the_plant_showed() -> None:
    found = golden.observations(controller(*FAMILIES["camera, proprio and goal"]).bundle)
    assert len(found) == 8
    assert {name: value.shape for name, value in found[0].items()} == {
        "proprio": (10,),
        "camera": (16, 16, 3),
        "goal": (3,),
    }
    assert [*golden.observations(controller(*FAMILIES["policy alone"]).bundle)[0]] == ["proprio"]


def test_what_the_runtime_imports_is_numpy_and_onnxruntime(tmp_path: Path) -> None:
    folder = copied(made(*FETCH)[1], tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from pathlib import Path\n"
        "from wmctrl.runtime.controller import Controller\n"
        f"Controller.load(Path({str(folder)!r}), in_time=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    tops = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"torch", "gymnasium", "mujoco", "safetensors", "onnx", "yaml", "rich"} & tops == set()


def test_a_task_that_has_changed_since_is_not_driven() -> None:
    from wmctrl.commands.driving import matching_task

    told = controller(*FETCH).bundle.manifest.task
    changed = replace(told, proprio=tuple(reversed(told.proprio)))
    with pytest.raises(ValueError, match="observes or commands other elements than this bundle"):
        matching_task(changed)


def test_a_policy_that_was_not_learned_is_not_driven() -> None:
    settings = ("Pendulum-v1", "agent.learn_behavior=false", "agent.proposals=0")
    with pytest.raises(ValueError, match="this bundle holds no policy"):
        controller(*settings, policy_only=True)


def test_elements_without_bounds_have_none() -> None:
    with training.make_task(TaskConfig("HalfCheetah-v5")) as task:
        told = exporting.task_of(task.task_spec, TaskConfig("HalfCheetah-v5"))
    for element, kept in zip(task.task_spec.proprio, told.proprio, strict=True):
        assert kept.low == (element.low if np.isfinite(element.low) else None)


def test_a_page_names_every_element_in_order_with_its_unit_and_what_the_ends_of_an_action_stand_for() -> None:
    told = controller(*FAMILIES["camera, proprio and goal"]).bundle.manifest
    text = page(told, TARGETS["generic"])
    assert f"checked with ONNX Runtime {onnxruntime.__version__}." in " ".join(text.split())
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| (\S+) \| (\S+) \| (\S+) \|$", text, re.M)
    wanted = [f"proprio[{i}]" for i in range(10)] + [f"goal[{i}]" for i in range(3)]
    assert [one[0] for one in rows] == [*wanted, "camera", *(f"command[{i}]" for i in range(4))]
    assert rows[5] == ("proprio[5]", "gripper velocity x", "m/s", "-0.6", "0.6")
    assert rows[13] == ("camera", "uint8 pixels, 16 x 16 x 3", "1", "0", "255")
    assert rows[14] == ("command[0]", "gripper step x", "m", "-0.05", "0.05")


def test_what_nothing_bounds_has_no_bounds_on_the_page() -> None:
    assert row("proprio[3]", Element("slip", "m/s", None, 2.5)) == ("`proprio[3]`", "slip", "m/s", "-", "2.5")


def test_a_page_leads_a_person_to_the_boards_own_tensorrt() -> None:
    told = controller(*CHEETAH).bundle.manifest
    text = page(told, TARGETS["jetson-jp6"])
    assert "every 50 ms" in text
    assert "Python 3.10;" in text
    assert "With TensorRT 10.3" in text
    assert "a decision calls observe, propose once and refine once" in text
    for graph in told.graphs.values():
        (command,) = re.findall(rf"^\S+trtexec --onnx=bundle/{graph.file} (?:.+\\\n)+.+$", text, re.M)
        assert f"-{told.files[graph.file].sha256[:16]}.engine" in command
        assert {"--stronglyTyped", "--percentile=99"} <= {*command.split()}
    assert "TensorRT" not in page(told, TARGETS["x86"])
