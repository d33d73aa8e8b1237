"""Stress tests: how shifts come, what a suite refuses, what courses are worth, and one that is driven."""

import contextlib
import csv
import math
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import wmctrl_envs
from wmctrl_envs.task import Parameter, PlantError

from tests.test_archive import ARM
from tests.tiny_bundle import CHEETAH, copied, made, taught
from wmctrl.cli import main
from wmctrl.commands import driving, evaluation, pictures, provenance, report, stress_report, stressing
from wmctrl.commands.stressing import Cell
from wmctrl.config_files import read_yaml, shipped
from wmctrl.runtime import manifest
from wmctrl.runtime.adaptation import Event
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.keeping import origin_of
from wmctrl.stress.arms import ARMS
from wmctrl.stress.course import Course, Episode, Trace, legs
from wmctrl.stress.figures import worth
from wmctrl.stress.suite import SCHEDULES, Shift, Suite, strength

SHIPPED = [path.stem for path in sorted(shipped(str(stressing.SUITES)).glob("*.yaml"))]
WEAK = {"weak": {"motor_gain": 0.6}}
FRICTION = Parameter("motor_gain", "1", 1.0, 0.3, 1.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_there_is_always_between_none_and_all_of_a_shift(schedule: str) -> None:
    values = [strength(schedule, step, 400, seed=3) for step in range(400)]
    assert min(values) >= 0.0
    assert max(values) <= 1.0
    assert values == [strength(schedule, step, 400, seed=3) for step in range(400)]


def test_schedules_go_where_their_names_say() -> None:
    def values(schedule: str) -> list[float]:
        return [strength(schedule, step, 400, seed=0) for step in (0, 50, 99, 100, 200, 399)]

    assert values("step") == [1.0] * 6
    assert values("drift") == pytest.approx([0.0, 0.125, 0.2475, 0.25, 0.5, 0.9975])
    assert values("saw_wave") == pytest.approx([0.0, 0.5, 0.99, 0.0, 0.0, 0.99])
    assert values("cyclic")[:4] == pytest.approx([0.0, 1.0, 0.5 - 0.5 * math.cos(2 * math.pi * 0.99), 0.0], abs=1e-9)
    walked = [strength("random_walk", step, 400, seed=0) for step in range(400)]
    assert walked[0] == 0.0
    assert 0.0 < np.abs(np.diff(walked)).max() < 0.3
    assert walked != [strength("random_walk", step, 400, seed=1) for step in range(400)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shifts": {}}, "shifts must name one at least"),
        ({"shifts": WEAK, "schedules": {"week": "drift"}}, "unknown shift 'week'; did you mean weak"),
        ({"shifts": WEAK, "then": {"weak": "week"}}, "unknown shift 'week'; did you mean weak"),
        ({"shifts": WEAK, "nominal": 0}, "nominal must be at least 1 step, came 0"),
        ({"shifts": WEAK, "seeds": ()}, "arms and seeds must name one at least"),
        ({"shifts": WEAK, "seeds": (0, -1)}, "seeds must differ and be at least 0, came 0, -1"),
        ({"shifts": WEAK, "seeds": (3, 3)}, "seeds must differ and be at least 0, came 3, 3"),
    ],
)
def test_a_suite_that_asks_nothing_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Suite(**settings)  # type: ignore[arg-type]


def test_a_shift_of_what_a_task_does_not_have_or_too_far_is_refused() -> None:
    known = {"motor_gain": FRICTION}
    with pytest.raises(ValueError, match="unknown parameter in shift weak 'motor_gian'; did you mean motor_gain"):
        Suite(shifts={"weak": {"motor_gian": 0.5}}).require_known(known)
    with pytest.raises(ValueError, match=r"shift weak: motor_gain must be from 0\.3 to 1\.5, came 0\.1"):
        Suite(shifts={"weak": {"motor_gain": 0.1}}).require_known(known)
    with pytest.raises(ValueError, match="unknown schedule 'steps'; did you mean step"):
        Suite(shifts=WEAK, schedules={"weak": "steps"})


@pytest.mark.parametrize("name", SHIPPED)
def test_the_suites_that_travel_with_the_package_are_sound(name: str) -> None:
    tasks = read_yaml(shipped(str(stressing.SUITES)) / f"{name}.yaml")["tasks"]
    assert tasks
    for task_id in tasks:
        found = stressing.suite_of(name, task_id)
        assert stressing.cells(found)
        with contextlib.closing(wmctrl_envs.make(task_id)) as task:
            found.require_known({parameter.name: parameter for parameter in task.task_spec.parameters})


