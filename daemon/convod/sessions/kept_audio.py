"""Kept audio, cut into windows: any second of a live session's, and those of a file one after the other.

In: a session's record and the spool. Out: mono s16le, at most a window of it in memory. A file is decoded by a process
of its own, from its start on, as when it was transcribed: the seconds are the same.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

import trio

from convo.messages import Code
from convod.engine.decode import Decoding, decoding
from convod.engine.wire import RATE
from convod.sessions.session import SessionFailed
from convod.speech.pcm import PcmFormat, PcmReader
from convod.store import Record, Spool


class DecoderDied(Exception):
    """The process that decodes the file ended early, and the file may not be to blame; the text says how."""


class KeptAudio(Protocol):
    """The audio of a session that is over."""

    rate: int

    async def cut(self, begin: float, end: float, channel: int) -> bytes:
        """Mono s16le from one second to another, of a channel (from 1) or of all of them mixed (0).

        `begin` is never before that of an earlier call.

        Raises:
            SpoolFailed, SessionFailed: it cannot be read.
            DecoderDied: try again.
        """


@asynccontextmanager
async def kept_audio(spool: Spool, record: Record, limit_s: float) -> AsyncIterator[KeptAudio]:
    """The audio of a session until the end of the block; of a file at most `limit_s` seconds (0: any number)."""
    if record.kind == "live":
        yield _Live(spool, record)
        return
    splits = record.config.channels == "split"
    source = decoding(spool.path(record.id), track=record.config.audio.track, limit_s=limit_s, split=splits)
    async with source as decoded, aclosing(decoded.pieces()) as pieces:
        yield _File(decoded, pieces, splits)


class _Live:
    def __init__(self, spool: Spool, record: Record) -> None:
        audio = record.config.audio
        self.rate = audio.rate
        self._pcm = PcmFormat(audio.encoding, audio.rate, audio.channels)
        self._spool = spool
        self._session = record.id

    async def cut(self, begin: float, end: float, channel: int) -> bytes:
        return await trio.to_thread.run_sync(self._read, round(begin * self.rate), round(end * self.rate), channel)

    def _read(self, first: int, last: int, channel: int) -> bytes:
        size = self._pcm.frame_bytes
        data = self._spool.read(self._session, first * size, (last - first) * size)
        samples = PcmReader(self._pcm, split=channel > 0).feed(data)
        return _of_channel(samples, channel, self._pcm.channels) if channel else samples


class _File:
    rate = RATE

    def __init__(self, decoded: Decoding, pieces: AsyncGenerator[bytes, None], splits: bool) -> None:
        self._decoded = decoded
        self._pieces = pieces
        self._channels = 0 if splits else 1  # unknown: the first byte says how many there are
        self._rest = bytearray()
        self._at = 0  # samples before the rest

    async def cut(self, begin: float, end: float, channel: int) -> bytes:
        first, last = round(begin * RATE), round(end * RATE)
        self._drop(first)
        while self._at + self._samples < last and (piece := await anext(self._pieces, None)) is not None:
            if not self._channels:
                self._channels, piece = piece[0], piece[1:]
            self._rest += piece
            self._drop(first)
        if self._at + self._samples < last:
            if self._decoded.refusal is not None:
                raise SessionFailed(*self._decoded.refusal)
            if self._decoded.died is not None:
                raise DecoderDied(self._decoded.died)
        data = bytes(self._rest[: 2 * max(1, self._channels) * max(0, last - self._at)])
        return _of_channel(data, channel, self._channels) if channel else data

    @property
    def _samples(self) -> int:
        return len(self._rest) // (2 * self._channels) if self._channels else 0

    def _drop(self, first: int) -> None:
        """Forget what lies before a sample."""
        count = min(first - self._at, self._samples)
        if count > 0:
            del self._rest[: 2 * self._channels * count]
            self._at += count


def _of_channel(data: bytes, channel: int, channels: int) -> bytes:
    whole = len(data) - len(data) % (2 * max(1, channels))
    if channel > channels:
        raise SessionFailed(Code.BAD_AUDIO, f"the audio has {channels} channels now, and no channel {channel}")
    return array("h", data[:whole])[channel - 1 :: channels].tobytes()
