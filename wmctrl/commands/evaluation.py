"""What `wm eval` does: episodes with fixed seeds, figures with intervals, films, and prediction against reality."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from wmctrl_envs.task import Task, TaskSpec
from wmctrl_export.parity import in_torch

from wmctrl.commands import exporting, intervals, provenance, run_folder, training, variant
from wmctrl.commands.bundle_driver import BundleDriver
from wmctrl.commands.intervals import Estimate
from wmctrl.commands.video import film
from wmctrl.config import Config
from wmctrl.learning import arithmetic
from wmctrl.learning.agent import Agent
from wmctrl.learning.evaluate import Driver, Episode, Outcome, RandomDriver, drive_episode
from wmctrl.learning.foresight import Foresight, Outlook, foresee, look_ahead
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.files import write_atomic
from wmctrl.runtime.latency import Latency

State = TypeVar("State")
RANDOM = "random actions"
BASELINE_EPISODES = 20
"""Most episodes of random actions; slow plants would otherwise take minutes over them."""
KEPT_EPISODES = 10
"""Episodes whose observations are kept to predict from."""
EPISODES = 100
"""How many are driven where nobody says otherwise."""
UNFINISHED = "unfinished.json"
"""Where figures stand until `eval.json` is whole: what is stopped early replaces no earlier evaluation."""
SCHEMA = 1
BAR = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("episodes"),
    TimeRemainingColumn(),
)
"""What the line shows while episodes are driven."""


@dataclass(frozen=True)
class Score:
    """How well a driver drives."""

    driver: str
    outcomes: Sequence[Outcome]
    decisions: NDArray[np.float64]
    """Time of every decision [s]."""
    seconds: float
    """Time of all episodes, plant included [s]."""

    def timing(self) -> dict[str, float]:
        """Decisions per second with the plant's own time included, and time per decision without it."""
        found = Latency.of(self.decisions)
        return {"decisions_per_s": len(self.decisions) / self.seconds, "ms_p50": found.p50, "ms_p99": found.p99}


def figures(outcomes: Sequence[Outcome], spec: TaskSpec) -> dict[str, Estimate]:
    """Figures of episodes with their 95 % intervals; rates of what the task does not define are left out."""
    found = {}
    if spec.success:
        found["success"] = intervals.rate(sum(outcome.success for outcome in outcomes), len(outcomes))
    if spec.failure:
        found["failure"] = intervals.rate(sum(outcome.failure for outcome in outcomes), len(outcomes))
    found["return"] = intervals.mean([outcome.reward for outcome in outcomes])
    found["length"] = intervals.mean([float(outcome.length) for outcome in outcomes])
    return found


@dataclass(frozen=True)
class Film:
    """An episode to look at."""

    name: str
    """`best` or `worst`."""
    number: int
    """Which episode it is."""
    outcome: Outcome
    content: bytes
    """Animated WebP."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that was found out about a run."""

    folder: Path
    """Where it is kept."""
    config: Config
    facts: dict[str, Any]
    """What the run recorded of itself when it began."""
    spec: TaskSpec
    step: int
    """Environment steps the agent had learned from."""
    seed: int
    """Episode i starts from this plus i."""
    scores: Sequence[Score]
    """The agent's first, then the baselines'."""
    foresight: Foresight | None = None
    """None where proprioception is not observed or no episode was long enough."""
    outlook: Outlook | None = None
    """None without a camera, or where the first episode was too short."""
    films: Sequence[Film] = ()
    note: str = ""
    """What went wrong with the plant, or could not be shown, and why."""

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder.parent


