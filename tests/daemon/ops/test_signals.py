from __future__ import annotations

import logging
import socket

import trio

from convo.messages import SessionCounts
from convod.engine.process import Worker
from convod.engine.supervisor import REPLACED_S, Engine, EngineSettings
from convod.ops.config import BadSettings, Settings
from convod.ops.reload import ReloadableSettings
from convod.ops.signals import ProcessControl
from convod.ops.systemd import Notifier
from convod.speech.decoding import DecodeJob, Kind, Options, Window


async def test_settings_are_read_again_whole_or_not_at_all(caplog):
    caplog.set_level(logging.INFO)
    fresh, applied, refuse = Settings(drain_s=3.0), [], True

    def prepare(settings: Settings):
        if refuse:
            raise BadSettings("the certificate is broken")
        return lambda: applied.append(settings.drain_s)

    current = ReloadableSettings(Settings(), lambda: fresh)
    with ProcessControl(current, Notifier()) as control:
        current.on_reload(lambda settings: applied.append(settings.drain_s))
        current.before_reload(prepare)
        control.reload()
        assert current.settings.drain_s == Settings().drain_s, "it was said that they were not read again"
        assert applied == []
        assert "settings were not read again: the certificate is broken" in caplog.text
        refuse = False
        control.reload()
        assert (current.settings.drain_s, applied) == (3.0, [3.0, 3.0])
        assert "settings were read again" in caplog.text


async def test_the_watchdog_is_fed_only_while_the_engine_answers(autojump_clock, tmp_path, caplog):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        engine = Engine(EngineSettings(model="builtin", deadline_s=20))
        notifier = Notifier(str(tmp_path / "notify"), watchdog_s=30)
        with ProcessControl(ReloadableSettings(Settings()), notifier) as control:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(control.report, engine, lambda: SessionCounts(live=2, file=1))
                await trio.sleep(95)
                assert count(manager) == 10
                worker = Worker(None, None)  # type: ignore[arg-type]
                engine.workers.add(worker)
                worker.batch, worker.busy_since = [window(), window()], trio.current_time()
                assert engine.answers
                await trio.sleep(2 * 20 + REPLACED_S - 1)
                assert engine.answers  # each window has its time
                await trio.sleep(2)
                count(manager)
                assert not engine.answers
                await trio.sleep(100)
                assert count(manager) == 0
                assert "the engine does not answer" in caplog.text
                worker.batch, worker.busy_since = [], None
                await trio.sleep(10)
                assert count(manager) == 1
                nursery.cancel_scope.cancel()
        notifier.close()


def window() -> DecodeJob:
    return DecodeJob("s", Kind.FILE, Window(audio=b"\0\0"), 16000, Options())


def count(manager: socket.socket) -> int:
    """Signs of life that came."""
    signs = 0
    try:
        while True:
            signs += manager.recv(4096) == b"WATCHDOG=1"
    except BlockingIOError:
        return signs
