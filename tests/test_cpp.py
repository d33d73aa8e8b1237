"""The C++ runner drives bundles as the Python controller does, and refuses damaged ones by one line."""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import wmctrl_export
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.tiny_bundle import CHEETAH, copied, made
from wmctrl.runtime import manifest
from wmctrl.runtime.bundle import REMEDY
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.onnx_parameters import Parametric
from wmctrl.runtime.protobuf import begun, header

SOURCE = Path(wmctrl_export.__file__).parent / "cpp"
LIBRARY = glob.glob(f"{Path(onnxruntime.__file__).parent}/capi/libonnxruntime.so*")[0]
HEADER = "onnxruntime_c_api.h"
FOLDERS = [os.environ.get("ORT_INCLUDE", "/nowhere"), "/usr/include/onnxruntime", "/usr/local/include/onnxruntime"]
CAMERA = ("task.observe=[camera]", "task.camera_size=16", "agent.model.camera_depth=2")
UNGUIDED = ("agent.learn_behavior=false", "agent.proposals=0")
BRIEF = ("agent.planner.horizon=2", "agent.planner.iterations=3")
SETTINGS = {
    "goal, three iterations": ("FetchReach-v4", "agent.objective.goal=1", *BRIEF, *UNGUIDED),
    "proposals and drawn futures": CHEETAH,
    "camera and policy alone": ("Pendulum-v1", "agent.plan=false", *CAMERA),
}
DECISIONS = 200
SEED = 2**63 + 11

Arrays = dict[str, NDArray[Any]]
Change = Callable[[dict[str, Any]], None]


