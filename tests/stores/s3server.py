"""An S3-compatible server on this machine (moto's), that can be told to fail: a process of its own.

A request that fails is refused, not heard, or done and not answered (or but half).
``/_faults`` takes what is to go wrong from now on, ``/_requests`` gives what was asked since it was last asked.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable

_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


@dataclass
class Faults:
    """What goes wrong, and what was asked."""

    share: float = 0.0
    """Of the requests that fail in one of the usual ways."""
    slow: float = 0.0
    """Of the requests that wait."""
    denied: str = ""
    """Requests whose path begins so are refused."""
    seed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)


class Application:
    """Moto's server behind the faults."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.inner = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        if request.path == "/_faults":
            self.faults = Faults(**json.loads(request.get_data()))
            return Response("{}")(environ, start_response)
        if request.path == "/_requests":
            told = {"requests": self.faults.requests, "counts": self.faults.counts}
            self.faults.requests = []
            return Response(json.dumps(told))(environ, start_response)
        how = self._fault(request)
        if how in _ANSWERS:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _ANSWERS[how](environ, start_response)
        answer = self.inner(environ, start_response) if how != "unheard" else []
        return answer if how is None else _hang_up(environ, b"".join(answer))

    def _fault(self, request: Request) -> str | None:
        """Note a request; wait, or return what is to go wrong with it."""
        faults = self.faults
        with faults.guard:
            asked = {"method": request.method, "path": request.path, "query": request.query_string.decode()}
            faults.requests.append({**asked, "range": request.headers.get("Range", "")})
            fails, waits = faults.draw.random() < faults.share, faults.draw.random() < faults.slow
            how = faults.draw.choice(["SlowDown", "InternalError", "unheard", "unanswered"]) if fails else None
            for fault in filter(None, (how, "slow" if waits else None)):
                faults.counts[fault] = faults.counts.get(fault, 0) + 1
        if faults.denied and request.path.startswith(faults.denied):
            return "AccessDenied"
        if waits:
            time.sleep(1)
        return how


def _answer(code: str, status: int, message: str) -> Response:
    return Response(_ERROR.format(code=code, message=message), status, mimetype="text/xml")


_ANSWERS = {
    "AccessDenied": _answer("AccessDenied", 403, "Access Denied"),
    "SlowDown": _answer("SlowDown", 503, "Please reduce your request rate."),
    "InternalError": _answer("InternalError", 500, "We encountered an internal error."),
}


def _hang_up(environ: dict[str, Any], answer: bytes) -> Iterable[bytes]:
    """Break the connection: in the middle of a long answer, else before it."""
    if len(answer) > 100:
        yield answer[: len(answer) // 2]
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, Application(), threaded=True, request_handler=_Quiet)
    print(server.server_port, flush=True)
    # Ends with whoever started it, however that ends.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()
