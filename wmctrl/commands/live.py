"""What `wm live` does: a controller drives on the wall clock, and a web page shows it and changes the plant."""

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from wmctrl.commands import driving, training
from wmctrl.commands.deployment import HALF
from wmctrl.commands.realtime import Timing
from wmctrl.live.server import LOOPBACK, Server
from wmctrl.live.session import Session
from wmctrl.runtime.adaptation import Adaptation
from wmctrl.runtime.adapter import Adapter
from wmctrl.runtime.assurance import Assured
from wmctrl.runtime.learning import Learning

LAST_PORT = 65_535
"""Of TCP."""


def show(
    folder: Path,
    say: Callable[[str], None],
    *,
    env: str | None,
    seed: int,
    budget_ms: float | None,
    host: str,
    port: int,
    adapt: bool,
) -> None:
    """Drive until Ctrl-C, and show it to whoever opens the address that is said.

    Raises:
        ValueError: The bundle does not drive here, or not in that time, or cannot learn though it is asked to, or there
            is no such port.
        OSError: Another program listens there.
    """
    if not 0 <= port <= LAST_PORT:
        raise ValueError(f"--port must be from 0 to {LAST_PORT:,}, came {port}")
    controller = driving.load(folder, policy_only=False, provider=None, threads=1, public_key_hex=None)
    told = controller.bundle.manifest.task
    given = 0.5 * told.control_period if budget_ms is None else budget_ms / 1000.0
    budget = Timing(1.0 / told.control_period, given).wanted
    with contextlib.closing(driving.matching_task(told, env)):
        settings = driving.settings_of(told)
    adapter = Adapter.of(controller, Adaptation()) if adapt else None
    controller.latencies(20)  # so that it is warm, and knows how long it takes
    session = Session(Assured(controller), partial(training.make_task, settings), adapter, budget, seed)
    learning = Learning(adapter, HALF) if adapter is not None else None
    try:
        server = Server(session, session.start(), budget, host=host, port=port)
        threading.Thread(target=server.serve_forever, name="serving", daemon=True).start()
        say(f"{told.id} drives; {1e3 * budget:g} ms for a decision.")
        if host != LOOPBACK:
            say(f"Whoever reaches {host} and knows the address may watch and change it.")
        say(f"Open {server.address}")
        say("Ctrl-C stops it.")
        try:
            session.thread.join()
        finally:
            server.close()
    finally:
        session.close()
        if learning is not None:
            learning.close()
            if learning.problem:
                say(f"Learning stopped: {learning.problem}")
    if session.standing.problem:
        raise ValueError(session.standing.problem)
