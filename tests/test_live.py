"""A plant that is watched and changed in a browser: what it shows, what it takes, and whom it answers."""

import contextlib
import http.client
import io
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from PIL import Image

from tests.test_archive import ARM
from tests.tiny_bundle import controller, made
from wmctrl.commands import driving, live, training
from wmctrl.live.server import LOOPBACK, WHOLE, Server, described
from wmctrl.live.session import Session, Standing, jpeg, place_of, told
from wmctrl.runtime.assurance import Assured

PATIENCE = 20.0
BROWSER = shutil.which("chromium")
SEEN = """() => {
  const picture = document.getElementById("picture"), canvas = document.createElement("canvas");
  Object.assign(canvas, { width: picture.naturalWidth, height: picture.naturalHeight });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL();
}"""
"""What a page shows of the plant."""


def session_of(make: Callable[[], Any] | None = None) -> Session:
    driver = controller(*ARM)
    settings = driving.settings_of(driver.bundle.manifest.task)
    return Session(Assured(driver), make or partial(training.make_task, settings), None, budget=0.5)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    found = session_of()
    found.start()
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(session: Session) -> Iterator[Server]:
    with served(session) as found:
        yield found


@contextlib.contextmanager
def served(session: Session, **changes: Any) -> Iterator[Server]:
    """A server of a session, whose task is told with some changes."""
    found = Server(session, replace(session._known(), **changes), 0.5)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.close()


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never did"
        time.sleep(0.01)


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: http.client.HTTPMessage
    text: str


@contextlib.contextmanager
def request(
    server: Server, path: str, *, cookie: str = "", others: str = "", host: str = "", origin: str = "", body: Any = None
) -> Iterator[http.client.HTTPResponse]:
    """An answer that is read while it comes.

    Args:
        others: Cookies of other pages, in front.
    """
    connection = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=PATIENCE)
    kept = f"{others}wm-{server.server_port}={cookie}" if cookie else ""
    headers = {name: text for name, text in (("Cookie", kept), ("Host", host), ("Origin", origin)) if text}
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, content, headers)
        with connection.getresponse() as answer:
            yield answer


def asked(server: Server, path: str, **keywords: Any) -> Answer:
    """An answer, read to its end."""
    with request(server, path, **keywords) as answer:
        return Answer(answer.status, answer.headers, answer.read().decode())


def test_a_session_drives_and_shows_what_it_does(session: Session) -> None:
    until(lambda: session.standing.total > 5 and session.pictures)
    standing = session.standing
    assert session.picture.startswith(b"\xff\xd8")
    assert len(standing.readings) == 4
    assert {len(row) for row in standing.outlook} == {4}
    assert len(standing.outlook) == len(session.assured.controller.state.plan.mean)  # type: ignore[union-attr]
    assert json.loads(json.dumps(told(standing)))["source"] in ("plan", "shifted plan")


def test_the_way_that_a_plan_takes_is_drawn_over_the_picture(session: Session) -> None:
    until(lambda: session.standing.total > 5)
    assert session.place == (0, 1, 2)
    until(lambda: np.array_equal(session.path, [row[:3] for row in session.standing.outlook]))
    blank = np.zeros((20, 30, 3), np.uint8)
    path = np.array([[5.0, 15.0], [25.0, 15.0], [np.nan, 0.0]])
    drawn = np.asarray(Image.open(io.BytesIO(jpeg(blank, path))))
    assert drawn[15, 5:26].min(0)[0] > 150, "a line that is mostly red"
    assert drawn[:10].max() < 60
    assert not np.asarray(Image.open(io.BytesIO(jpeg(blank, path[:0])))).any()


@pytest.mark.parametrize(
    ("task", "place"), [("FetchReach-v4", (0, 1, 2)), ("parking-v0", (0, 1)), ("HalfCheetah-v5", ())]
)
def test_where_a_plant_is_is_told_by_the_names_of_its_elements(task: str, place: tuple[int, ...]) -> None:
    with contextlib.closing(wmctrl_envs.make(task)) as plant:
        assert place_of(plant.task_spec) == place


