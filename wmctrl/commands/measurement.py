"""A bundle measured as it is, the way its card tells: episodes with fixed seeds, beside random actions."""

import contextlib
from pathlib import Path

from wmctrl.commands import provenance
from wmctrl.commands.bundle_driver import BundleDriver
from wmctrl.commands.cards import PLANNER, SCHEMA, Measured
from wmctrl.commands.driving import bundle_in, matching_task
from wmctrl.commands.evaluation import baseline, score_json, scored
from wmctrl.runtime import manifest
from wmctrl.runtime.controller import Controller
from wmctrl.runtime.keeping import origin_of


def measure(bundle: Path, episodes: int, seed: int, env: str | None = None) -> Measured:
    """Drive episodes with a bundle, and the first of them with random actions.

    Args:
        bundle: Its folder, that of its run, an archive, or a name of a controller that comes with the package.
        env: The task, for those that are not ours to import.

    Raises:
        ValueError: There is none, it is refused, or was made for another task.
        KeyboardInterrupt: Ctrl-C.
    """
    folder = bundle_in(bundle)
    controller = Controller.load(folder, in_time=False)
    told = controller.bundle.manifest.task
    with contextlib.closing(matching_task(told, env)) as task:
        score, _ = scored(PLANNER, BundleDriver(controller), task, episodes, seed)
        if len(score.outcomes) < episodes:
            raise KeyboardInterrupt(f"stopped after {len(score.outcomes)} of {episodes} episodes")
        scores = (score, baseline(task, episodes, seed))
        drivers = {one.driver: score_json(one, task.task_spec) for one in scores}
    seeds, origin = range(seed, seed + episodes), origin_of((folder / manifest.NAME).read_bytes())
    command, versions = provenance.command_line(), provenance.versions()
    return Measured(SCHEMA, told.id, origin, list(seeds), command, versions, drivers)
