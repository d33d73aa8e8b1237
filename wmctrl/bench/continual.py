"""What elastic weight consolidation and replay are worth by themselves: digits learned task after task, with one head.

Permuted and split digits where the task is never told, after van de Ven and Tolias 2019, "Three scenarios for
continual learning" (domain-incremental). Their images are MNIST's; these are those of `wmctrl.bench.digits`, which are
fewer, coarser and tested on other writers: what compares is how far an arm stays below joint training.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmctrl.bench import digits, trials
from wmctrl.bench.classifier import accuracy, gradient, initial, single_gradients
from wmctrl.bench.digits import SIDE, Samples
from wmctrl.commands import intervals, provenance
from wmctrl.runtime.descent import CLIP, Adam
from wmctrl.runtime.ewc import Consolidation, fisher_diagonal
from wmctrl.runtime.files import write_atomic

SCHEMA = 1
TUNED_ON = 100
"""Seed that settings and strengths were chosen on, from which no figure comes."""


@dataclass(frozen=True)
class Settings:
    """What is the same for all arms, of the classifier and of how it is taught."""

    width: int = 256
    """Of both hidden layers."""
    batch: int = 128
    """Images a step; where some are stored, half of them are."""
    rate: float = 1e-3
    """Learning rate of Adam, which begins anew with every task."""
    weighed: int = 1000
    """Images of a task whose gradients tell what matters to it."""
    training_images: int = digits.TRAINING_IMAGES
    test_images: int = digits.TEST_IMAGES


@dataclass(frozen=True)
class Task:
    """Images of one kind."""

    training: Samples
    test: Samples


def permuted(training: Samples, test: Samples, rng: np.random.Generator) -> list[Task]:
    """Ten times all digits, the pixels in another order each time."""
    orders = [rng.permutation(SIDE * SIDE) for _ in range(10)]
    return [Task(*(Samples(part.images[:, order], part.labels) for part in (training, test))) for order in orders]


def split(training: Samples, test: Samples, rng: np.random.Generator) -> list[Task]:
    """Two digits a task, the smaller of which is always class 0 and the other class 1."""
    return [Task(*(_pair(part, number) for part in (training, test))) for number in range(5)]


def _pair(of: Samples, number: int) -> Samples:
    chosen = of.labels // 2 == number
    return Samples(of.images[chosen], of.labels[chosen] % 2)


@dataclass(frozen=True)
class Protocol:
    """Tasks that are learned one after another."""

    name: str
    tasks: Callable[[Samples, Samples, np.random.Generator], list[Task]]
    """Of all images to learn from, and all to be tested with."""
    classes: int
    """That the head tells apart."""
    steps: int
    """Of gradient descent a task; joint training takes as many in all."""
    strengths: Mapping[str, float]
    """lambda of the arms that consolidate, by name: of some that differ by factors of 2 to 100, what kept most on the
    seed TUNED_ON. Split digits want far more, as two of them are told apart so surely that hardly anything matters."""
    published: Mapping[str, float]
    """Accuracy on real MNIST by van de Ven and Tolias 2019 [%]."""


@dataclass(frozen=True)
class Arm:
    """A way to learn tasks one after another."""

    name: str
    decay: float | None = None
    """Of `Consolidation`, where the protocol has a strength for this arm."""
    stored: int = 0
    """Images of earlier tasks that are kept and learned again."""


STORED = 2000
ARMS = (
    Arm("fine-tuning"),
    Arm("EWC"),
    Arm("online EWC", decay=1.0),
    Arm("replay", stored=STORED),
    # What is stored tells anew what matters to every task, about the newest parameters: nothing older need be held.
    Arm("EWC + replay", decay=0.0, stored=STORED),
)
JOINT = "joint training"
"""From scratch on all tasks at once, which nothing that learns them in turn is expected to surpass."""
PROTOCOLS = (
    Protocol(
        "permuted",
        permuted,
        classes=10,
        steps=500,
        strengths={"EWC": 200.0, "online EWC": 400.0, "EWC + replay": 100.0},
        published={"EWC": 94.31, "online EWC": 94.42, "SI": 95.33},
    ),
    Protocol(
        "split",
        split,
        classes=2,
        steps=300,
        strengths={"EWC": 1e10, "online EWC": 1e10, "EWC + replay": 100.0},
        published={},
    ),
)


class Memory:
    """Some images of every task so far, as many of each."""

    def __init__(self, size: int) -> None:
        """
        Args:
            size: Images at most.
        """
        self.size = size
        self.parts: list[Samples] = []

    def add(self, training: Samples, rng: np.random.Generator) -> None:
        """Keep some of a task too, and fewer of all others."""
        share = self.size // (len(self.parts) + 1)
        order = rng.permutation(len(training.labels))
        # Every part is in random order, so that its beginning is a random choice.
        self.parts = [
            Samples(part.images[:share], part.labels[:share])
            for part in (*self.parts, Samples(training.images[order], training.labels[order]))
        ]


class Learner:
    """A classifier, what holds its parameters, and what it has stored."""

    def __init__(self, protocol: Protocol, arm: Arm, settings: Settings, rng: np.random.Generator) -> None:
        self.settings, self.rng = settings, rng
        self.parameters = initial((SIDE * SIDE, settings.width, settings.width, protocol.classes), rng)
        self.consolidation = Consolidation(protocol.strengths.get(arm.name, 0.0), arm.decay)
        self.memory = Memory(arm.stored)

    def learn(self, training: Samples, steps: int) -> None:
        """Go down the loss on new images, on half as many of them where others are stored, and hold what is held."""
        adam, size = Adam(self.settings.rate, CLIP), self.settings.batch
        stored = Samples.joined(self.memory.parts) if self.memory.parts else None
        for _ in range(steps):
            if stored is None:
                batch = training.some(self.rng, size)
            else:
                batch = Samples.joined([training.some(self.rng, size // 2), stored.some(self.rng, size - size // 2)])
            found = self.consolidation.added(self.parameters, gradient(self.parameters, batch))
            self.parameters = adam.step(self.parameters, found)

    def finish(self, training: Samples) -> None:
        """Store some of a task, and hold on to what matters to it; to all that is stored where something is."""
        if self.memory.size:
            self.memory.add(training, self.rng)
        if self.consolidation.strength:
            known = Samples.joined(self.memory.parts) if self.memory.parts else training
            images = known.some(self.rng, self.settings.weighed).images
            self.consolidation.keep(
                self.parameters, fisher_diagonal(single_gradients(self.parameters, images, self.rng))
            )


@dataclass(frozen=True)
class Finding:
    """What one arm knew."""

    protocol: str
    arm: str
    seed: int
    learned: tuple[float, ...]
    """Accuracy on each task just after it was learned; empty where all were learned at once."""
    kept: tuple[float, ...]
    """Accuracy on each task after the last."""
    seconds: float
    """That learning and tests took."""

    @property
    def accuracy(self) -> float:
        """Mean over all tasks after the last."""
        return float(np.mean(self.kept))


def measure(protocols: Sequence[Protocol], seeds: Sequence[int], settings: Settings) -> Iterator[Finding]:
    """Every arm on the same tasks, seed after seed.

    Raises:
        ValueError: A seed is repeated or too large, settings were chosen on it, or scikit-learn is not installed.
    """
    trials.require_seeds(seeds)
    if TUNED_ON in seeds:
        raise ValueError(f"settings and strengths were chosen on seed {TUNED_ON}; measure with others")
    for protocol in protocols:
        for seed in seeds:
            tasks = made(protocol, settings, seed)
            for arm in ARMS:
                yield in_turn(protocol, arm, settings, tasks, seed)
            yield at_once(protocol, settings, tasks, seed)


def made(protocol: Protocol, settings: Settings, seed: int) -> list[Task]:
    """The tasks of one seed."""
    rng = np.random.default_rng((seed, 0))
    training, test = digits.sources()
    images = digits.bent(training, settings.training_images, rng), digits.bent(test, settings.test_images, rng)
    return protocol.tasks(*images, rng)


def in_turn(protocol: Protocol, arm: Arm, settings: Settings, tasks: Sequence[Task], seed: int) -> Finding:
    """Learn one task after another."""
    began, learned = time.monotonic(), []
    learner = Learner(protocol, arm, settings, np.random.default_rng((seed, 1)))
    for task in tasks:
        learner.learn(task.training, protocol.steps)
        learned.append(accuracy(learner.parameters, task.test))
        learner.finish(task.training)
    kept = tuple(accuracy(learner.parameters, task.test) for task in tasks)
    return Finding(protocol.name, arm.name, seed, tuple(learned), kept, time.monotonic() - began)


def at_once(protocol: Protocol, settings: Settings, tasks: Sequence[Task], seed: int) -> Finding:
    """Learn all tasks together."""
    began = time.monotonic()
    learner = Learner(protocol, Arm(JOINT), settings, np.random.default_rng((seed, 1)))
    learner.learn(Samples.joined([task.training for task in tasks]), protocol.steps * len(tasks))
    kept = tuple(accuracy(learner.parameters, task.test) for task in tasks)
    return Finding(protocol.name, JOINT, seed, (), kept, time.monotonic() - began)


COLUMNS = ("arm", "all tasks [%]", "first task [%]", "just learned [%]", "published on MNIST [%]")
LEGEND = (
    "All tasks, and the first, after the last was learned; mean of the seeds with its 95% interval. Published: van de"
    " Ven and\nTolias 2019, on real MNIST with larger networks. These are other digits: compare how far an arm stays"
    " below joint\ntraining."
)
"""What a table says."""


def rows(protocol: Protocol, found: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Every arm that was measured under a protocol, as COLUMNS name it, and what was published of others."""
    arms: dict[str, list[Finding]] = {}
    for one in found:
        if one.protocol == protocol.name:
            arms.setdefault(one.arm, []).append(one)
    published = {name: f"{value:.2f}" for name, value in protocol.published.items()}
    ours = [(name, *_figures(seeds), published.pop(name, "")) for name, seeds in arms.items()]
    return ours + [(name, "", "", "", value) for name, value in published.items()]


