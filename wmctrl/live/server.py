"""The web page of a session, for whoever has the address that was printed, and nobody else."""

import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wmctrl_envs.faults import AMOUNTS, KINDS
from wmctrl_envs.task import TaskSpec

from wmctrl.live.session import OUTLOOK, Session, told
from wmctrl.runtime.records import in_a_line

LOOPBACK = "127.0.0.1"
LARGEST = 1024
"""Bytes of a request's body."""
PERIOD = 0.1
"""Time between two times that a page is told where the session is [s]."""
PATIENCE = 2.0
"""Time that a page waits for a picture before it is told that there is none yet [s]."""
FAREWELL = 0.5
"""Time that pages have to be told how it ended [s]."""
WHOLE = ("action_delay",)
"""Parameters whose values are whole: plants round them."""
POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'nonce-{0}'; script-src 'nonce-{0}';"
    " frame-ancestors 'none'"
)
"""What a page may load and run: nothing that did not come with it, and in no other page."""


class Server(ThreadingHTTPServer):
    """Serves one session."""

    daemon_threads = True

    def __init__(self, session: Session, spec: TaskSpec, budget: float, *, host: str = LOOPBACK, port: int = 0) -> None:
        """
        Args:
            budget: Time for a decision [s].
            host: Address that is listened at.
            port: 0 takes one that is free.

        Raises:
            OSError: Another program listens there.
        """
        super().__init__((host, port), Handler)
        self.session, self.spec, self.budget, self.token = session, spec, budget, secrets.token_urlsafe(16)
        self.over = threading.Event()

    @property
    def address(self) -> str:
        """What to open, token and all."""
        return f"http://{self.server_address[0]!s}:{self.server_port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """What browsers keep the token as; with the port, for they send every port of a machine the same cookies."""
        return f"wm-{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed breaks its connection; that is nobody's trouble."""

    def close(self) -> None:
        """Tell the pages how it ended, and answer no more."""
        self.over.set()
        time.sleep(FAREWELL)
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is for whoever drives."""

    def do_GET(self) -> None:
        """A page, its pictures, or where the session is."""
        place = urlsplit(self.path)
        given = parse_qs(place.query).get("token", [""])[0]
        if not self._admitted(given):
            return
        if place.path == "/":
            self._page()
        elif place.path == "/pictures":
            self._pictures()
        elif place.path == "/standing":
            self._standings()
        else:
            self._answer(404, "there is no such page")

    def do_POST(self) -> None:
        """A change."""
        if not self._admitted(""):
            return
        try:
            size = int(self.headers.get("Content-Length") or 0)
            if not 0 < size <= LARGEST:
                raise ValueError(f"a change has from 1 to {LARGEST:,} bytes, came {size:,}")
            self._change(self.path, json.loads(self.rfile.read(size)))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            self.close_connection = True
            self._answer(400, in_a_line(error))
            return
        self._answer(200, "")

    def _change(self, path: str, asked: Mapping[str, Any]) -> None:
        session = self.server.session
        if path == "/parameter":
            session.change_parameter(str(asked["name"]), float(asked["value"]))
        elif path == "/goal":
            session.change_goal(int(asked["index"]), float(asked["value"]))
        elif path == "/fault":
            session.fail(str(asked["kind"]), int(asked["amount"]))
        else:
            raise ValueError(f"nothing is changed at {path}")

    def _admitted(self, given: str) -> bool:
        """Whether a request may be answered: it has the token, came by this machine's own name, and by its own page."""
        cookies = dict(one.strip().partition("=")[::2] for one in self.headers.get("Cookie", "").split(";"))
        shown = given or cookies.get(self.server.cookie, "")
        if self._called() and self._own() and hmac.compare_digest(shown.encode(), self.server.token.encode()):
            return True
        self.close_connection = True
        self._answer(403, "open the address that `wm live` printed, token and all")
        return False

    def _called(self) -> bool:
        """Whether the page was called by loopback's names, where that is listened at: others may have been made up."""
        if self.server.server_address[0] != LOOPBACK:
            return True
        return self.headers.get("Host") in [f"{name}:{self.server.server_port}" for name in (LOOPBACK, "localhost")]

    def _own(self) -> bool:
        """Whether no other page asks: those of this machine's other ports send the cookie as well."""
        return self.headers.get("Origin") in (None, f"http://{self.headers.get('Host')}")

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        page = resources.files("wmctrl.live").joinpath("page.html").read_text(encoding="utf-8")
        told_of = json.dumps(described(self.server.spec, self.server.budget)).replace("<", "\\u003c")
        content = page.replace("{{nonce}}", nonce).replace("{{described}}", told_of).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY.format(nonce))
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Set-Cookie", f"{self.server.cookie}={self.server.token}; HttpOnly; SameSite=Strict; Path=/")
        self.end_headers()
        self.wfile.write(content)

    def _pictures(self) -> None:
        """Every new picture, for as long as the page looks."""
        self._stream("multipart/x-mixed-replace; boundary=picture")
        session, last = self.server.session, -1
        while not self.server.over.is_set():
            with session.shown:
                session.shown.wait_for(lambda seen=last: session.pictures != seen, PATIENCE)  # type: ignore[misc]
                picture, last = session.picture, session.pictures
            if picture:
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")

    def _standings(self) -> None:
        """Where the session is, again and again, and last of all where it ended."""
        self._stream("text/event-stream")
        over = False
        while not over:
            over = self.server.over.wait(PERIOD)
            self.wfile.write(f"data: {json.dumps(told(self.server.session.standing))}\n\n".encode())

    def _stream(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _answer(self, code: int, text: str) -> None:
        content = text.encode(errors="replace")  # JSON may name half a character
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def described(spec: TaskSpec, budget: float) -> dict[str, Any]:
    """What a page must know of a task, and of the time for a decision [s]."""
    return {
        "task": spec.id,
        "budget": 1e3 * budget,
        "elements": [[one.name, one.unit] for one in spec.proprio[:OUTLOOK]],
        "goal": [[one.name, one.unit, one.low, one.high] for one in spec.goal],
        "parameters": [
            [one.name, one.unit, one.low, one.high, 1 if one.name in WHOLE else "any", one.nominal]
            for one in spec.parameters
        ],
        "faults": {name: kind.meaning for name, kind in KINDS.items()},
        "amounts": AMOUNTS,
    }