def needing(*tools: str) -> None:
    """Skip the test where a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}: apt-get install g++ cmake")


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner, built as its README tells, but not optimised: compiling takes longer than deciding here."""
    needing("g++", "cmake")
    build = tmp_path_factory.mktemp("build")
    configure = ["-S", str(SOURCE), "-B", str(build), "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"]
    for command in (configure, ["--build", str(build)]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout + done.stderr
    return build / "runner"


def compiled(content: str, home: Path, *options: str) -> None:
    """Compile a piece of C++ beside the runner's header."""
    needing("g++")
    (home / "piece.cpp").write_text(content)
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", f"-I{SOURCE}", *options, str(home / "piece.cpp")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound bundle, to be damaged."""
    return copied(made(*CHEETAH)[1], tmp_path)


def run(runner: Path, folder: Path, *arguments: object, library: str = LIBRARY) -> subprocess.CompletedProcess[str]:
    command = [str(runner), str(folder), "--ort", library, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refusal(runner: Path, folder: Path, library: str = LIBRARY) -> str:
    """Why the runner does not drive a bundle, in one line."""
    done = run(runner, folder, "--golden", library=library)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert re.fullmatch(r"refused: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def advised(said: str) -> str:
    """What is refused, where the rest is what to do about it, in the same words as Python's."""
    reason, remedy = said.removeprefix("refused: ").rstrip("\n").rsplit("; ", 1)
    assert remedy == REMEDY
    return reason


def changed(folder: Path, change: Change) -> None:
    """Let a bundle's manifest tell something else."""
    path = folder / manifest.NAME
    told = json.loads(path.read_bytes())
    change(told)
    path.write_text(json.dumps(told))


def sealed(folder: Path, name: str) -> None:
    """Let the manifest vouch for a file as it is now."""
    content = (folder / name).read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    changed(folder, lambda told: told["files"].update({name: entry}))


def observed(folder: Path, count: int) -> Arrays:
    """Random observations (count, ...) of a bundle's task."""
    told = manifest.parse((folder / manifest.NAME).read_bytes()).task
    generator = np.random.default_rng(3)
    sizes = {"proprio": len(told.proprio), "goal": len(told.goal)}
    found: Arrays = {
        name: generator.standard_normal((count, size)).astype(np.float32) for name, size in sizes.items() if size
    }
    if told.camera:
        found["camera"] = generator.integers(0, 256, (count, *told.camera), dtype=np.uint8)
    return found


def driven(runner: Path, folder: Path, seen: Arrays, home: Path, *arguments: object) -> Arrays:
    """What the runner decides along observations."""
    save_file(seen, home / "seen")
    done = run(runner, folder, "--drive", home / "seen", home / "decided", "--seed", SEED, *arguments)
    assert done.returncode == 0, done.stderr
    return load_file(home / "decided")


def decided(controller: Controller, seen: Arrays) -> Arrays:
    """What the Python controller decides along observations."""
    controller.reset(SEED)
    count = len(next(iter(seen.values())))
    actions = [controller.act({name: array[i] for name, array in seen.items()}) for i in range(count)]
    return {
        "command": np.stack([action.command for action in actions]),
        "surprise": np.array([[action.surprise] for action in actions], np.float32),
        "health": np.array([action.health or (0.0,) * manifest.HEALTH for action in actions], np.float32),
    }


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_cpp_decides_as_python_bit_by_bit(runner: Path, tmp_path: Path, settings: tuple[str, ...]) -> None:
    home = made(*settings)[1]
    seen = observed(home, DECISIONS)
    wanted, came = (
        decided(Controller.load(home, provider="cpu", in_time=False), seen),
        driven(runner, home, seen, tmp_path),
    )
    for name, value in wanted.items():
        assert np.array_equal(came[name], value), f"{name} differs by {np.abs(came[name] - value).max()}"
    assert np.unique(came["command"], axis=0).shape[0] > DECISIONS // 2


def test_cpp_reacts_weighs_and_holds_limits_as_python(runner: Path, tmp_path: Path) -> None:
    home = made(*CHEETAH)[1]
    seen = observed(home, 50)
    planner = Controller.load(home, provider="cpu", in_time=False)
    planner.set_weights(reward=0.0, action_rate=2.5)
    low, high, rate = (np.full(6, limit, np.float32) for limit in (-0.25, 0.25, 0.015625))
    planner.set_limits(low, high, rate=rate, risk=0.25)
    options = (
        "--weight",
        "reward=0",
        "--weight",
        "action_rate=2.5",
        "--limit",
        0.25,
        "--rate",
        0.015625,
        "--risk",
        0.25,
    )
    came = driven(runner, home, seen, tmp_path, *options)
    assert np.array_equal(came["command"], decided(planner, seen)["command"])
    assert np.abs(came["command"]).max() <= 0.25
    assert np.abs(np.diff(came["command"], axis=0, prepend=0.0)).max() <= 0.015625
    policy = Controller.load(home, provider="cpu", in_time=False, policy_only=True)
    came = driven(runner, home, seen, tmp_path, "--policy")
    assert np.array_equal(came["command"], decided(policy, seen)["command"])


def test_other_seeds_decide_otherwise(runner: Path, tmp_path: Path) -> None:
    home = made(*CHEETAH)[1]
    seen = observed(home, 5)
    one, other = (driven(runner, home, seen, tmp_path, "--seed", seed)["command"] for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_a_sound_bundle_is_loaded_and_timed(runner: Path, folder: Path) -> None:
    done = run(runner, folder, "--decisions", 20)
    assert done.returncode == 0
    assert re.search(
        r"^HalfCheetah-v5: loaded, .* repeated in .* s\ndecision: .* ms p50, .* ms p99, .* ms at most;"
        r" \d+ of 20 took longer than the control period of 50 ms\n$",
        done.stdout,
    )


def test_a_flipped_byte_in_any_file_is_refused_by_its_name(runner: Path, folder: Path) -> None:
    names = [*json.loads((folder / manifest.NAME).read_bytes())["files"]]
    assert {"observe.onnx", "refine.onnx", "noise.safetensors", "golden.safetensors", "run.py"} <= {*names}
    for name in names:
        path = folder / name
        content = path.read_bytes()
        if not content:
            continue
        place = len(content) * 2 // 3
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert advised(refusal(runner, folder)).startswith(f"{name}: is damaged")
        path.write_bytes(content)


def test_a_truncated_manifest_is_refused(runner: Path, folder: Path) -> None:
    path = folder / manifest.NAME
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 20).astype(int):
        path.write_bytes(content[:length])
        assert "manifest.json: is not JSON" in advised(refusal(runner, folder))


@pytest.mark.parametrize("path", ["../observe.onnx", "a/../../observe.onnx", "/etc/passwd", "a//b", "..", ""])
def test_a_path_that_leaves_the_bundle_is_refused(runner: Path, folder: Path, path: str) -> None:
    changed(folder, lambda told: told["files"].update({path: told["files"]["observe.onnx"]}))
    assert "not a path within the bundle" in refusal(runner, folder)


def test_links_and_missing_files_are_refused_by_name(runner: Path, folder: Path) -> None:
    path = folder / "refine.onnx"
    path.rename(folder / "elsewhere")
    assert "refine.onnx: cannot be opened: No such file" in advised(refusal(runner, folder))
    path.symlink_to("elsewhere")
    assert "refine.onnx: cannot be opened: it is a link" in refusal(runner, folder)


CHANGES: dict[str, tuple[Change, str]] = {
    "schema": (lambda told: told.update(schema=manifest.SCHEMA + 1), f"schema must be {manifest.SCHEMA}"),
    "unknown field": (lambda told: told.update(extra=0), "unknown extra"),
    "missing field": (lambda told: told.pop("objective"), "objective"),
    "missing graph": (lambda told: told["graphs"].pop("propose"), "propose is missing"),
    "missing noise": (lambda told: told["files"].pop("noise.safetensors"), "noise.safetensors is missing"),
    "negative count": (lambda told: told["planning"]["randomness"].update(samples=-5), "samples must be"),
    "huge count": (lambda told: told["planning"].update(horizon=10**12), "horizon must be"),
    "search that never opens": (
        lambda told: told["planning"].update(reopening=0),
        "reopening must be above 0 and at most 1",
    ),
    "another horizon": (lambda told: told["planning"].update(horizon=4), "another horizon"),
    "more actions": (lambda told: told["task"]["action"].append(told["task"]["action"][0]), "action"),
    "more weights": (
        lambda told: told["objective"]["weights"].update(extra=1.0),
        "weights is (6), the rest of the manifest tells (7)",
    ),
    "risk of nothing": (
        lambda told: told["objective"]["weights"].update(risk=0),
        "risk must be from 0.001 to 1, came 0",
    ),
    "infinite weight": (
        lambda told: told["objective"]["weights"].update(reward=1e39),
        "reward must be from 0 to 1e+06",
    ),
    "infinite failure": (lambda told: told["objective"].update(failure_reward=-1e39), "failure_reward must be at most"),
    "no check": (lambda told: told.update(golden_tolerance=1e9), "golden_tolerance must be above 0 and at most 0.05"),
    "much": (
        lambda told: told["files"].update({f"x{i}": {"sha256": "0" * 64, "bytes": 64 << 20} for i in range(5)}),
        "files have 33",
    ),
    "deep": (lambda told: told.update(made_by=json.loads("[" * 40 + "]" * 40)), "16 deep"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_manifest_that_does_not_agree_with_itself_is_refused(
    runner: Path, folder: Path, change: Change, reason: str
) -> None:
    changed(folder, change)
    assert reason in advised(refusal(runner, folder))


def test_a_graph_of_other_sizes_than_the_manifest_tells_is_refused(runner: Path, folder: Path) -> None:
    def widen(told: dict[str, Any]) -> None:
        for graph in told["graphs"].values():
            for port in (*graph["inputs"], *graph["outputs"]):
                if port["name"] in ("deter", "next_deter"):
                    port["shape"] = [17]

    changed(folder, widen)
    assert re.search(r"\.onnx: has the input deter \(16\), the manifest tells deter \(17\)", refusal(runner, folder))


def test_a_graph_that_is_cut_anywhere_is_refused(runner: Path, folder: Path) -> None:
    path = folder / "observe.onnx"
    content, generator = path.read_bytes(), np.random.default_rng(0)
    begin, end = Parametric(content, path.name)._graph
    for size in [begin, *generator.integers(begin + 1, end, 8)]:
        path.write_bytes(content[:size])
        sealed(folder, path.name)
        assert refusal(runner, folder) == "refused: observe.onnx: is no ONNX file\n"


@pytest.mark.parametrize("damage", [b"\x3b", b"\x0a\x7f", b"\xff" * 9 + b"\x02", b"\x0d\x00"])
def test_what_is_no_field_is_refused_within_a_graph(runner: Path, folder: Path, damage: bytes) -> None:
    path = folder / "observe.onnx"
    content = path.read_bytes()
    begin, end = Parametric(content, path.name)._graph
    graph = content[begin:end] + damage  # a group, a field that goes on too long, a number of 70 bits, half a number
    path.write_bytes(content[: begun(content, 7, (begin, end))] + header(7, len(graph)) + graph + content[end:])
    sealed(folder, path.name)
    assert refusal(runner, folder) == "refused: observe.onnx: is no ONNX file\n"


def test_graphs_of_learning_are_left_alone(runner: Path, folder: Path) -> None:
    graph = {"file": "model_gradient.onnx", "inputs": [{"dtype": "int64"}], "outputs": []}
    changed(folder, lambda told: told["learning"].update(model_gradient=graph))
    assert "learning: model_gradient: file is not among the files" in refusal(runner, folder)
    (folder / "model_gradient.onnx").write_bytes(b"no graph that could be loaded")
    sealed(folder, "model_gradient.onnx")
    done = run(runner, folder, "--golden")
    assert done.returncode == 0, done.stderr


def test_another_golden_step_is_refused(runner: Path, folder: Path) -> None:
    path = folder / "golden.safetensors"
    golden = load_file(path)
    golden["observe.next_stoch"][3, 0] += 1.0
    off = 1.0 / (1.0 + abs(golden["observe.next_stoch"][3, 0]))
    save_file(golden, path)
    sealed(folder, path.name)
    assert f"step 3: observe is {off:.2g}" in advised(refusal(runner, folder))
    golden["observe.next_stoch"][3, 0] = np.nan
    save_file(golden, path)
    sealed(folder, path.name)
    assert "step 3: observe is inf off" in refusal(runner, folder)


def test_all_golden_elites_may_be_exchanged_where_they_are_worth_the_same_as_in_python(
    runner: Path, folder: Path
) -> None:
    path = folder / "golden.safetensors"
    golden = load_file(path)
    weighed = list(json.loads((folder / manifest.NAME).read_text())["objective"]["weights"])
    golden["refine.weights"][:] = [float(name == "risk") for name in weighed]  # every plan is worth nothing
    golden["refine.failed"][:] = 0.0
    golden["refine.next_plan_elites"][:] = 3.0
    golden["refine.health"][:, :2] = 0.0
    save_file(golden, path)
    sealed(folder, path.name)
    done = run(runner, folder, "--golden")
    assert done.returncode == 0, done.stderr
    Controller.load(folder, provider="cpu", in_time=False)
    golden["refine.health"][:, 0] = 1.0
    save_file(golden, path)
    sealed(folder, path.name)
    assert "step 0: refine is inf off" in refusal(runner, folder)


def test_noise_that_does_not_suffice_is_refused(runner: Path, folder: Path) -> None:
    path = folder / "noise.safetensors"
    noise = load_file(path)
    save_file(noise | {"candidates": noise["candidates"][:4095].copy()}, path)
    sealed(folder, path.name)
    assert "candidates must be of shape (4096, 3), came (4095, 3)" in refusal(runner, folder)


def test_a_library_that_is_missing_or_another_gives_one_line(runner: Path, folder: Path) -> None:
    said = refusal(runner, folder, library="/nowhere/lib.so")
    assert "library cannot be opened: /nowhere/lib.so" in said
    assert "; Python's onnxruntime package holds one, capi/libonnxruntime.so.*" in said
    assert "libc.so.6: is not ONNX Runtime's library" in refusal(runner, folder, library="libc.so.6")


def test_an_observation_of_another_size_is_refused(runner: Path, tmp_path: Path) -> None:
    home = made(*CHEETAH)[1]
    save_file({"proprio": np.zeros((3, 16), np.float32)}, tmp_path / "seen")
    done = run(runner, home, "--drive", tmp_path / "seen", tmp_path / "decided")
    assert (done.returncode, done.stderr) == (1, "refused: proprio must have 17 elements, came 16\n")


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"propio": np.zeros((3, 17), np.float32)}, "holds 'propio', the bundle takes proprio"),
        ({"proprio": np.zeros((3, 17), np.float32), "goal": np.zeros((3, 2), np.float32)}, "holds 'goal', the bundle"),
        ({"proprio": np.zeros((3, 17), np.uint8)}, "proprio must be of float32"),
    ],
)
def test_recorded_arrays_that_the_bundle_does_not_take_are_refused_with_those_that_it_does(
    runner: Path, tmp_path: Path, seen: Arrays, said: str
) -> None:
    save_file(seen, tmp_path / "seen")
    done = run(runner, made(*CHEETAH)[1], "--drive", tmp_path / "seen", tmp_path / "decided")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"refused: {tmp_path / 'seen'}: {said}")


