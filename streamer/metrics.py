"""What a run is doing, for Prometheus and for whoever asks whether it is well."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamer.http_server import HttpServer
from streamer.report import Tally

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SILENT_S = 30.0  # without a frame, after which a stream counts as unwell


class Metrics(HttpServer):
    """Serves a run's figures while it goes on.

    `/metrics` in Prometheus' format; `/ready` answers 200 when the first frame has been read, else
    503; `/health` answers 503 when a stream has given no frame for `SILENT_S`, and says how long
    ago each one's last frame came.

    Args:
        tally: what is counted.
        address: PORT, or HOST:PORT; without a host on this machine only.

    Raises:
        ConfigError: when the address is none, or taken.
    """

    def __init__(self, tally: Tally, address: str) -> None:
        registry = CollectorRegistry()
        registry.register(_Counts(tally))
        timers = {
            kind: Histogram(name, about, [kind], buckets=_SECONDS, registry=registry)
            for kind, name, about in (
                ("step", "streamer_step_seconds", "Time a step takes for a batch."),
                ("sink", "streamer_latency_seconds", "From reading a frame to writing a record."),
            )
        }
        tally.on_time = lambda kind, name, seconds: timers[kind].labels(name).observe(seconds)
        handler = type("Handler", (_Handler,), {"registry": registry, "tally": tally})
        super().__init__("metrics", address, handler)


class _Counts(Collector):
    """The tally's counts at the moment they are asked for."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def collect(self) -> Iterator[Metric]:
        tally = self.tally
        yield _counter("frames", "Frames read.", "stream", tally.stream_frames)
        yield _counter("dropped_frames", "Frames dropped before a part.", "part", tally.dropped)
        yield _counter("events", "Events of each kind.", "kind", tally.events)
        yield _counter("captions", "Captions made.", "", {"": tally.captions})
        for what, about in (
            ("encoder_passes", "Pictures that an encoder looked at."),
            ("regions", "Regions described."),
            ("tokens", "Tokens generated."),
        ):
            found = {step: n for (step, of), n in list(tally.counted.items()) if of == what}
            yield _counter(what, about, "step", found)
        thinned = {"": tally.thinned_questions}
        yield _counter("thinned_questions", "Questions left out when behind.", "", thinned)
        stride = GaugeMetricFamily("streamer_frame_stride", "2: every second frame is read.")
        stride.add_metric([], tally.frame_stride)
        yield stride
        yield _counter("restarts", "Workers replaced.", "", {"": len(tally.restarts)})
        yield _gauge("queue_depth", "Inputs that wait before a part.", "part", tally.queued)
        ages = {name: time.monotonic() - seen_s for name, seen_s in list(tally.seen_s.items())}
        yield _gauge("frame_age_seconds", "Since a stream's last frame.", "stream", ages)
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
            used = {
                str(i): torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count())
            }
            yield _gauge("gpu_memory_bytes", "Memory of tensors.", "device", used)


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    tally: Tally

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, generate_latest(self.registry), "text/plain; version=0.0.4")
        elif path == "/ready":
            ready = self.tally.started_s is not None
            self._json(200 if ready else 503, {"ready": ready})
        elif path == "/health":
            now_s = time.monotonic()
            ages = {name: round(now_s - s, 1) for name, s in list(self.tally.seen_s.items())}
            well = all(age < SILENT_S for age in ages.values())
            self._json(200 if well else 503, {"well": well, "seconds_since_frame": ages})
        else:
            self._json(404, {"there is": ["/metrics", "/health", "/ready"]})

    def _json(self, status: int, data: dict[str, Any]) -> None:
        self._answer(status, json.dumps(data).encode() + b"\n", "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _counter(name: str, about: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"streamer_{name}", about, labels=[label] if label else None)
    for key, value in list(values.items()):
        family.add_metric([key] if label else [], value)
    return family


def _gauge(name: str, about: str, label: str, values: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(f"streamer_{name}", about, labels=[label])
    for key, value in list(values.items()):
        family.add_metric([key], value)
    return family