@pytest.mark.parametrize(
    ("task", "size", "colour"),
    [("FetchReach-v4", 3, lambda r, g, b: r - g - b), ("parking-v0", 2, lambda r, g, b: b - r)],
)
def test_places_are_found_in_the_picture(task: str, size: int, colour: Callable[..., NDArray[np.float64]]) -> None:
    """The goal is drawn in a colour that nothing else has."""
    with contextlib.closing(wmctrl_envs.make(task)) as plant:
        assert np.isnan(plant.pixels(np.zeros((1, 3)))).all()
        for seed in range(3):
            observation, _ = plant.reset(seed=seed)
            picture = np.asarray(plant.render(), np.float64)
            shown = colour(*np.moveaxis(picture, 2, 0))
            rows, columns = np.nonzero(shown > 0.4 * shown.max())
            goal = np.zeros((1, 3))
            goal[0, :size] = observation["goal"][:size]
            middle = [0.5 * (ends.min() + ends.max()) for ends in (columns, rows)]
            assert plant.pixels(goal)[0] == pytest.approx(middle, abs=4.0)


def test_what_is_no_number_is_told_as_none() -> None:
    assert told(Standing(surprise=float("inf")))["surprise"] is None


def test_no_number_that_is_told_is_one_that_a_page_cannot_read() -> None:
    nan = float("nan")
    found = told(Standing(readings=(nan, 1.0), outlook=((0.5, nan), (nan, 2.0)), parameters={"mass": float("inf")}))
    assert found["readings"] == [None, 1.0]
    assert found["outlook"] == [[0.5, None], [None, 2.0]]
    assert found["parameters"] == {"mass": None}


def test_a_parameter_is_changed_while_it_drives_and_in_episodes_after(session: Session) -> None:
    began = session.standing.episode
    session.change_parameter("action_scale", 0.5)
    until(lambda: session.standing.parameters == {"action_scale": 0.5} and session.standing.episode > began)
    with pytest.raises(ValueError, match="there is no parameter action_scal; known: action_scale"):
        session.change_parameter("action_scal", 0.5)
    with pytest.raises(ValueError, match="live: action_scale must be from"):
        session.change_parameter("action_scale", 50.0)
    session.change_parameter("action_scale", 1.0)
    until(lambda: session.standing.parameters == {"action_scale": 1.0})


def test_sensors_fail_while_it_drives_and_work_again(session: Session) -> None:
    session.fail("lost", 2)
    until(lambda: session.standing.fault == "lost, severely" and session.standing.surprise is None)
    until(lambda: session.standing.source == "safe action")
    began = session.standing.episode
    until(lambda: session.standing.episode > began + 1)
    assert not session.standing.problem, "an episode may begin without any sense"
    session.fail("", 0)
    until(lambda: not session.standing.fault and session.standing.surprise is not None)
    with pytest.raises(ValueError, match="there is no 'lots' 0"):
        session.fail("lots", 0)


def test_a_fault_that_lasts_some_time_is_over_in_whatever_episode_that_is(session: Session) -> None:
    showed: list[tuple[bool, str, float]] = []

    def short() -> Any:
        task, steps = session.make(), itertools.count(1)
        step = task.step
        vars(task)["step"] = lambda command: (*step(command)[:3], next(steps) % 4 == 0, {"success": 0, "failure": 0})
        return task

    def note(step: dict[str, Any], surprise: float | None) -> None:
        showed.append((step["proprio"] is None, watched.fault, step["is_first"]))
        if len(showed) == 2:
            watched.fail("lost", 0)

    noting: Any = SimpleNamespace(note=note, state=SimpleNamespace(events=[]))
    watched = session_of(short)
    watched.adapter, watched.budget = noting, 0.01
    watched.start()
    until(lambda: len(showed) > 8)
    watched.close()
    failing = [number for number, (silent, _, _) in enumerate(showed) if silent]
    assert failing == [2, 3, 4, 5, 6], "5 periods of 40 ms are 0.2 s"
    assert showed[5][2], "meanwhile another episode began"
    assert [fault for _, fault, _ in showed[1:8]] == ["", *5 * ["lost, a little"], ""]


def test_what_the_sensors_show_is_learned_from_and_a_late_reading_is_not() -> None:
    noted: list[dict[str, Any]] = []
    missed: list[int] = []
    noting: Any = SimpleNamespace(
        note=lambda step, surprise: noted.append(step),
        missed=lambda: missed.append(len(noted)),
        state=SimpleNamespace(events=[]),
    )
    watched = session_of()
    watched.adapter = noting
    watched.start()
    until(lambda: len(noted) > 10)
    assert [step["is_first"] for step in noted[:4]] == [1.0, 0.0, 0.0, 0.0]
    assert not missed
    watched.fail("nan", 2)
    until(lambda: np.isnan(noted[-1]["proprio"]).all())
    watched.fail("delayed", 2)
    until(lambda: missed)
    watched.close()