def test_a_recording_without_a_part_that_the_bundle_takes_is_refused(runner: Path, tmp_path: Path) -> None:
    home = made(*SETTINGS["goal, three iterations"])[1]
    save_file({"proprio": np.zeros((3, 10), np.float32)}, tmp_path / "seen")
    done = run(runner, home, "--drive", tmp_path / "seen", tmp_path / "decided")
    assert done.stderr == f"refused: {tmp_path / 'seen'}: lacks goal, the bundle takes proprio, goal\n"


def test_a_weight_that_is_not_weighed_is_refused_with_those_that_are(runner: Path) -> None:
    home = made(*CHEETAH)[1]
    known = ", ".join(manifest.parse((home / manifest.NAME).read_bytes()).objective.weights)
    done = run(runner, home, "--weight", "rewrd=1")
    assert (done.returncode, done.stderr) == (1, f"refused: rewrd is not weighed in this bundle; known: {known}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "--threads takes a number from 1 to 1024, came '0'"),
        (["--decisions", "many"], "--decisions takes a number from 1 to 10000000, came 'many'"),
        (["--limit", "1.5"], "--limit takes a number from 0 to 1, came '1.5'"),
        (["--seed", "-1"], "--seed takes a number from 0 to 18446744073709551615, came '-1'"),
        (["--weight", "reward"], "--weight takes NAME=VALUE, came 'reward'"),
        (["--weight", "reward=much"], "--weight reward takes a number from 0 to 1e+06, came 'much'"),
        (["--seed"], "--seed lacks a value"),
        (["--drive", "seen"], "--drive lacks a value"),
        (["--fast"], "'--fast' is not understood"),
        (["another"], "'another' is not understood"),
    ],
    ids=" ".join,
)
def test_misused_options_are_named_with_what_they_take(
    runner: Path, folder: Path, arguments: list[str], said: str
) -> None:
    done = run(runner, folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{said}\nusage: runner BUNDLE --ort LIB ")


OLD_LIBRARY = """
struct Base {
    const void* (*get_api)(unsigned);
    const char* (*get_version_string)();
};
const void* get_api(unsigned version) { return version <= 15 ? "a table" : nullptr; }
const char* get_version_string() { return "1.15.1"; }
const Base BASE = {get_api, get_version_string};
extern "C" const Base* OrtGetApiBase() { return &BASE; }
"""


def test_a_library_that_is_too_old_is_refused(runner: Path, folder: Path, tmp_path: Path) -> None:
    library = tmp_path / "libonnxruntime.so"
    compiled(OLD_LIBRARY, tmp_path, "-shared", "-fPIC", "-o", str(library))
    assert "is ONNX Runtime 1.15.1, needed is 1.16 or newer" in refusal(runner, folder, library=str(library))


COMPARISON = """
#include <onnxruntime_c_api.h>

#include "wmctrl/controller.hpp"

using namespace wmctrl;

/// A type as it is passed: enumerations as integers, functions without noexcept.
template <class T, bool = std::is_enum_v<T>>
struct Passed {
    using type = T;
};
template <class T>
struct Passed<T, true> : std::underlying_type<T> {};
template <class T>
struct Passed<T*, false> {
    using type = typename Passed<T>::type*;
};
template <class Result, class... Takes>
struct Passed<Result(Takes...), false> {
    using type = Result(typename Passed<Takes>::type...);
};
template <class Result, class... Takes>
struct Passed<Result(Takes...) noexcept, false> : Passed<Result(Takes...)> {};

template <class Ours, class Theirs>
constexpr bool same = std::is_same_v<typename Passed<Ours>::type, typename Passed<Theirs>::type>;

template <class Ours, class Theirs>
constexpr bool equal(Ours ours, Theirs theirs) {
    return same<Ours, Theirs> && static_cast<int>(ours) == static_cast<int>(theirs);
}

template <class Theirs, std::size_t INDEX, class Function>
constexpr bool is_at(OrtEntry<INDEX, Function> OrtCalls::*, std::size_t offset) {
    return same<Function*, Theirs> && INDEX * sizeof(void*) == offset;
}

static_assert(equal(OrtLog::fatal, ORT_LOGGING_LEVEL_FATAL));
static_assert(equal(OrtAllocation::device, OrtDeviceAllocator));
static_assert(equal(OrtMemory::standard, OrtMemTypeDefault));
static_assert(equal(OrtElement::undefined, ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED));
static_assert(equal(OrtElement::float32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
static_assert(equal(OrtElement::uint8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8));
static_assert(offsetof(OrtBase, get_api) == offsetof(OrtApiBase, GetApi));
static_assert(offsetof(OrtBase, get_version_string) == offsetof(OrtApiBase, GetVersionString));
static_assert(same<decltype(OrtBase::get_api), decltype(OrtApiBase::GetApi)>);
static_assert(same<decltype(OrtBase::get_version_string), decltype(OrtApiBase::GetVersionString)>);
"""


def test_what_we_declare_of_onnx_runtime_is_what_its_header_declares(tmp_path: Path) -> None:
    include = next((folder for folder in FOLDERS if (Path(folder) / HEADER).is_file()), None)
    if include is None:
        pytest.skip(f"compares with {HEADER} where its folder is named in ORT_INCLUDE")
    names = re.findall(r"\b(\w+)\{table\};", (SOURCE / "wmctrl" / "controller.hpp").read_text())
    assert "create_env" in names
    content = COMPARISON
    for name in names:
        theirs = name.title().replace("_", "")
        content += f"static_assert(is_at<decltype(OrtApi::{theirs})>(&OrtCalls::{name}, offsetof(OrtApi, {theirs})));\n"
    compiled(content, tmp_path, "-fsyntax-only", "-isystem", include)