def _figures(seeds: Sequence[Finding]) -> tuple[str, ...]:
    learned = [float(np.mean(one.learned)) for one in seeds if one.learned]
    columns = ([one.accuracy for one in seeds], [one.kept[0] for one in seeds], learned)
    return tuple(_percent(column) if column else "" for column in columns)


def told(one: Finding) -> str:
    """In a line."""
    figures = f"all tasks {one.accuracy:.2%}  first task {one.kept[0]:.2%}"
    return f"{one.protocol}, {one.arm}, seed {one.seed}: {figures}  {one.seconds:.0f} s"


def _percent(values: Sequence[float]) -> str:
    value, low, _ = intervals.mean(values)
    return f"{100 * value:.2f}" + (f" ± {100 * (value - low):.2f}" if len(values) > 1 else "")


def write_json(path: Path, settings: Settings, found: Sequence[Finding]) -> None:
    """Keep every accuracy that was measured, and how."""
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "command": provenance.command_line(),
        "versions": provenance.versions("scikit-learn", "scipy"),
        "code": provenance.code(Path(__file__).parent),
        "tuned_on_seed": TUNED_ON,
        "settings": asdict(settings),
        "protocols": [
            {name: value for name, value in vars(protocol).items() if name != "tasks"} for protocol in PROTOCOLS
        ],
        "arms": [asdict(arm) for arm in ARMS],
        "findings": [asdict(one) | {"accuracy": one.accuracy} for one in found],
    }
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())
