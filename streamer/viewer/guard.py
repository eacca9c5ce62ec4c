"""Who may ask, and how much at a time: everything that is checked before a request is looked at."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 64 * 1024
_METHODS = ("GET", "HEAD", "POST")
_HEADERS = {
    # nothing but what lies here: no script in the page, none from elsewhere
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: Host, origin, method, token and size of every request; safe headers on
    every answer. There is no CORS: other sites may not read anything.

    The token comes in a cookie (HttpOnly, SameSite=Strict), which `/?token=...` sets, or as
    `Authorization: Bearer ...`.

    Args:
        hosts: what may stand in the Host header, with the port; this stops pages of other sites
            whose name was made to point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str]) -> None:
        self.app = app
        self.token = token
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        enters = scope["path"] == "/" and self._is_token(_given_in_query(scope))
        problem = self._problem(scope, headers, enters)
        body = b""
        if problem is None and scope["method"] == "POST":
            body, problem = await _small_body(receive)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
                answer.setdefault("cache-control", "no-store")
                if enters:
                    answer.append(
                        "set-cookie",
                        f"{cookie_name(headers)}={self.token}; HttpOnly; SameSite=Strict; Path=/",
                    )
            await send(message)

        if problem is not None:
            status, text = problem
            await PlainTextResponse(f"{text}\n", status)(scope, receive, guarded)
        elif scope["method"] == "POST":
            await self.app(scope, _replayed(body, receive), guarded)
        else:
            await self.app(scope, receive, guarded)

    def _problem(self, scope: Scope, headers: Headers, enters: bool) -> tuple[int, str] | None:
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return 400, "this name is not served; open the address that `streamer view` printed"
        if scope["method"] not in _METHODS:
            return 405, "only GET and POST"
        site = headers.get("sec-fetch-site", "same-origin")
        # a link may lead to the first page; nothing else is asked for from other sites
        arrives = scope["path"] == "/" and headers.get("sec-fetch-mode", "navigate") == "navigate"
        if site not in ("same-origin", "none") and not arrives:
            return 403, "not from another site"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return 403, "not from another site"
        if not (enters or self._is_token(_given(headers))):
            return 401, "open the address that `streamer view` printed: it carries the token"
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            return 415, "send application/json"
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())


def cookie_name(headers: Headers) -> str:
    """Browsers keep cookies by name of the host, not by port: two viewers shall not mix them up."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"streamer_{port if port.isdecimal() else 80}"


def _given(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_name(headers))
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


def _given_in_query(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return (parse_qs(query, max_num_fields=50).get("token") or [""])[0] if query else ""


async def _small_body(receive: Receive) -> tuple[bytes, tuple[int, str] | None]:
    """The body, or why it is refused; a large one is not read."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body, (400, "broken off")
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            return b"", (413, f"more than {MOST_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            return body, None


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
