"""Redis for both sides: its URL, a client with time limits, its faults in one sentence. No Celery."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.connection import parse_url
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

CONNECT_S: Final = 3.0
ANSWER_S: Final = 5.0
"""Seconds in which the broker must accept a connection, and answer."""

BROKEN: Final = (RedisError, OSError)
"""Raised when it cannot be reached, or refuses."""


def client(url: str) -> Redis:
    """Return a client of the Redis at a URL, for use in threads.

    Raises:
        ValueError: the URL is invalid.
    """
    # Tried twice: a connection of the pool may have been closed since it was used. Doing anything
    # here twice is harmless, because tasks and replies have ids.
    return Redis.from_url(
        url,
        protocol=2,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=CONNECT_S,
        retry=Retry(ConstantBackoff(0.05), 1),
        max_connections=64,
    )


def tls_options(url: str) -> dict[str, Any] | None:
    """Return the TLS options of a rediss:// URL (its parameters `ssl_…`) as Celery takes them; None without TLS."""
    if urlsplit(url).scheme != "rediss":
        return None
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    given = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required", **given}


def is_refusal(error: BaseException) -> bool:
    """Return whether the broker refuses to let us in: waiting does not help."""
    return isinstance(error, (AuthenticationError, NoPermissionError)) or (
        isinstance(error, ResponseError) and str(error).startswith(("WRONGPASS", "NOAUTH", "NOPERM"))
    )


def place(url: str) -> str:
    """Return the broker's address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or '127.0.0.1'}:{parts.port or 6379}"


def what_it_keeps(redis: Redis) -> str | None:
    """Return a sentence if the broker stores its data on disk, as far as it lets us see its settings."""
    try:
        kept = redis.config_get("save", "appendonly")
    except ResponseError:
        return None  # an ACL may well not allow it
    if kept.get("save") or kept.get("appendonly") == "yes":
        return (
            "the broker stores data on its disk, where audio and text may remain after they are deleted here: start "
            'redis-server with --save "" --appendonly no'
        )
    return None