def test_a_suite_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no suite quik; did you mean quick"):
        stressing.suite_of("quik", "HalfCheetah-v5")
    with pytest.raises(ValueError, match="tasks has nothing for Hopper-v5; known: "):
        stressing.suite_of("quick", "Hopper-v5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks:", "tasks must be entries by name, such as .*, came nothing"),
        ("tasks: [HalfCheetah-v5]", "tasks must be entries by name, such as .*, came \\['HalfCheetah-v5'\\]"),
        ("tasks: {HalfCheetah-v5: }", "tasks.HalfCheetah-v5 must be entries by name, such as .*, came nothing"),
        ("seeds: [0]", "tasks has nothing for HalfCheetah-v5; known: none"),
    ],
)
def test_a_file_that_tells_no_shifts_of_a_task_is_refused_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "suite.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"suite.yaml: {message}$"):
        stressing.suite_of(str(tmp_path / "suite.yaml"), "HalfCheetah-v5")


def course(returns: dict[str, list[float]], events: tuple[Event, ...] = (), failures: int = 0) -> Trace:
    """A course of episodes of ten steps."""
    episodes, phases, step = [], [], 0
    for phase, rewards in returns.items():
        phases.append(step)
        for number, reward in enumerate(rewards):
            failed = phase == "shifted" and number < failures
            episodes.append(Episode(phase, step, 10, reward, False, failed))
            step += 10
    return Trace(tuple(episodes), events, tuple(phases), (0.5,) * step, 1.0)


def test_a_course_is_worth_what_of_the_cost_came_back() -> None:
    frozen = course({"nominal": [10.0, 10.0], "shifted": [4.0] * 6, "after": [10.0]})
    events = (Event(5, "alarm", ""), Event(33, "alarm", ""), Event(44, "promoted", ""), Event(50, "alarm", ""))
    learned = course({"nominal": [10.0, 10.0], "shifted": [4, 4, 5, 6, 7, 9], "after": [9.5]}, events, failures=2)
    found = worth(learned, frozen)
    assert (found.nominal, found.frozen, found.adapted) == (10.0, 4.0, 8.0)
    assert found.recovery == pytest.approx(4.0 / 6.0)
    assert found.after == pytest.approx(-0.5)
    assert found.delay == 13.0
    assert (found.false_alarms, found.failures) == (1, 2)
    oracle = course({"nominal": [2.0], "shifted": [3.0] * 4 + [9.0] * 2, "after": [2.0]})
    assert worth(learned, frozen, oracle).recovery == pytest.approx(4.0 / 5.0)


@pytest.mark.parametrize(("step", "delay"), [(20, math.nan), (21, 1.0), (80, 60.0), (81, math.nan)])
def test_an_alarm_is_of_the_change_while_that_lasts(step: int, delay: float) -> None:
    frozen = course({"nominal": [10.0, 10.0], "shifted": [4.0] * 6, "after": [10.0] * 2})
    rung = replace(frozen, events=(Event(step, "alarm", ""), Event(85, "alarm", "")))
    assert worth(rung, frozen).delay == pytest.approx(delay, nan_ok=True)


def test_a_change_is_recovered_from_once_nine_tenths_are_back_for_ten_episodes_and_ten_more() -> None:
    frozen = course({"nominal": [10.0], "shifted": [4.0] * 40, "after": [10.0]})
    for returns, steps in (
        ([4.0] * 5 + [10.5] * 35, 140.0),  # nine tenths of what a change from 10 to 4 costs are back at 9.4
        ([4.0] * 5 + [9.5] * 35, 150.0),
        ([9.5] * 15 + [4.0] * 2 + [9.5] * 23, 270.0),
        ([9.5] * 21, 100.0),
        ([9.5] * 20, math.nan),  # of which there is no other answer
        ([9.3] * 40, math.nan),
    ):
        learned = course({"nominal": [10.0], "shifted": returns, "after": [10.0]})
        assert worth(learned, frozen).soon == pytest.approx(steps, nan_ok=True)


def test_what_is_forgotten_is_missing_late_on_the_nominal_plant_the_last_time() -> None:
    once = {"nominal": [-10.0], "shifted": [-20.0] * 3, "after": [-10.0] * 3}
    twice = once | {"then": [-30.0] * 3, "again": [-10.0] * 6}
    learned = once | {"after": [-15.0, -12.0, -11.0]}
    assert worth(course(learned), course(once)).forgotten == pytest.approx(0.1)
    again = twice | {"after": [-15.0, -12.0, -11.0], "again": [-30.0] * 4 + [-10.5, -10.0]}
    assert worth(course(again), course(twice)).forgotten == pytest.approx(0.025)


