"""A plant that is watched and changed in a browser: what it shows, what it takes, and whom it answers."""

import contextlib
import http.client
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import wmctrl_envs
from numpy.typing import NDArray
from PIL import Image

from tests.test_archive import ARM
from tests.tiny_bundle import controller
from wmctrl.commands import driving, training
from wmctrl.live.server import LOOPBACK, Server, described
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
    found = Server(session, session._known(), 0.5)
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
    server: Server, path: str, *, cookie: str = "", host: str = "", body: Any = None
) -> Iterator[http.client.HTTPResponse]:
    """An answer that is read while it comes."""
    connection = http.client.HTTPConnection(LOOPBACK, server.server_port, timeout=PATIENCE)
    headers = {"Cookie": f"wm={cookie}"} if cookie else {}
    headers |= {"Host": host} if host else {}
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


@pytest.mark.parametrize("path", ["/", "/pictures", "/standing", "/?token=wrong"])
def test_who_does_not_know_the_address_is_refused(server: Server, path: str) -> None:
    assert asked(server, path).status == 403
    assert asked(server, path, cookie="wrong").status == 403
    assert asked(server, "/fault", body={"kind": "nan", "amount": 2}).status == 403


def test_a_page_that_was_called_by_a_name_of_somebody_elses_is_refused(server: Server) -> None:
    assert asked(server, "/", cookie=server.token, host=f"elsewhere:{server.server_port}").status == 403
    assert asked(server, "/", cookie=server.token, host=f"localhost:{server.server_port}").status == 200


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
    assert described(session._known(), 0.01)["budget"] == 10.0


@pytest.mark.skipif(BROWSER is None, reason="needs chromium (apt-get install chromium)")
def test_a_browser_shows_the_plant_and_changes_it(server: Server) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    complaints: list[str] = []
    with (
        sync_api.sync_playwright() as playwright,
        contextlib.closing(playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])) as browser,
    ):
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.address, wait_until="domcontentloaded")
        until(lambda: page.evaluate("() => document.getElementById('picture').naturalWidth"))
        until(lambda: page.inner_text("#where").startswith("episode"))
        first = page.evaluate(SEEN)
        slider = page.get_by_label("action_scale")
        slider.fill("0.4")
        slider.dispatch_event("change")
        until(lambda: server.session.standing.parameters.get("action_scale") == pytest.approx(0.4, abs=0.01))
        page.locator("button[data-kind=lost]").click()
        until(lambda: page.get_attribute("button.on", "data-kind") == "lost")
        page.locator("button[data-kind='']").click()
        until(lambda: page.evaluate(SEEN) != first)
        assert page.inner_text("#problem") == ""
    assert complaints == []
