"""The terminal app's manners: `scripts/bench/app`.

In: nothing. Out: figures on standard output. Wall times are of this machine with all that runs on it; processor time is
the app's own. No daemon takes part: none is needed to draw.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import random
import select
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

from convo.messages import TranscriptPartial, TranscriptSegment
from convo_tui.app import ConvoApp
from convo_tui.arguments import parse
from convo_tui.messages import SessionEvents
from convo_tui.model.session import Change, SessionModel
from convo_tui.screens.session import SessionScreen
from convo_tui.widgets.transcript import TranscriptView
from convo_tui.work.session import Watch

STARTS = 7
IDLE_S = 30.0
FLOOD_S = 5.0
SEGMENTS = 20_000
SAID = "we plan the release and review its budget before lunch on friday with the whole mobile team"
WORDS = SAID.split()


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CONFIG_HOME"] = place
        starts = [_start() for _ in range(STARTS)]
        walls, cpus = (sorted(round(each * 1000) for each in column) for column in zip(*starts, strict=True))
        print(f"first screen, ms: wall {walls}, processor {cpus}")
        print(f"idle: {_start(idle=True)[0]:.2f} % of a processor over {IDLE_S:.0f} s")
        asyncio.run(_flood())
        asyncio.run(_long())


def _start(*, idle: bool = False) -> tuple[float, float]:
    """Seconds until the first screen, wall and processor; with `idle` per cent of a processor afterwards."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, "-m", "convo_tui", "--connect", "unix:/nowhere/convod.sock"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen = b""
    while b"Captions of what" not in seen:
        seen += os.read(terminal, 65536)
    figures = time.perf_counter() - began, sum(map(_processor_s, (pid, *_children(pid))))
    if idle:
        _drain(terminal, 3.0)
        (child,) = _children(pid)
        before = _processor_s(child)
        _drain(terminal, IDLE_S)
        figures = (_processor_s(child) - before) / IDLE_S * 100, 0.0
    os.write(terminal, b"q")
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # how Linux says that the other end is closed
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return figures


def _drain(terminal: int, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        if select.select([terminal], [], [], left)[0]:
            os.read(terminal, 65536)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Still(ConvoApp):
    def _begin(self) -> None:
        return


async def _flood() -> None:
    app, drawn, sent = _Still(parse([])), 0, 0
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        app.context.live.model.session = "s"
        view = app.screen.query_one(TranscriptView)
        draw = view.refresh_model

        def counted() -> None:
            nonlocal drawn
            drawn += 1
            draw()

        view.refresh_model = counted  # type: ignore[method-assign]
        watch = Watch(app.context.daemon.link, app.context.live.model, app.post_message)
        began = time.perf_counter()
        while time.perf_counter() - began < FLOOD_S:
            for _ in range(20):
                sent += 1
                watch._take(  # noqa: SLF001 - as if the daemon had sent it
                    TranscriptPartial(session="s", segment=0, start=0, end=1, stable="", tentative=f"word {sent}")
                )
            await asyncio.sleep(0.01)
        took = time.perf_counter() - began
        watch._stop_flush()  # noqa: SLF001
        await pilot.pause()  # nothing is on its way when the screen goes
    print(f"flood: {sent / took:.0f} partials a second, drawn {drawn / took:.1f} times a second")


async def _long() -> None:
    app, chance = _Still(parse([])), random.Random(1)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = SessionScreen(app.context, SessionModel(session="s"))
        app.push_screen(screen)
        await pilot.pause()
        events = [
            TranscriptSegment(
                session="s", seq=number + 1, segment=number, start=number * 1.8, end=number * 1.8 + 1.5,
                text=" ".join(chance.choices(WORDS, k=chance.randint(3, 28))), language="en", confidence=1, lag_ms=1,
            )
            for number in range(SEGMENTS)
        ]  # fmt: skip
        app.post_message(SessionEvents(screen.model, tuple(events), None, 0.0))
        await pilot.pause()
        view = screen.body.transcript
        steps = []
        for row in range(0, view.virtual_size.height, view.virtual_size.height // 400):
            began = time.perf_counter()
            view.scroll_to(y=row, animate=False, immediate=True, force=True)
            for each in range(view.size.height):
                view.render_line(each)
            steps.append(time.perf_counter() - began)
        steps.sort()
        began = time.perf_counter()
        screen.session_changed(screen.model, Change.LINES)
        more = time.perf_counter() - began
    median, worst = (steps[int(len(steps) * part)] * 1000 for part in (0.5, 0.99))
    print(
        f"{SEGMENTS} segments: {_memory_mb():.0f} MB; a screen further {median:.1f} ms, at worst {worst:.1f} ms "
        f"(99th of 100); a line more {more * 1000:.1f} ms"
    )


if __name__ == "__main__":
    main()
