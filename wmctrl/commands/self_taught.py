"""What `wm demo --from-nothing` does: an arm and a car learn to drive at the same time, and a report shows how."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from wmctrl.commands import logbook, training
from wmctrl.commands.evaluation import Evaluation, evaluate
from wmctrl.commands.report import lead, write_report
from wmctrl.commands.stopping import told_to_stop
from wmctrl.commands.typed import wm
from wmctrl.config import resolve

PATIENCE = 60.0
"""Time the second process has to finish its step and save [s]."""

Say = Callable[[str], None]
"""Takes a line for the person who watches."""


@dataclass(frozen=True)
class Lesson:
    """A task to learn, with what differs from its settings."""

    task: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class SelfTaught:
    """What is learned, and for how long; made for five minutes on two cores."""

    arm: Lesson = Lesson(
        "FetchReach-v4", ("schedule.steps=2000", "schedule.evaluate_every=200", "schedule.evaluate_episodes=10")
    )
    """Learned until it reaches in every episode of a look."""
    arm_seconds: float = 175.0
    """When the arm's training is stopped, whatever it has learned by then, counted from its start [s]."""
    car: Lesson = Lesson(
        "parking-v0", ("schedule.steps=6000", "schedule.evaluate_every=500", "schedule.evaluate_episodes=3")
    )
    """Learned beside the arm, on the other core, for as long as there is time."""
    car_seconds: float = 175.0
    """When the car's training is stopped, counted from its start [s]."""
    episodes: int = 10
    """Episodes driven afterwards, each."""
    seed: int = 0

    def run(self, root: Path, say: Say) -> Path:
        """Learn, drive and write the report, whose path is returned.

        Args:
            root: Folder for the runs and the report.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or a closed terminal; both runs are saved.
            ValueError: A training failed; says where its log is.
        """
        arm, car = (self._new_run(lesson, root) for lesson in (self.arm, self.car))
        try:
            return self._run(arm, car, root, say)
        except KeyboardInterrupt:
            again = (f"{wm()} train --resume {run}" for run in (arm, car))
            raise KeyboardInterrupt(f"stopped; what was learned is saved: {', '.join(again)}") from None

    def _run(self, arm: Path, car: Path, root: Path, say: Say) -> Path:
        began = time.monotonic()
        say(f"{self.arm.task} and {self.car.task} learn from nothing, one core each; about five minutes in all.")
        say(f"{self.car.task} learns in the background, in {car}")
        with beside(car) as car_training:
            say(f"{self.arm.task} learns here, in {arm}, until it reaches every time")
            self._learn(arm)
            found = [self._drive(arm, say)]
            self._await(car_training, car, began)
        if car_training.returncode:
            raise ValueError(f"the training of {self.car.task} failed; see {car / 'train.log'}")
        found.append(self._drive(car, say))
        write_report(root / "report.html", "An arm and a car that taught themselves to drive", found)
        say(f"Done in {logbook.duration(time.monotonic() - began)}. Look at {root / 'report.html'}")
        say("\n".join(["", "Next:", *next_commands(arm, car, self.car.task)]))
        return root / "report.html"

    def _new_run(self, lesson: Lesson, root: Path) -> Path:
        return training.new_run(resolve(lesson.task, overrides=lesson.overrides), self.seed, "cpu", root)

    def _drive(self, run: Path, say: Say) -> Evaluation:
        say(f"{run.parent.name} drives {self.episodes} episodes ...")
        found = evaluate(run, self.episodes, self.seed)
        say(lead(found))
        if found.note:
            say(found.note)
        return found

    def _learn(self, run: Path) -> None:
        """Train the arm until a look goes well, time is up or the last step is done."""
        end = time.monotonic() + self.arm_seconds

        def enough(news: Mapping[str, float]) -> bool:
            return all_succeeded(news) or time.monotonic() > end

        trainer = training.train(run, enough=enough)
        if trainer.step < trainer.schedule.steps and not enough(trainer.metrics):
            raise KeyboardInterrupt  # what `train` made a quiet stop of

    def _await(self, car_training: "subprocess.Popen[bytes]", car: Path, began: float) -> None:
        """Wait for the car's training while there is time, showing how far it is."""
        with Progress(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True)) as bar:
            shown = bar.add_task("", total=self.car_seconds)
            while car_training.poll() is None and (elapsed := time.monotonic() - began) < self.car_seconds:
                left = logbook.duration(self.car_seconds - elapsed)
                told = f"{self.car.task}: {standing(logbook.logged(car))}, {left} more"
                bar.update(shown, completed=elapsed, description=told)
                time.sleep(0.5)


def all_succeeded(news: Mapping[str, float]) -> bool:
    """Whether the newest look saw nothing but success."""
    return news.get("success", 0.0) >= 1.0


def standing(rows: Sequence[Mapping[str, float]]) -> str:
    """How far a training is by its rows, such as `1,500 steps, success 0.33`."""
    if not rows:
        return "starts"
    looks = [row["success"] for row in rows if "success" in row]
    return f"{rows[-1]['step']:,} steps" + (f", success {looks[-1]:.2f}" if looks else "")


@contextmanager
def beside(run: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run's training in a second process, which is told to save and stop on leaving, and waited for.

    SIGTERM and a closed terminal raise KeyboardInterrupt as Ctrl-C does, so that they do not leave it behind.
    """
    with told_to_stop(signal.default_int_handler):
        process = training.in_background(run)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def next_commands(arm: Path, car: Path, car_task: str) -> list[str]:
    """What to type next, each line with what it does."""
    return [
        f"  {wm()} eval {arm}",
        "      drives the arm 100 times, for narrower intervals",
        f"  {wm()} train --resume {car}",
        f"      goes on teaching the car; then: {wm()} eval {car}",
        f"  {wm()} train --env {car_task} --seed 1",
        "      learns to park from nothing, with another seed",
        f"  {wm()} envs",
        "      lists what else can be learned",
    ]