def test_where_the_nominal_plant_does_not_come_back_or_pays_nothing_nothing_is_said_to_be_forgotten() -> None:
    alone = course({"nominal": [3.0], "shifted": [2.0] * 3, "after": []})
    assert math.isnan(worth(alone, alone).forgotten)
    free = course({"nominal": [0.0], "shifted": [-2.0] * 3, "after": [0.0]})
    assert math.isnan(worth(free, free).forgotten)


def test_a_change_that_one_seed_of_three_recovered_from_is_told_as_that() -> None:
    assert stress_report.estimate_of_all([500.0, math.nan, math.nan]) == "500 (1 of 3)"
    assert stress_report.estimate_of_all([math.nan, math.nan]) == ""
    assert stress_report.estimate_of_all([500.0, 500.0]) == "500 (500 to 500)"


def told(found: dict[Cell, Trace]) -> dict[str, str]:
    """The last arm's row of a table, by column."""
    return dict(zip(stress_report.COLUMNS, stress_report.rows(stress_report.compared(found))[-1], strict=True))


def test_what_is_known_of_some_seeds_is_told_as_that_in_every_figure() -> None:
    parts = {"nominal": [3.0], "shifted": [2.0] * 3, "after": [3.0]}
    found = {Cell("weak", arm, seed): course(parts) for arm in ("frozen", "all") for seed in (0, 1, 2)}
    found[Cell("weak", "all", 1)] = course(parts, (Event(17, "alarm", ""),))
    for seed in (0, 2):  # which the change cost nothing
        found[Cell("weak", "frozen", seed)] = course(parts | {"shifted": [3.0] * 3})
    row = told(found)
    assert (row["delay"], row["recovery"], row["return"]) == ("7 (1 of 3)", "0 (1 of 3)", "2 (2 to 2)")


def test_how_soon_is_told_of_changes_that_are_long_enough_to_tell() -> None:
    for episodes, soon in ((20, "too short"), (21, "100")):
        parts = {"nominal": [3.0], "shifted": [2.0] * episodes, "after": [3.0]}
        better = parts | {"shifted": [3.0] * episodes}
        found = {Cell("weak", "frozen", 0): course(parts), Cell("weak", "all", 0): course(better)}
        assert told(found)["T90"] == soon


def test_one_shift_comes_after_another_where_a_suite_says_so() -> None:
    suite = Suite(shifts=WEAK | {"heavy": {"mass_scale": 1.5}}, then={"weak": "heavy"}, nominal=7, shifted=9, after=5)
    shift = suite.shift("weak")
    asked = [(phase, steps, changed and changed.parameters) for phase, steps, changed in legs(suite, shift)]
    assert asked == [
        ("nominal", 7, None),
        ("shifted", 9, WEAK["weak"]),
        ("after", 5, None),
        ("then", 9, {"mass_scale": 1.5}),
        ("again", 5, None),
    ]
    assert len([*legs(suite, suite.shift("heavy"))]) == 3


def test_where_a_change_costs_nothing_there_is_nothing_to_recover() -> None:
    frozen = course({"nominal": [4.0], "shifted": [5.0] * 3, "after": [4.0]})
    assert math.isnan(worth(frozen, frozen).recovery)
    assert math.isnan(worth(frozen, frozen).delay)


def test_courses_that_learn_nothing_come_first_whatever_is_asked() -> None:
    suite = Suite(shifts=WEAK | {"heavy": {"mass_scale": 1.5}}, arms=("replay",), seeds=(4, 5))
    assert stressing.cells(suite) == [
        *(Cell(shift, "frozen", seed) for shift in ("weak", "heavy") for seed in (4, 5)),
        *(Cell(shift, "replay", seed) for shift in ("weak", "heavy") for seed in (4, 5)),
    ]
    with pytest.raises(ValueError, match="unknown arm 'EWK'; did you mean EWC"):
        stressing.cells(replace(suite, arms=("EWK",)))


