"""The loudspeaker: PortAudio through sounddevice, which is imported when something is played.

In: s16le, mono. Out: sound on the system's usual device, from the moment it is made until all is played or `close`.
PortAudio calls back in a thread of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from convo.errors import ConvoError
from convo.media import DECODED


class NoLoudspeaker(ConvoError):
    """Nothing can be played here; the text says what to do."""


def usual_rate() -> int:
    """The rate to play decoded sound at: its own, or the device's if it takes no other. Raises NoLoudspeaker."""
    sounddevice = _sounddevice()
    try:
        usual = sounddevice.query_devices(None, "output")
        try:
            sounddevice.check_output_settings(channels=1, dtype="int16", samplerate=DECODED.rate)
        except sounddevice.PortAudioError:
            return int(usual["default_samplerate"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise _silent(error) from None
    return DECODED.rate


class Loudspeaker:
    """Plays `data` at `rate`, then calls `done`, in another thread. Raises NoLoudspeaker."""

    def __init__(self, data: bytes, rate: int, done: Callable[[], object]) -> None:
        sounddevice = _sounddevice()
        self._data = data
        self._at = 0
        self._stop: type[Exception] = sounddevice.CallbackStop
        try:
            self._stream = sounddevice.RawOutputStream(
                samplerate=rate, channels=1, dtype="int16", callback=self._wanted, finished_callback=done
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            raise _silent(error) from None

    def close(self) -> None:
        """Stop at once."""
        self._stream.close()

    def _wanted(self, out: Any, frames: int, time: object, status: object) -> None:
        piece = self._data[self._at : self._at + len(out)]
        self._at += len(piece)
        out[:] = piece + bytes(len(out) - len(piece))
        if len(piece) < len(out):
            raise self._stop


def resampled(data: bytes, rate: int) -> bytes:
    """Decoded sound at another rate, by straight lines between its samples: good enough for speech."""
    samples = array("h", data)
    if rate == DECODED.rate or not samples:
        return data
    samples.append(samples[-1])
    out = array("h")
    for number in range((len(samples) - 1) * rate // DECODED.rate):
        at, part = divmod(number * DECODED.rate, rate)
        out.append(samples[at] + (samples[at + 1] - samples[at]) * part // rate)
    return out.tobytes()


def _silent(error: Exception) -> NoLoudspeaker:
    return NoLoudspeaker(f"No device plays sound here ({error}): connect one, then try again.")


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise NoLoudspeaker("Playing sound needs the package sounddevice: run `pip install 'convo[mic]'`.") from None
    except OSError:
        raise NoLoudspeaker(
            "Playing sound needs the PortAudio library: install it (Debian and Ubuntu: libportaudio2, "
            "Fedora: portaudio, macOS: brew install portaudio)."
        ) from None
    return sounddevice
