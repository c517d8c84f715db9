"""The gateway's own numbers, for a monitor.

In: what happened. Out: Prometheus' text format. It names no job, no client and no token.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Numbers since the start."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "convo_gateway_requests", "Requests answered, by route and status.", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "convo_gateway_request_seconds", "From a request's first byte to its answer's last.", ["route"],
            registry=self._registry,
        )  # fmt: skip
        self.open = Gauge("convo_gateway_open", "Requests and streams being served.", ["kind"], registry=self._registry)
        self.audio = Counter("convo_gateway_audio_bytes", "Audio received, in bytes.", registry=self._registry)
        self.spool = Gauge("convo_gateway_spool_bytes", "Uploads on disk on their way.", registry=self._registry)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