def test_rivals_are_driven_over_the_shifts_that_they_are_for() -> None:
    suite = Suite(shifts=WEAK | {"heavy": {"mass_scale": 1.5}}, arms=("replay",), seeds=(4,))
    rivals = [stressing.Rival.of("zero-shot=runs/a"), stressing.Rival.of("oracle@heavy=runs/b=c")]
    assert rivals[1] == stressing.Rival("oracle", "heavy", Path("runs/b=c"))
    assert [cell[:2] for cell in stressing.cells(suite, rivals)] == [
        *(("weak", "frozen"), ("heavy", "frozen")),
        *(("weak", "zero-shot"), ("heavy", "zero-shot"), ("heavy", "oracle")),
        *(("weak", "replay"), ("heavy", "replay")),
    ]
    with pytest.raises(ValueError, match="unknown shift 'week'; did you mean weak"):
        stressing.cells(suite, [stressing.Rival.of("oracle@week=there")])


@pytest.mark.parametrize("text", ["oracle", "=there", "oracle=", "oracle@=there", "replay=there", "frozen@weak=there"])
def test_a_rival_without_a_name_of_its_own_or_a_folder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--rival takes NAME=FOLDER or NAME@SHIFT=FOLDER"):
        stressing.Rival.of(text)


def test_shifts_whose_names_differ_in_a_sign_alone_are_kept_apart() -> None:
    assert Cell("friction +20 %", "EWC", 0).file != Cell("friction -20 %", "EWC", 0).file


def test_a_course_that_was_kept_is_read_as_it_was_and_only_for_what_made_it(tmp_path: Path) -> None:
    trace = course({"nominal": [1.0], "shifted": [2.0], "after": []}, (Event(3, "alarm", "since step 1"),))
    path = tmp_path / Cell("weak motors", "EWC + replay", 1).file
    stressing.write(path, trace, "settings")
    assert stressing.read(path, "settings") == trace
    assert stressing.read(path, "others") is None
    assert stressing.read(tmp_path / "none.json", "settings") is None


def test_a_bundle_is_driven_over_a_change_and_what_is_kept_is_not_driven_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = taught(*CHEETAH)
    origin = origin_of((place / manifest.NAME).read_bytes())
    suite = Suite(shifts=WEAK, nominal=10, shifted=10, after=0, arms=("EWC + replay + gate",), seeds=(0,))
    kept, found = tmp_path / "kept", {}
    for cell in stressing.cells(suite):
        controller, arm = Controller.load(place, provider="cpu", in_time=False), ARMS[cell.arm]
        with contextlib.closing(driving.matching_task(controller.bundle.manifest.task)) as task:
            adapter = None if arm is None else arm.adapter(controller)
            driven = Course(controller, task, adapter, cell.seed)
            found[cell] = driven.drive(suite, suite.shift(cell.shift))
        assert len(found[cell].surprises) == 2000
        assert min(found[cell].surprises) > 0.0
        assert [one.phase for one in found[cell].episodes] == ["nominal", "shifted"]
        assert adapter is None or len(adapter.memory) == 2002
        assert all(0 <= event.step <= 2000 for event in found[cell].events)
        stressing.write(kept / cell.file, found[cell], stressing._settings(origin, suite, cell))
    monkeypatch.setattr(stressing, "_driven", None)
    assert dict(stressing.run(place, suite, kept, 1, None)) == found
    found[Cell("weak", "oracle", 0)] = found[Cell("weak", "frozen", 0)]
    stress_report.write_report(kept / "report.html", "HalfCheetah-v5", suite, found)
    assert "EWC + replay + gate" in (kept / "report.html").read_text()


def test_a_course_by_another_onnx_runtime_is_driven_again(monkeypatch: pytest.MonkeyPatch) -> None:
    suite, cell, versions = Suite(shifts=WEAK), Cell("weak", "frozen", 0), dict.fromkeys(provenance.RECORDED, "1.2")
    monkeypatch.setattr(provenance, "version", lambda name: versions[name])
    before = stressing._settings("origin", suite, cell)
    assert stressing._settings("origin", suite, cell) == before
    versions["onnxruntime"] = "1.3"
    assert stressing._settings("origin", suite, cell) != before


