"""Settings from YAML and overrides: what is kept, what is converted, what is refused with which words."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmctrl.config_files import from_mapping, read_yaml, shipped, to_mapping, to_yaml, updated, with_overrides


@dataclass(frozen=True)
class Planner:
    horizon: int = 10
    samples: int = 256
    noise: float = 2.0
    kind: Literal["cem", "icem", "mppi"] = "cem"


@dataclass(frozen=True)
class Settings:
    planner: Planner = field(default_factory=lambda: Planner(horizon=7))
    fallback: Planner | None = None
    widths: tuple[int, ...] = (32, 64)
    limits: tuple[float, float] = (-1.0, 1.0)
    name: str = "arm"
    camera: bool = False
    rate: float | Literal["auto"] = "auto"
    stages: tuple[Planner, ...] = ()
    entries: dict[str, Any] = field(default_factory=lambda: {"count": 1})

    def __post_init__(self) -> None:
        if self.limits[0] > self.limits[1]:
            raise ValueError(f"limits must rise, came {self.limits}")


@dataclass(frozen=True)
class Addressed:
    task: str


def refusal(*overrides: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        with_overrides(Settings(), overrides)
    return str(caught.value)


def test_what_is_not_given_keeps_the_outer_default() -> None:
    settings = from_mapping(Settings, {"planner": {"samples": 11}}, "x.yaml")
    assert settings.planner == Planner(horizon=7, samples=11)


def test_an_update_keeps_what_an_earlier_one_set() -> None:
    once = updated(Settings(), {"planner": {"samples": 11}}, "x.yaml")
    assert updated(once, {"planner": {"noise": 3}}, "y.yaml").planner == Planner(7, 11, 3.0)


def test_an_absent_group_is_made_from_its_own_defaults() -> None:
    assert with_overrides(Settings(), ["fallback.samples=3"]).fallback == Planner(10, 3)
    assert with_overrides(Settings(fallback=Planner()), ["fallback=null"]).fallback is None


def test_groups_in_a_list_are_built_one_by_one() -> None:
    settings = from_mapping(Settings, {"stages": [{"horizon": 2}, {"kind": "mppi"}]}, "x.yaml")
    assert settings.stages == (Planner(horizon=2), Planner(kind="mppi"))


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("planner.noise=1e-3", {"planner": Planner(horizon=7, noise=0.001)}),
        ("planner.noise=3", {"planner": Planner(horizon=7, noise=3.0)}),
        ("planner.samples=1e3", {"planner": Planner(horizon=7, samples=1000)}),
        ("planner.samples=1_000", {"planner": Planner(horizon=7, samples=1000)}),
        ("planner.samples=010", {"planner": Planner(horizon=7, samples=10)}),
        ("widths=[3, 5, 7]", {"widths": (3, 5, 7)}),
        ("limits=[-.inf, 2]", {"limits": (float("-inf"), 2.0)}),
        ("name=no", {"name": "no"}),
        ("name=on=off", {"name": "on=off"}),
        ("camera=true", {"camera": True}),
        ("rate=5", {"rate": 5.0}),
        ("entries.speed=2.5", {"entries": {"count": 1, "speed": 2.5}}),
        ("entries={count: 3, kind: {wide: true}}", {"entries": {"count": 3, "kind": {"wide": True}}}),
    ],
)
def test_an_override_is_read_as_the_field_wants_it(override: str, changed: dict[str, Any]) -> None:
    assert with_overrides(Settings(), [override]) == replace(Settings(), **changed)


def test_a_later_override_wins_and_limits_are_checked_together() -> None:
    assert with_overrides(Settings(), ["name=a", "name=b"]).name == "b"
    assert with_overrides(Settings(), ["planner={horizon: 2, samples: 3}", "planner.samples=5"]).planner == Planner(
        2, 5
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("planner.horzion=3", "--set: planner.horzion is not a setting; did you mean horizon?"),
        ("zzz=3", "--set: zzz is not a setting; known: planner, fallback, widths"),
        ("planner.horizon=ten", "--set: planner.horizon must be a whole number, came 'ten'"),
        ("planner.horizon=2.5", "--set: planner.horizon must be a whole number, came 2.5"),
        ("planner.horizon=true", "--set: planner.horizon must be a whole number, came true"),
        ("planner.horizon=.inf", "--set: planner.horizon must be a whole number, came inf"),
        ("planner.horizon=", "--set: planner.horizon must be a whole number, came nothing"),
        ("planner.noise=.nan", "--set: planner.noise must be a number, came nan"),
        ("planner.kind=cme", "--set: planner.kind must be one of cem, icem, mppi, came 'cme'"),
        ("planner=cem", "--set: planner must be a group of settings, came 'cem'"),
        ("widths=3", "--set: widths must be a list, such as [1, 2], came 3"),
        ("widths=[3, x]", "--set: widths.1 must be a whole number, came 'x'"),
        ("limits=[1]", "--set: limits must be a list of 2, came [1]"),
        ("limits=[2, 1]", "--set: limits must rise, came (2.0, 1.0)"),
        ("name=12", "--set: name must be text, came 12"),
        ("camera=yes", "--set: camera must be true or false, came 'yes'"),
        ("camera=1", "--set: camera must be true or false, came 1"),
        ("entries=3", "--set: entries must be entries by name, such as {vehicles_count: 20}, came 3"),
        ("entries={1: 2}", "--set: entries must be entries by name"),
        (
            "planner.horizon",
            "an override must read key=value, such as agent.planner.horizon=12; came 'planner.horizon'",
        ),
        ("name=[", "name=[:1: not valid YAML"),
    ],
)
def test_a_bad_override_is_refused_with_key_and_reason(override: str, message: str) -> None:
    assert refusal(override).startswith(message)
    assert "\n" not in refusal(override)


def test_a_missing_setting_without_default_is_named() -> None:
    with pytest.raises(ValueError, match=r"^x\.yaml: task is required$"):
        from_mapping(Addressed, {}, "x.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", r":3: not valid YAML: "),
        ("a: 1\na: 2\n", r":1: not valid YAML: a key is given twice$"),
        ("a: 1\nb: @x\n", r":2: not valid YAML: "),
        ("a: \x07\n", r": not valid YAML: "),
        ("- a\n- b\n", r": must hold `key: value` lines, holds \['a', 'b'\]$"),
        ("b: !!python/object/apply:os.getcwd []\n", r":1: not valid YAML: "),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# nothing yet\n")
    assert read_yaml(tmp_path / "x.yaml") == {}


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ValueError, match=r"x\.yaml: not valid YAML: "):
        read_yaml(tmp_path / "x.yaml")


def test_a_mapping_holds_only_what_json_knows() -> None:
    assert to_mapping(Settings())["planner"] == {"horizon": 7, "samples": 256, "noise": 2.0, "kind": "cem"}
    assert to_mapping(Settings())["limits"] == [-1.0, 1.0]


numbers = st.floats(allow_nan=False)
planners = st.builds(Planner, st.integers(), st.integers(), numbers, st.sampled_from(["cem", "icem", "mppi"]))


@given(
    st.builds(
        Settings,
        planner=planners,
        fallback=st.none() | planners,
        widths=st.lists(st.integers(), max_size=3).map(tuple),
        limits=st.tuples(numbers, numbers).map(sorted).map(tuple),
        name=st.text()
        | st.sampled_from(["1e-3", "no", "null", "~", "0x1f", "1:30", "- a", "2001-01-01", ".inf", "<<"]),
        camera=st.booleans(),
        rate=numbers | st.just("auto"),
        stages=st.lists(planners, max_size=2).map(tuple),
        entries=st.dictionaries(st.just("count"), st.integers() | st.lists(st.booleans()), min_size=1),
    )
)
def test_written_and_read_again_is_the_same(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> None:
    file = tmp_path_factory.getbasetemp() / "settings.yaml"
    file.write_text(to_yaml(settings), encoding="utf-8", newline="")
    assert from_mapping(Settings, read_yaml(file), "settings.yaml") == settings


def test_what_travels_with_the_package_is_found_in_a_source_tree() -> None:
    assert shipped("constraints.txt") == Path(__file__).parents[1] / "constraints.txt"
