"""Webhooks: CloudEvents 1.0 over HTTP, signed as Standard Webhooks says."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urljoin

from streamer.records import SCHEMA_VERSION
from streamer.sinks.broker import (
    Address,
    Broker,
    Message,
    NotNowError,
    UnavailableError,
    address_of,
    checked_secret,
    checked_url,
    from_environment,
    needs,
    shown_url,
    split_url,
    trusted,
)
from streamer.sinks.delivered import Delivered
from streamer.sinks.targets import ForbiddenError, resolve

if TYPE_CHECKING:
    import httpx

_SCHEMES = ("http", "https")
_TIMEOUT_S = 10.0
_LIMIT_S = 20.0
_MOST_REDIRECTS = 3
_READ_BYTES = 1 << 16
_LATER = {408, 409, 425, 429}
_NOT_FOR_ITSELF = {401, 402, 403, 404, 405, 407, 410}  # so it would answer to every record


class WebhookBroker(Broker):
    """POSTs each record as a CloudEvent in structured mode, one after the other.

    `Idempotency-Key` and `webhook-id` are the record's id. With a secret, `webhook-signature` is
    "v1," and the base64 of HMAC-SHA256 over "ID.TIMESTAMP.BODY", the timestamp being the Unix
    seconds in `webhook-timestamp` (Standard Webhooks). Anything from 200 to 299 is a yes. 429, and
    401 to 405, 407 and 410, would be answered to any record: all wait. 5xx, 408, 409, 425 and no
    answer within 10 s may be due to the record: its stream waits, the others go on (see
    `Delivered`). `Retry-After` is kept to. Every other 4xx refuses the record.

    Addresses of this machine, of private networks, link-local ones (where clouds keep their
    credentials) and others that are not of the public internet are refused, whatever name leads
    to them: the name is resolved for every request, and the very address that was checked is
    connected to. Only redirects 307 and 308 are followed, under the same checks, never from https
    to http, and without `headers` when they lead to another host. Proxies of the environment are
    not used.

    Args:
        url: http:// or https://. $NAME as a whole, or in its path, user or password, is taken from
            the environment.
        secret: $NAME of the key for signatures; base64 behind "whsec_", else as it is.
        headers: more headers; $NAME in their values is taken from the environment.
        allow_private: also connect to addresses that are not of the public internet.
        source: `source` of the CloudEvents; "/" and the stream's name follow.
        ca: a PEM file of the authorities that may vouch for the host, in place of the usual ones.
    """

    batch_size: ClassVar[int] = 1

    def __init__(
        self,
        url: str,
        secret: str = "",
        headers: dict[str, str] | None = None,
        allow_private: bool = False,
        source: str = "urn:osprey-streamer",
        ca: str = "",
    ) -> None:
        checked_url(url, _SCHEMES)
        checked_secret(secret, "secret")
        for name, value in (headers or {}).items():
            if name.lower() in ("authorization", "proxy-authorization", "cookie", "x-api-key"):
                checked_secret(value, f"headers: {name}")
        self.shown = shown_url(url)
        self._url = url
        self._secret = secret
        self._headers = headers or {}
        self._allow_private = allow_private
        self._source = source
        self._ca = ca
        self._client: httpx.Client | None = None

    def ready(self) -> None:
        needs("httpx", "brokers", self.shown)
        address_of(self._url, _SCHEMES, self.shown)
        self._own_headers()
        self._key()
        trusted(self._ca, self.shown)

    def connect(self) -> None:
        import httpx

        for name in ("httpx", "httpcore"):  # they log whole addresses
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = httpx.Client(
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            verify=trusted(self._ca, self.shown),
        )

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        refused: dict[int, str] = {}
        for message in messages:
            status, headers = self._post(message)
            if 200 <= status < 300:
                continue
            if status >= 500 or status in _LATER:
                wait_s = retry_after_s(headers.get("retry-after", ""))
                kind = UnavailableError if status == 429 else NotNowError
                raise kind(f"answers {status}", wait_s=wait_s)
            if status < 400 or status in _NOT_FOR_ITSELF:
                raise UnavailableError(f"answers {status}; {_hint(status)}")
            refused[message.seq] = f"answer {status}"
        return refused

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _post(self, message: Message) -> tuple[int, Mapping[str, str]]:
        """Status and headers of the answer, after redirects."""
        body = cloud_event(message, self._source)
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "user-agent": "osprey-streamer",
            "idempotency-key": message.key,
            "webhook-id": message.key,
        }
        if self._secret:
            now = str(int(time.time()))
            headers["webhook-timestamp"] = now
            headers["webhook-signature"] = signature(self._key(), message.key, now, body)
        address = address_of(self._url, _SCHEMES, self.shown)
        own = self._own_headers()
        for _ in range(_MOST_REDIRECTS + 1):
            status, answer = self._request(address, {**headers, **own}, body)
            if status not in (307, 308):
                return status, answer
            before = address
            address = _redirected(before, answer.get("location", ""))
            if (address.host, address.port) != (before.host, before.port):
                own = {}
        raise UnavailableError("redirects in a circle")

    def _request(
        self, address: Address, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str]]:
        import httpx

        if self._client is None:
            raise UnavailableError("is not connected")
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            ip = resolve(address.host, port, allow_private=self._allow_private)
        except ForbiddenError as error:
            raise UnavailableError(f"{error}; allow_private: true allows it") from None
        except OSError as error:
            raise UnavailableError(f"has a host that is not found ({error.strerror})") from None
        host = f"[{address.host}]" if ":" in address.host else address.host
        named = {"host": f"{host}:{address.port}" if address.port else host, **headers}
        auth = (address.user, address.password or "") if address.user is not None else None
        at = f"[{ip}]" if ":" in ip else ip
        # the client's own limit is for each read: who answers a byte at a time would be waited for
        limit = threading.Timer(_LIMIT_S, self._client.close)
        limit.start()
        try:
            with self._client.stream(
                "POST", f"{address.scheme}://{at}:{port}{address.path or '/'}", content=body,
                headers=named, auth=auth, extensions={"sni_hostname": address.host},
            ) as answer:  # fmt: skip
                taken = 0
                for chunk in answer.iter_raw():  # read to its end, the connection can be kept
                    taken += len(chunk)
                    if taken > _READ_BYTES:
                        break
                return answer.status_code, dict(answer.headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise UnavailableError(f"cannot be reached ({_plain(error)})") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            if self._client.is_closed:
                self.connect()
            raise NotNowError(f"does not answer ({_plain(error)})") from None
        finally:
            limit.cancel()

    def _own_headers(self) -> dict[str, str]:
        return {n: from_environment(v, self.shown) for n, v in self._headers.items()}

    def _key(self) -> bytes:
        text = from_environment(self._secret, self.shown)
        if not text.startswith("whsec_"):
            return text.encode()
        return base64.b64decode(text.removeprefix("whsec_") + "==")


class Webhook(Delivered):
    """Captions and events to a web address; see `Delivered` for how, `WebhookBroker` for where."""

    broker = WebhookBroker


def cloud_event(message: Message, source: str) -> bytes:
    """A record as a CloudEvent in JSON; `time` is given for live streams, whose times are Unix
    time (media time stands in the data)."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": message.key,
        "source": f"{source}/{message.stream_id}",
        "type": f"osprey-streamer.{message.record}.{message.kind}",
        "subject": message.stream_id,
        "datacontenttype": "application/json",
        "dataschema": f"urn:osprey-streamer:records:{SCHEMA_VERSION}",
        "data": json.loads(message.body),
    }
    if message.record == message.kind:
        event["type"] = f"osprey-streamer.{message.record}"
    if message.unix_ns is not None:
        moment = datetime.fromtimestamp(0, timezone.utc)
        moment += timedelta(microseconds=message.unix_ns // 1000)
        event["time"] = moment.isoformat().replace("+00:00", "Z")
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Of Standard Webhooks: "v1," and base64 of HMAC-SHA256 over ID.TIMESTAMP.BODY."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def retry_after_s(text: str) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 where it is neither."""
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, moment.timestamp() - time.time())


def _redirected(address: Address, location: str) -> Address:
    base = f"{address.scheme}://{address.host}" + (f":{address.port}" if address.port else "")
    parts = split_url(urljoin(base + (address.path or "/"), location))
    if not location or parts is None or parts.scheme not in _SCHEMES or not parts.hostname:
        raise UnavailableError("redirects to nowhere")
    if address.scheme == "https" and parts.scheme != "https":
        raise UnavailableError("redirects from https to http, which is not followed")
    same = (parts.hostname, parts.port) == (address.host, address.port)
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=parts.port,
        user=address.user if same else None,
        password=address.password if same else None,
        path=parts.path + (f"?{parts.query}" if parts.query else ""),
    )


def _hint(status: int) -> str:
    if status in (401, 402, 403, 407):
        return "check the credentials"
    return "check the address" if status >= 400 else "give the address it redirects to"


def _plain(error: Exception) -> str:
    """What happened, without the address; httpx says it in the exception's class or its cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
