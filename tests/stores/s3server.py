"""An S3-compatible server on this machine (moto's), that can be told to fail: a process of its own.

``/_faults`` takes what is to go wrong from now on, ``/_requests`` gives what was asked since it was last asked.
"""

from __future__ import annotations

import json
import random
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
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    counts: dict[str, int] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)


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
        response = self._fault(request)
        if response is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return response(environ, start_response)
        return self.inner(environ, start_response)

    def _fault(self, request: Request) -> Response | None:
        faults = self.faults
        with faults.guard:
            asked = {"method": request.method, "path": request.path, "query": request.query_string.decode()}
            faults.requests.append({**asked, "range": request.headers.get("Range", "")})
            fails, waits = faults.draw.random() < faults.share, faults.draw.random() < faults.slow
            how = faults.draw.choice(["SlowDown", "InternalError", "broken"])
            if fails:
                faults.counts[how] = faults.counts.get(how, 0) + 1
            if waits:
                faults.counts["slow"] = faults.counts.get("slow", 0) + 1
        if faults.denied and request.path.startswith(faults.denied):
            return Response(_ERROR.format(code="AccessDenied", message="Access Denied"), 403, mimetype="text/xml")
        if waits:
            time.sleep(1)
        if not fails:
            return None
        if how == "broken":
            # Promises more than comes: the connection breaks in the middle of the answer.
            return Response("cut", 200, headers={"Content-Length": "100000"})
        status = 503 if how == "SlowDown" else 500
        return Response(_ERROR.format(code=how, message="try again"), status, mimetype="text/xml")


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