def test_the_goal_is_moved(session: Session) -> None:
    session.change_goal(1, 0.25)
    until(lambda: session.goal.offset[1] == 0.25)
    for index, value in ((3, 0.0), (-1, 0.0), (0, float("nan"))):
        with pytest.raises(ValueError, match="the goal has 3 elements"):
            session.change_goal(index, value)


def test_a_plant_that_cannot_be_made_is_told() -> None:
    def refusing() -> Any:
        raise ValueError("no such plant")

    with pytest.raises(ValueError, match="no such plant"):
        session_of(refusing).start()


def test_a_plant_that_breaks_down_is_told(session: Session) -> None:
    def breaking() -> Any:
        task = session.make()
        vars(task)["step"] = None
        return task

    broken = session_of(breaking)
    broken.start()
    broken.thread.join(PATIENCE)
    assert "not callable" in broken.standing.problem


def test_a_page_is_told_why_and_where_it_ended(session: Session) -> None:
    breaks = threading.Event()

    def breaking() -> Any:
        task = session.make()
        step = task.step
        vars(task)["step"] = lambda command: None if breaks.is_set() else step(command)
        return task

    broken = session_of(breaking)
    broken.start()
    until(lambda: broken.standing.total > 2)
    with served(broken) as server, request(server, "/standing", cookie=server.token) as standings:
        standings.readline()
        breaks.set()
        broken.thread.join(PATIENCE)
        server.close()
        last = json.loads(standings.read().split(b"data: ")[-1])
    assert "NoneType" in last["problem"]
    assert last["total"] > 2


@pytest.mark.parametrize("path", ["/", "/pictures", "/standing", "/?token=wrong"])
def test_who_does_not_know_the_address_is_refused(server: Server, path: str) -> None:
    assert asked(server, path).status == 403
    assert asked(server, path, cookie="wrong").status == 403
    assert asked(server, "/fault", body={"kind": "nan", "amount": 2}).status == 403


def test_a_page_that_was_called_by_a_name_of_somebody_elses_is_refused(server: Server) -> None:
    assert asked(server, "/", cookie=server.token, host=f"elsewhere:{server.server_port}").status == 403
    assert asked(server, "/", cookie=server.token, host=f"localhost:{server.server_port}").status == 200


def test_another_page_of_this_machine_changes_nothing(server: Server) -> None:
    own, other = (f"http://{LOOPBACK}:{port}" for port in (server.server_port, server.server_port + 1))
    change: dict[str, Any] = {"cookie": server.token, "body": {"kind": "", "amount": 0}}
    assert asked(server, "/fault", origin=own, **change).status == 200
    for origin in (other, "null", f"https://{LOOPBACK}:{server.server_port}"):
        assert asked(server, "/fault", origin=origin, **change).status == 403


def test_cookies_of_other_pages_hide_no_session(session: Session, server: Server) -> None:
    odd = 'prefs={"dark": true}; '
    assert asked(server, "/", cookie=server.token, others=odd).status == 200
    with served(session) as second:
        names = {
            asked(one, one.address.partition(str(one.server_port))[2]).headers["Set-Cookie"].partition("=")[0]
            for one in (server, second)
        }
        assert names == {f"wm-{server.server_port}", f"wm-{second.server_port}"}
        assert asked(second, "/", cookie=second.token, others=f"wm-{server.server_port}={server.token}; ").status == 200


def test_the_page_holds_the_task_and_runs_nothing_but_its_own(server: Server) -> None:
    answer = asked(server, server.address.partition(str(server.server_port))[2])
    page = answer.text
    assert answer.status == 200
    assert '"FetchReach-v4"' in page
    assert "{{" not in page
    policy = answer.headers["Content-Security-Policy"]
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert page.count(f'nonce="{nonce}"') == 2
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "HttpOnly; SameSite=Strict" in answer.headers["Set-Cookie"]