def evaluate(
    run: Path,
    episodes: int = EPISODES,
    seed: int = 0,
    *,
    policy_only: bool = False,
    beside_torch: bool = False,
    overrides: Sequence[str] = (),
) -> Evaluation:
    """Drive by a run's bundle, write `eval/` in the run's folder, and return what is in it.

    What is asked otherwise is in the name, such as `eval-objective.action_rate=0.1-policy-20-episodes/`, so that only
    the same evaluation replaces an earlier one.

    Args:
        policy_only: Drive the reactive policy.
        beside_torch: Drive the same episodes in PyTorch as well, with the same noise.
        overrides: `a.b=c` differences of how is planned and what for; their bundle is kept beside what they give.

    Raises:
        ValueError: No such run, no checkpoint, a damaged one, or nothing to evaluate.
        KeyboardInterrupt: Ctrl-C; the episodes driven until then are in UNFINISHED, if there are any.
    """
    if episodes < 1:
        raise ValueError(f"--episodes must be at least 1, came {episodes}")
    learned, facts = run_folder.open_run(run)
    config = variant.planning_otherwise(learned, overrides)
    changed = variant.differences(learned, config)
    arithmetic.prepare()
    with contextlib.closing(training.make_task(config.task)) as task:
        origin = exporting.Origin.of(run, config, facts, task.task_spec, changed)
        agent = origin.agent
        if policy_only and not agent.config.learn_behavior:
            raise ValueError("this run learned no policy (agent.learn_behavior is false); evaluate it without --policy")
        bundle = exporting.up_to_date(origin)
        driver = BundleDriver(Controller.load(bundle, policy_only=policy_only, in_time=False))
        precision = driver.controller.bundle.manifest.precision
        kinds = {"policy": policy_only, "torch": beside_torch, precision: precision != "fp32"}
        folder = named(run, *changed, *(kind for kind, asked in kinds.items() if asked), episodes=episodes, seed=seed)
        name = "planner" if driver.controller.planner else "policy"
        score, kept = scored(name if precision == "fp32" else f"{name}, {precision}", driver, task, episodes, seed)
        step = int(origin.made_by["steps"])
        found = Evaluation(folder, config, facts, task.task_spec, step, seed, (score,), note=_breakdowns(score))
        _keep(found, episodes)
        if beside_torch:
            reference = BundleDriver(in_torch(agent, driver.controller))
            again, _ = scored(f"{score.driver} in PyTorch", reference, task, episodes, seed)
            found = dataclasses.replace(found, scores=(*found.scores, again))
            _keep(found, episodes)
        found = dataclasses.replace(found, scores=(*found.scores, baseline(task, episodes, seed)))
        _keep(found, min(episodes, BASELINE_EPISODES))
        foresight = foresee(agent, kept, _horizon(agent, kept), seed)
        outlook = look_ahead(agent, kept[0], agent.config.planner.horizon)
        found = dataclasses.replace(found, foresight=foresight, outlook=outlook)
        _write(found)
        (found.folder / UNFINISHED).unlink(missing_ok=True)
        return _with_films(found, driver, task)


def named(run: Path, *otherwise: str, episodes: int = EPISODES, seed: int = 0) -> Path:
    """Where an evaluation is kept, by what it does otherwise than `wm eval RUN` alone."""
    counts = {f"{episodes}-episodes": episodes != EPISODES, f"seed-{seed}": seed != 0}
    told = [*otherwise, *(count for count, differs in counts.items() if differs)]
    return variant.place(run, told) if told else run / "eval"


def _write(found: Evaluation, name: str = "eval.json") -> None:
    try:
        write_atomic(found.folder / name, json.dumps(to_json(found), indent=1).encode())
    except OSError as error:
        shown = "; ".join(f"{score.driver}: {so_far(score.outcomes, found.spec)}" for score in found.scores)
        raise ValueError(
            f"{found.folder / name}: {error.strerror}; mend that and evaluate again. Seen: {shown}"
        ) from error


def _keep(found: Evaluation, episodes: int) -> None:
    """Write what was driven, and stop where Ctrl-C left the last score short of its episodes."""
    _write(found, UNFINISHED)
    score = found.scores[-1]
    driven = len(score.outcomes)
    if driven < episodes:
        where = found.folder / UNFINISHED
        raise KeyboardInterrupt(f"stopped after {driven} of {episodes} episodes of the {score.driver}, kept in {where}")


def _breakdowns(score: Score) -> str:
    """How many episodes ended because the plant broke down, and why; nothing where none did."""
    causes = [outcome.breakdown for outcome in score.outcomes if outcome.breakdown]
    return f"{len(causes)} of {len(score.outcomes)} episodes broke the plant down: {causes[0]}" if causes else ""


def scored(name: str, driver: Driver[State], task: Task, episodes: int, seed: int) -> tuple[Score, list[Episode]]:
    """A driver's score, and its first episodes whole; a bar shows how far it is.

    Ctrl-C leaves it at the episodes driven until then; before the end of the first it is raised.
    """
    outcomes: list[Outcome] = []
    decisions: list[NDArray[np.float64]] = []
    kept: list[Episode] = []
    began = time.perf_counter()
    with Progress(*BAR, console=Console(stderr=True)) as bar:
        shown = bar.add_task(name, total=episodes)
        for number in range(episodes):
            try:
                episode = drive_episode(driver, task, seed, number)
            except KeyboardInterrupt:
                if not outcomes:
                    raise
                break
            outcomes.append(episode.outcome)
            decisions.append(episode.seconds)
            kept += [episode] if number < KEPT_EPISODES else []
            bar.update(shown, advance=1, description=f"{name}: {so_far(outcomes, task.task_spec)}")
    if not sum(map(len, decisions)):
        raise ValueError(f"no episode began: {outcomes[0].breakdown}")
    return Score(name, outcomes, np.concatenate(decisions), time.perf_counter() - began), kept