def test_a_breakdown_of_the_plant_is_how_an_episode_went_and_the_course_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rewards: list[float] = []
    controller = Controller.load(made(*ARM)[1], provider="cpu", in_time=False)
    with contextlib.closing(driving.matching_task(controller.bundle.manifest.task)) as task:
        driven, step, reset = Course(controller, task, None, 0), task.step, task.reset

        def broken(action: Any) -> Any:
            if driven.step == 52:
                raise PlantError("a bolt is loose")
            came = step(action)
            rewards.append(float(came[1]))
            return came

        def blocked(**options: Any) -> Any:
            if driven.step == 53:
                raise PlantError("the door is locked")
            return reset(**options)

        monkeypatch.setattr(task, "step", broken)
        monkeypatch.setattr(task, "reset", blocked)
        trace = driven.drive(Suite(WEAK, nominal=1, shifted=4, after=1), Shift({"action_scale": 0.5}))
    first, loose, locked, last = trace.episodes
    assert loose == Episode("shifted", 50, 3, sum(rewards[50:52]), False, True, "a bolt is loose")
    assert locked == Episode("shifted", 53, 1, 0.0, False, True, "the door is locked")
    assert [(one.begins, one.length, one.breakdown) for one in (first, last)] == [(0, 50, ""), (54, 50, "")]
    assert (trace.phases, len(trace.surprises)) == ((0, 50, 54), 104)


def test_a_plant_that_breaks_down_in_the_first_step_of_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(action: Any) -> Any:
        raise PlantError("no plant is here")

    controller = Controller.load(made(*ARM)[1], provider="cpu", in_time=False)
    with contextlib.closing(driving.matching_task(controller.bundle.manifest.task)) as task:
        monkeypatch.setattr(task, "step", broken)
        with pytest.raises(PlantError, match="no plant is here"):
            Course(controller, task, None, 0).drive(Suite(WEAK), Shift({"action_scale": 0.5}))


def test_every_arm_drives_its_own_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, place = Suite(shifts=WEAK | {"heavy": {"mass_scale": 1.5}}, arms=("frozen",), seeds=(0,)), made(*CHEETAH)[1]
    other, third = (copied(place, tmp_path / name) for name in ("other", "third"))
    (third / manifest.NAME).write_bytes((third / manifest.NAME).read_bytes() + b" ")
    rivals = [stressing.Rival("zero-shot", None, other), stressing.Rival("zero-shot", "heavy", third)]
    driven: dict[Cell, Path] = {}

    def drive(_: Suite, asked: tuple[Cell, Path]) -> tuple[Cell, Trace, bytes]:
        driven.update([asked])
        filmed = b"pictures" if asked[0].shift == "weak" else b""
        return asked[0], course({"nominal": [1.0], "shifted": [2.0], "after": []}), filmed

    pool = SimpleNamespace(imap_unordered=map)
    context = SimpleNamespace(Pool=lambda processes, initializer: contextlib.nullcontext(pool))
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)
    monkeypatch.setattr(stressing, "_driven", drive)
    kept = tmp_path / "kept"
    kept.mkdir()
    list(stressing.run(place, suite, kept, 1, None, rivals))
    assert driven == {
        **{Cell(shift, "frozen", 0): place for shift in ("weak", "heavy")},
        **{Cell("weak", "zero-shot", 0): other, Cell("heavy", "zero-shot", 0): third},
    }
    assert {path.name for path in kept.glob("*.webp")} == {cell.film for cell in driven if cell.shift == "weak"}
    driven.clear()
    (other / manifest.NAME).write_bytes((other / manifest.NAME).read_bytes() + b" ")
    list(stressing.run(place, suite, kept, 1, None, rivals))
    assert [*driven] == [Cell("weak", "zero-shot", 0)], "only who has become another is driven again"


def test_a_rival_that_is_not_to_be_driven_is_refused_before_anything_is(tmp_path: Path) -> None:
    suite, place = Suite(shifts=WEAK, arms=("frozen",), seeds=(0,)), made(*CHEETAH)[1]

    def refused(*folders: Path) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # what it says is compared
            list(
                stressing.run(place, suite, tmp_path, 1, None, [stressing.Rival("other", None, one) for one in folders])
            )
        return str(caught.value)

    damaged = copied(place, tmp_path)
    (damaged / "observe.onnx").write_bytes(b"")
    assert "drives Pendulum-v1 {}, not HalfCheetah-v5 {}" in refused(made("Pendulum-v1")[1])
    assert "observe.onnx" in refused(damaged)
    assert refused(place, place) == "--rival other: is told twice; give each a name of its own"


def test_the_first_episode_that_begins_late_in_the_change_is_filmed_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []
    suite = Suite(shifts=WEAK, nominal=50, shifted=300, after=50)
    controller = Controller.load(made(*ARM)[1], provider="cpu", in_time=False)
    with contextlib.closing(driving.matching_task(controller.bundle.manifest.task)) as task:
        camera = stressing.Camera(task.task_spec.control_period)
        driven = Course(controller, task, None, 0, camera)
        monkeypatch.setattr(evaluation, "picture", lambda _: looked.append(driven.step))
        driven.drive(suite, Shift({"action_scale": 0.5}))
    assert looked == [*range(250, 301)]