def test_pictures_and_standings_stream(server: Server) -> None:
    with request(server, "/pictures", cookie=server.token) as pictures:
        assert pictures.read(9) == b"--picture"
    with request(server, "/standing", cookie=server.token) as standings:
        first, gap, second = (standings.readline() for _ in range(3))
    assert gap == b"\n"
    assert json.loads(second.removeprefix(b"data: "))["total"] >= json.loads(first.removeprefix(b"data: "))["total"]


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("/parameter", {"name": "action_scale", "value": 0.75}, 200, ""),
        ("/parameter", {"name": "action_scale"}, 400, "value"),
        ("/parameter", {"name": "action_scale", "value": "much"}, 400, "could not convert"),
        ("/goal", {"index": 0, "value": 0.125}, 200, ""),
        ("/fault", {"kind": "", "amount": 0}, 200, ""),
        ("/fault", {"kind": "nan", "amount": 9}, 400, "there is no 'nan' 9"),
        ("/nothing", {}, 400, "nothing is changed at /nothing"),
        ("/fault", b"{", 400, "Expecting"),
        ("/fault", b"[]", 400, "must be"),
        ("/fault", b" " * 2000, 400, "from 1 to 1,024 bytes"),
        ("/goal", b'{"index": Infinity, "value": 0}', 400, "infinity"),
        ("/goal", b'{"index": 1e999, "value": 0}', 400, "infinity"),
        ("/fault", b"[" * 1000, 400, ""),
        ("/parameter", {"name": "\ud800", "value": 1.0}, 400, "there is no parameter ?"),
    ],
)
def test_a_change_is_made_or_refused_in_a_line(server: Server, path: str, body: Any, code: int, said: str) -> None:
    answer = asked(server, path, cookie=server.token, body=body)
    assert answer.status == code
    assert said in answer.text
    until(lambda: server.session.changes.empty())


def test_there_are_no_other_pages(server: Server) -> None:
    assert asked(server, "/../server.py", cookie=server.token).status == 404


def test_what_a_page_is_told_of_is_no_program(session: Session) -> None:
    name = "</script><script>alert(1)</script>"
    with served(session, id=name) as server:
        page = asked(server, "/", cookie=server.token).text
    assert page.count("<script") == page.count("</script>") == 1
    found = json.loads(page.partition("const told = ")[2].partition(";\n")[0])
    assert found == json.loads(json.dumps(described(replace(session._known(), id=name), 0.5)))
    assert (found["task"], found["budget"]) == (name, 500.0)


def test_sliders_stand_at_first_where_the_plant_is(session: Session) -> None:
    sliders = {name: rest for name, *rest in described(session._known(), 0.5)["parameters"]}
    assert [name for name, (*_, step, _) in sliders.items() if step != "any"] == list(WHOLE)
    assert sliders["action_delay"] == ["1", 0.0, 5, 1, 0.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 99_999}, "--port must be from 0 to 65,535, came 99999"),
        ({"port": -1}, "--port must be from"),
        ({"budget_ms": -1.0}, "--budget-ms must be above 0 and at most the period, 40 ms"),
        ({"budget_ms": float("nan")}, "--budget-ms must be above 0"),
        ({"budget_ms": 40.5}, "--budget-ms must be above 0"),
    ],
)
def test_what_cannot_be_listened_at_or_kept_is_refused(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"env": None, "seed": 0, "budget_ms": None, "host": LOOPBACK, "port": 0, "adapt": False}
    with pytest.raises(ValueError, match=said):
        live.show(made(*ARM)[1], pytest.fail, **given | options)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
def test_a_browser_shows_the_plant_and_changes_it(server: Server) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    complaints: list[str] = []
    changes: list[dict[str, Any]] = []
    with (
        sync_api.sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])) as browser,
    ):
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: changes.append(request.post_data_json) if request.method == "POST" else None)
        page.goto(server.address, wait_until="domcontentloaded")
        until(lambda: page.evaluate("() => document.getElementById('picture').naturalWidth"))
        until(lambda: page.inner_text("#where").startswith("episode"))
        first = page.evaluate(SEEN)
        page.get_by_text("as it was learned").click()
        slider = page.get_by_label("action_scale")
        slider.fill("0.4")
        slider.dispatch_event("change")
        until(lambda: server.session.standing.parameters.get("action_scale") == 0.4)
        page.locator("button[data-kind=lost]").click()
        until(lambda: page.get_attribute("button.on", "data-kind") == "lost")
        page.locator("button[data-kind='']").click()
        until(lambda: page.evaluate(SEEN) != first)
        assert page.inner_text("#problem") == ""
    assert complaints == []
    assert changes[0] == {"name": "action_scale", "value": 0.4}, "as it was learned is as it stood"
