"""The microphone as a source of a live session's samples.

In: PortAudio's callback, in a thread of its own. Out: pieces of s16le mono in order. What waits is bounded;
beyond that the newest is dropped, counted and told, never the command's memory.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import trio

from convo.messages import AudioFormat

from .errors import Exit, Problem
from .sources import PACED_S, Source, seconds

_RATE = 16000
_WAITING_S = 30.0  # seconds that may wait while the daemon is slow to take them


class Microphone(Source):
    """Listens from the moment it is made until `close`. `device`: part of a name, or a number; None for the usual."""

    def __init__(self, device: str | None) -> None:
        self.name = "The microphone"
        self._waiting: deque[bytes] = deque()  # appended to in the callback's thread, emptied in ours
        self._most = round(_WAITING_S / PACED_S)
        self._dropped = 0
        self._ended = False
        self._token = trio.lowlevel.current_trio_token()
        self._news = trio.Event()
        self._stream, rate = _start(_number_or_name(device), self._came, self._finished)
        self.format = AudioFormat(encoding="s16le", rate=rate, channels=1)

    async def read(self) -> bytes:
        """All that came since; waits if that is nothing."""
        while not self._waiting and not self._ended:
            await self._news.wait()
            self._news = trio.Event()
        if not self._waiting:
            raise Problem(Exit.BAD_AUDIO, "The microphone went away: plug it in and start again.")
        return self._take()

    def rest(self) -> bytes:
        """What was recorded until now."""
        self._stream.stop()  # returns once the callback has had all that was recorded
        return self._take()

    def lost_s(self) -> float:
        """Seconds that were dropped."""
        return seconds(self.format, self._dropped)

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()

    def _take(self) -> bytes:
        pieces = []
        while self._waiting:
            pieces.append(self._waiting.popleft())
        return b"".join(pieces)

    # --- in PortAudio's thread ----------------------------------------------------------------------------

    def _came(self, data: Any, frames: int, time: object, status: Any) -> None:
        if status and status.input_overflow:
            self._dropped += frames * 2  # PortAudio does not say how much; at least about one piece
        if len(self._waiting) < self._most:
            self._waiting.append(bytes(data))
        else:
            self._dropped += len(data)
        self._wake()

    def _finished(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        try:
            self._token.run_sync_soon(self._ring, idempotent=True)
        except trio.RunFinishedError:
            return  # the command has ended already

    def _ring(self) -> None:
        self._news.set()


def _start(device: int | str | None, came: Any, finished: Any) -> tuple[Any, int]:
    """A running stream and its rate: 16 kHz, or what the device does by itself if it cannot do that."""
    try:
        import sounddevice
    except ImportError:
        raise Problem(
            Exit.OTHER, "The microphone needs the package sounddevice: run `pip install 'convo[mic]'`."
        ) from None
    except OSError:
        raise Problem(
            Exit.OTHER,
            "The microphone needs the PortAudio library: install it (Debian and Ubuntu: libportaudio2, "
            "Fedora: portaudio, macOS: brew install portaudio).",
        ) from None
    try:
        usual = sounddevice.query_devices(device, "input")
        own = min(48000, max(8000, int(usual["default_samplerate"])))
        rates = [_RATE] if own == _RATE else [_RATE, own]
        for rate in rates:
            try:
                sounddevice.check_input_settings(device=device, channels=1, dtype="int16", samplerate=rate)
            except sounddevice.PortAudioError:
                continue
            break
        else:
            raise Problem(
                Exit.BAD_AUDIO, "This microphone gives no audio that convo can take: choose another by --device."
            )
        stream = sounddevice.RawInputStream(
            samplerate=rate,
            blocksize=round(PACED_S * rate),
            device=device,
            channels=1,
            dtype="int16",
            callback=came,
            finished_callback=finished,
        )
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise Problem(
            Exit.BAD_AUDIO,
            f"Cannot open the microphone: {error}. `python -m sounddevice` lists what --device may name.",
        ) from None
    return stream, rate


def _number_or_name(device: str | None) -> int | str | None:
    return int(device) if device is not None and device.isdigit() else device