def test_a_film_is_short_and_in_real_time() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    for period, every in ((0.05, 1), (0.01, 5), (0.2, 1)):
        plant = SimpleNamespace(render=lambda: picture, task_spec=SimpleNamespace(id="Arm-v0"))
        driven: Any = SimpleNamespace(phase="shifted", closing=True, episodes=[], task=plant)
        camera = stressing.Camera(period)
        for _ in range(1001):
            camera(driven)
        assert len(camera.pictures) == min(200, 1 + 1000 // every)
        assert camera.period == pytest.approx(every * period)
        assert camera.film().startswith(b"RIFF")
        blind = stressing.Camera(period)
        plant.render = lambda: None
        blind(driven)
        assert blind.film() == b""


def test_a_course_within_a_budget_keeps_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    controller = Controller.load(made(*ARM)[1], provider="cpu", in_time=False)
    act = controller.act

    def watched(observation: Any, *, deadline: float) -> Any:
        asked.append(deadline - time.monotonic())
        return act(observation, deadline=deadline)

    monkeypatch.setattr(controller, "act", watched)
    with contextlib.closing(driving.matching_task(controller.bundle.manifest.task)) as task:
        suite = Suite(WEAK, nominal=1, shifted=1, after=0)
        Course(controller, task, None, 0, budget=0.5).drive(suite, Shift({"action_scale": 0.5}))
    assert len(asked) == 102
    assert max(asked) <= 0.5
    assert min(asked) > 0.4


def test_what_happened_is_drawn_and_told_and_every_course_is_in_a_table(tmp_path: Path) -> None:
    suite = Suite(shifts=WEAK, arms=("frozen", "all"), seeds=(0,))
    events = (Event(25, "alarm", ""), Event(27, "calibrated", ""))
    parts = {"nominal": [3.0, 3.0], "shifted": [2.0] * 3, "after": [3.0]}
    found = {cell: course(parts, events if cell.arm == "all" else ()) for cell in stressing.cells(suite)}
    for cell in found:
        (tmp_path / cell.film).write_bytes(b"film of " + cell.arm.encode())
    stress_report.write_report(tmp_path / "report.html", "HalfCheetah-v5", suite, found)
    page = (tmp_path / "report.html").read_text()
    assert "weak: surprise" in page
    for arm in ("frozen", "all"):
        assert report.data_address("image/webp", b"film of " + arm.encode()) in page
    stress_report.write_table(tmp_path / "courses.csv", found)
    rows = [*csv.DictReader((tmp_path / "courses.csv").read_text().splitlines())]
    assert [(row["shift"], row["arm"], row["seed"], row["delay"]) for row in rows] == [
        ("weak", "frozen", "0", "nan"),
        ("weak", "all", "0", "5.0"),
    ]


def test_a_report_tells_of_an_oracle_of_one_shift_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = Suite(shifts=WEAK | {"heavy": {"mass_scale": 1.5}}, arms=("frozen", "replay"), seeds=(0,))
    rivals = [stressing.Rival("oracle", "heavy", tmp_path)]
    found = {
        cell: course({"nominal": [3.0], "shifted": [2.0], "after": [3.0]}) for cell in stressing.cells(suite, rivals)
    }
    mapped: list[dict[str, list[float]]] = []
    heat_map = pictures.heat_map

    def watched(rows: dict[str, list[float]], columns: list[str]) -> Any:
        mapped.append(rows)
        return heat_map(rows, columns)

    monkeypatch.setattr(pictures, "heat_map", watched)
    stress_report.write_report(tmp_path / "report.html", "HalfCheetah-v5", suite, found)
    np.testing.assert_equal(mapped, [{"weak": [np.nan, 0.0], "heavy": [np.nan, np.nan]}])
    assert "empty where that is not known of every seed" in (tmp_path / "report.html").read_text()


def test_a_bundle_that_cannot_learn_is_refused_before_anything_is_driven(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("tasks: {HalfCheetah-v5: {shifts: {weak: {motor_gain: 0.6}}}}")
    assert main(["stress", str(made(*CHEETAH)[1]), "--suite", str(suite)]) == 2
    assert "cannot learn; write it with `./wm export" in capsys.readouterr().err


def test_a_shift_is_a_change_of_something() -> None:
    with pytest.raises(ValueError, match="parameters must name one at least"):
        Shift({})
