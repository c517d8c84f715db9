"""A real redis-server for tests, a link to it that can be slow or cut, and real `convod worker` processes.

Clients come as they would in earnest: by TLS, as a user who may touch nothing but convo's keys.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

START_S = 60.0
USER, PASSWORD = "convo", "p:w/2"  # such as must be quoted in a URL
ADMIN = "admin"
BEAT_S = 0.5
"""Whoever is dead is noticed after three of these; machines that are busy need a while to say a word."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class RedisServer:
    """It keeps nothing on its disk, and can be killed and started again at the same ports."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plain_port, self.port = free_port(), free_port()
        self.certificate = directory / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-keyout", str(directory / "key.pem"), "-out", str(self.certificate), "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
        (directory / "acl").write_text(
            f"user default on >{ADMIN} ~* &* +@all\n"
            f"user {USER} on >{PASSWORD} ~convo:* resetchannels &convo:* +@all -@admin -@dangerous\n"
        )
        self.admin = redis.Redis(port=self.plain_port, password=ADMIN, protocol=2)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: int | None = None) -> str:
        """As `engine.broker`; `port` is that of a link to it."""
        return f"rediss://{USER}:p%3Aw%2F2@localhost:{port or self.port}/0?ssl_ca_certs={self.certificate}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.plain_port), "--tls-port", str(self.port),
             "--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.directory / "key.pem"),
             "--tls-ca-cert-file", str(self.certificate), "--tls-auth-clients", "no", "--aclfile",
             str(self.directory / "acl"), "--save", "", "--appendonly", "no", "--dir", str(self.directory)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + START_S
        while True:
            with suppress(redis.ConnectionError):
                self.admin.ping()
                return
            assert time.monotonic() < until, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: all that it held is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.admin.connection_pool.disconnect()

    def names(self, pattern: str) -> list[str]:
        """The keys of a pattern."""
        found: Any = self.admin.keys(pattern)
        return sorted(key.decode() for key in found)


@contextmanager
def redis_server(directory: Path) -> Iterator[RedisServer]:
    """A server until the end of the block."""
    server = RedisServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class SlowLink:
    """A port that leads to another one, `delay_s` later each way; `cut` holds everything up without a word."""

    def __init__(self, target: int, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through any more, and tell nobody."""
        self._open.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._open.set()

    def close(self) -> None:
        self._open.set()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except ConnectionRefusedError:
                    near.close()
                    continue
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        waiting: list[tuple[float, bytes]] = []
        over = False
        with suppress(OSError, ValueError):
            while not over or waiting:
                wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
                readable = [] if over else select.select([source], [], [], wait)[0]
                if over and wait:
                    time.sleep(wait)
                if readable:
                    data = source.recv(1 << 16)
                    over = not data
                    waiting.append((time.monotonic() + self.delay_s, data))
                while waiting and waiting[0][0] <= time.monotonic():
                    self._open.wait()
                    data = waiting.pop(0)[1]
                    sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)


class RemoteWorker:
    """A running `convod worker`. `before` is Python that runs in its process first."""

    def __init__(self, broker: str, *flags: str, model: str = "builtin", before: str = "") -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("CONVOD_", "CONVO_"))}
        environment |= {"CONVOD_ENGINE_BROKER": broker, "CONVOD_MODEL": model, "CONVOD_LOG_LEVEL": "debug"}
        environment["CONVOD_ENGINE_BEAT_S"] = str(BEAT_S)
        script = f"{before}\nfrom convod.__main__ import main\nimport sys\nraise SystemExit(main(sys.argv[1:]))"
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, "worker", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    @property
    def id(self) -> str:
        """Its name in beats; empty while its model is not loaded."""
        found = re.findall(r"decodes with .* worker=(\w+)", "".join(self.log))
        return str(found[-1]) if found else ""

    @property
    def child(self) -> int:
        """The process that has the model."""
        while True:
            for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
                for pid in file.read_text().split():
                    with suppress(OSError):
                        if b"convod.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                            return int(pid)
            assert self.process.poll() is None, "".join(self.log)
            time.sleep(0.01)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit status."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(10)
            assert self.process.stderr is not None
            self.process.stderr.close()