def so_far(outcomes: Sequence[Outcome], spec: TaskSpec) -> str:
    """Means of the episodes driven, such as `return -1.52, success 0.98`."""
    means = {"return": np.mean([outcome.reward for outcome in outcomes])}
    if spec.success:
        means["success"] = np.mean([outcome.success for outcome in outcomes])
    return ", ".join(f"{name} {value:.2f}" for name, value in means.items())


def _horizon(agent: Agent, episodes: Sequence[Episode]) -> int:
    """Steps to predict: twice what is planned, or what planning needs where every episode is shorter than that."""
    planned = agent.config.planner.horizon
    longest = max(episode.outcome.length for episode in episodes)
    return 2 * planned if longest >= 3 * planned else planned


def _with_films(found: Evaluation, driver: Driver[State], task: Task) -> Evaluation:
    """The best and the worst episode driven again, this time filmed."""
    outcomes = found.scores[0].outcomes
    order = sorted(range(len(outcomes)), key=lambda i: merit(outcomes[i]))
    wanted = {"best": order[-1], "worst": order[0]} if len(order) > 1 else {"best": order[0]}
    films = []
    for stale in found.folder.glob("*.webp"):  # of an earlier evaluation
        stale.unlink()
    try:
        for name, number in wanted.items():
            content = filmed(driver, task, found.seed, number, outcomes[number])
            write_atomic(found.folder / f"{name}.webp", content)
            films.append(Film(name, number, outcomes[number], content))
    except (ValueError, OSError) as error:
        notes = (found.note, f"not filmed: {error}")
        return dataclasses.replace(found, films=films, note="; ".join(filter(None, notes)))
    return dataclasses.replace(found, films=films)


def merit(outcome: Outcome) -> tuple[bool, bool, float]:
    """What episodes are ranked by: success, then no failure, then return."""
    return outcome.success, not outcome.failure, outcome.reward


def filmed(driver: Driver[State], task: Task, seed: int, number: int, outcome: Outcome) -> bytes:
    """A film of an episode driven before, which must go as it went then.

    Raises:
        ValueError: The plant gives no pictures, or does not repeat.
    """
    pictures: list[NDArray[np.uint8]] = []
    again = drive_episode(driver, task, seed, number, lambda shown: pictures.append(picture(shown)))
    if again.outcome != outcome:
        raise ValueError(
            f"{task.task_spec.id} does not repeat: episode {number} went {again.outcome}, and {outcome} before, from"
            " the same seed; let it draw from its own np_random alone, and keep nothing over a reset"
        )
    return film(pictures, task.task_spec.control_period)


def picture(task: Task) -> NDArray[np.uint8]:
    """The plant as seen now (h, w, 3)."""
    seen = task.render()
    if not isinstance(seen, np.ndarray):
        raise ValueError(f"{task.task_spec.id} gives no pictures")
    return seen


def to_json(found: Evaluation) -> dict[str, Any]:
    """What is kept in `eval.json`."""
    return {
        "schema": SCHEMA,
        "task": found.spec.id,
        "trained_steps": found.step,
        "seeds": [found.seed + number for number in range(len(found.scores[0].outcomes))],
        "command": provenance.command_line(),
        "versions": provenance.versions(),
        "drivers": {score.driver: score_json(score, found.spec) for score in found.scores},
        "foresight": None if found.foresight is None else _foresight_json(found.foresight, found.spec),
    }


def baseline(task: Task, episodes: int, seed: int) -> Score:
    """The score of random actions in the first of some episodes, BASELINE_EPISODES at most."""
    random = RandomDriver(len(task.task_spec.action))
    return scored(RANDOM, random, task, min(episodes, BASELINE_EPISODES), seed)[0]


def score_json(score: Score, spec: TaskSpec) -> dict[str, Any]:
    return {
        "figures": {name: figure._asdict() for name, figure in figures(score.outcomes, spec).items()},
        "timing": score.timing(),
        "episodes": [dataclasses.asdict(outcome) for outcome in score.outcomes],
    }


def _foresight_json(foresight: Foresight, spec: TaskSpec) -> dict[str, Any]:
    rmse = dict(zip((element.name for element in spec.proprio), foresight.rmse.T.tolist(), strict=True))
    return {
        "rmse": rmse,
        "error": foresight.error.tolist(),
        "error_if_nothing_changes": foresight.still_error.tolist(),
        "covered": foresight.covered,
    }
