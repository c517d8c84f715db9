"""The microphone: PortAudio through sounddevice, which is imported when the first one is opened.

In: PortAudio's callback, in a thread of its own. Out: pieces of s16le mono in order. What waits is bounded; beyond that
the newest is dropped and counted. This module knows no loop: its owner is woken by a function that any thread may call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import BadAudio, NoMicrophone
from .media import PACED_S, seconds
from .messages import AudioFormat

RATE = 16000
WAITING_S = 30.0
"""Seconds that may wait for a slow reader."""


@dataclass(frozen=True)
class InputDevice:
    """A microphone: `name` finds it again, `usual` marks the system's default."""

    name: str
    channels: int
    rate: float
    usual: bool


def input_devices() -> list[InputDevice]:
    """List the microphones that are connected now.

    Raises:
        NoMicrophone: sounddevice or PortAudio is not installed.
        BadAudio: PortAudio cannot list them.
    """
    sounddevice = _sounddevice()
    try:
        listed = sounddevice.query_devices()
        usual = sounddevice.default.device[0]
    except sounddevice.PortAudioError as error:
        raise BadAudio(f"Cannot list the microphones: {error}.") from None
    return [
        InputDevice(
            str(device["name"]), int(device["max_input_channels"]), float(device["default_samplerate"]), index == usual
        )
        for index, device in enumerate(listed)
        if device["max_input_channels"] > 0
    ]


class Microphone:
    """Listens from the moment it is made until `close`.

    Args:
        device: part of a name, or a number; None for the usual.
        wake: called in PortAudio's thread whenever something came or the device went away.
    """

    def __init__(self, device: str | None, wake: Callable[[], object]) -> None:
        self._waiting: deque[bytes] = deque()  # appended to in the callback's thread, emptied in the owner's
        self._most = round(WAITING_S / PACED_S)
        self._dropped = 0
        self._wake = wake
        self.ended = False
        self._stream, rate = _start(_number_or_name(device), self._came, self._finished)
        self.format = AudioFormat(encoding="s16le", rate=rate, channels=1)

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting)

    @property
    def waiting_s(self) -> float:
        """Seconds that have not been taken yet."""
        return len(self._waiting) * PACED_S

    def take(self) -> bytes:
        """Take everything that was recorded since the last call."""
        pieces = []
        while self._waiting:
            pieces.append(self._waiting.popleft())
        return b"".join(pieces)

    def rest(self) -> bytes:
        """Stop, and take what was recorded until now."""
        self._stream.stop()  # returns once the callback has had all that was recorded
        return self.take()

    def lost_s(self) -> float:
        """Seconds that were dropped."""
        return seconds(self.format, self._dropped)

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()

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
        self.ended = True
        self._wake()


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise NoMicrophone("The microphone needs the package sounddevice: run `pip install 'convo[mic]'`.") from None
    except OSError:
        raise NoMicrophone(
            "The microphone needs the PortAudio library: install it (Debian and Ubuntu: libportaudio2, "
            "Fedora: portaudio, macOS: brew install portaudio)."
        ) from None
    return sounddevice


def _start(device: int | str | None, came: Any, finished: Any) -> tuple[Any, int]:
    """A running stream and its rate: 16 kHz, or what the device does by itself if it cannot do that."""
    sounddevice = _sounddevice()
    try:
        usual = sounddevice.query_devices(device, "input")
        own = min(48000, max(8000, int(usual["default_samplerate"])))
        rates = [RATE] if own == RATE else [RATE, own]
        for rate in rates:
            try:
                sounddevice.check_input_settings(device=device, channels=1, dtype="int16", samplerate=rate)
            except sounddevice.PortAudioError:
                continue
            break
        else:
            raise BadAudio("This microphone gives no audio that convo can take: choose another by --device.")
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
        raise BadAudio(
            f"Cannot open the microphone: {error}. `python -m sounddevice` lists what --device may name."
        ) from None
    return stream, rate


def _number_or_name(device: str | None) -> int | str | None:
    return int(device) if device is not None and device.isdigit() else device
