"""Decode a track of a media file with PyAV, for the daemon and for clients alike.

In: a file that is open for reading. Out: s16le at 16 kHz, a packet at a time, on the file's own clock: sound that
begins late or after a gap in the time stamps has silence before it. A track may change its rate and channels; a damaged
packet is left out. It opens nothing else, and starts no thread. PyAV is imported with the first file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

from .mixing import StereoMixer
from .timeline import JITTER_S, Timeline

RATE: Final = 16000

MOST_FAULTS: Final = 1000
"""Damaged packets after which no more of a file is read: it is nothing but damage."""

CHANGES: Final = "its sound changes its kind, which FFmpeg cannot follow"

TRACKS: Final = 8
"""Tracks that are looked at for sound."""

LOOK_S: Final = 3600.0
"""Seconds of all tracks together that are looked at for sound: what is silent for so long counts as silent."""

SILENT: Final = 128
"""Silence in unsigned bytes, which round off all below -48 dBFS."""

QUIET: Final = 30
"""Sound whose peak is this much lower than the loudest so far (30 dB) is a pause."""

OWN_ZERO: Final = ("mov", "matroska", "ogg", "flv", "asf", "nut")
"""Containers with time stamps in which 0 is the beginning."""

NO_ZERO: Final = ("mpegts", "mpeg")
"""Containers with time stamps that begin anywhere. The others have none, or FFmpeg counts them up itself."""

LATEST_S: Final = 60.0
"""The first stream of a container begins at 0 or soon after. One that begins later, and after more than its own
length, was cut out of a broadcast, and is timed from its beginning."""


def open_container(file: BinaryIO) -> Any:
    """Open a media file: itself and nothing that it may refer to, such as the entries of a playlist.

    Raises:
        av.FFmpegError, ValueError: FFmpeg cannot read it.
    """
    import av

    options = {"protocol_whitelist": "none"}
    if file.seekable() and _is_longer_wav(file):
        options["ignore_length"] = "1"
    try:
        return av.open(file, metadata_errors="ignore", options=options)
    except TypeError:  # PyAV 19 ignores unreadable metadata by itself
        return av.open(file, options=options)


def choose_track(file: BinaryIO, container: Any) -> tuple[Any, int, int | None]:
    """Choose the audio track of an open container that a listener would: the one marked as default, or the first; if it
    is silent, the next one with sound.

    Returns:
        The container, opened anew if it was read; the track's index; that of the silent one, if another was chosen.
    """
    tracks = container.streams.audio
    order = sorted(range(len(tracks)), key=lambda at: not _is_default(tracks[at]))
    if len(order) == 1 or not file.seekable():
        return container, order[0], None
    chosen = _first_with_sound(container, order[:TRACKS])
    container.close()
    file.seek(0)
    container = open_container(file)
    return (container, order[0], None) if chosen in (None, order[0]) else (container, chosen, order[0])


class TrackDecoder:
    """Decodes the audio track `number` (from 0) of an open container: mixed to mono, or if `split`, all of its channels
    interleaved.

    `channels`: how many are given. `seconds`: of sound and silence given so far. `broken`: what was wrong with the last
    damaged packet.
    """

    def __init__(self, container: Any, number: int, *, split: bool = False) -> None:
        self._container = container
        self._timeline = _timeline(container)
        self._track = container.streams.audio[number]
        self._layout, self.channels = "mono", 1
        context = self._track.codec_context
        if context is not None:  # there is a decoder for it
            context.thread_count = 1
            if split:
                self._layout, self.channels = context.layout.name, len(context.layout.channels)
        self._shape: tuple[str, str, int] | None = None
        self._resampler: Any = None
        self._mixer: StereoMixer | None = None
        self._mono: Any = None
        self._peak = 0
        self.seconds = 0.0
        self.broken: str | None = None

    def pieces(self) -> Iterator[bytes]:
        """All of its sound.

        Raises:
            av.FFmpegError, MemoryError: it needs more memory than there is.
        """
        import av

        packets = self._container.demux(self._track)
        faults = 0
        while faults <= MOST_FAULTS:
            try:
                packet = next(packets)
                for frame in packet.decode():
                    yield from self._frame(frame)
            except StopIteration:
                break
            except (av.FFmpegError, ValueError) as error:
                if getattr(error, "errno", None) == errno.ENOMEM:
                    raise
                unknown = isinstance(error, av.error.PatchWelcomeError)
                self.broken = CHANGES if unknown else getattr(error, "strerror", None) or str(error)
                faults += 1
        yield from self._flush()

    def _frame(self, frame: Any) -> Iterator[bytes]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        silence_s = 0.0 if self._timeline is None else self._timeline.silence_before(frame.time)
        if shape != self._shape or silence_s:
            # A resampler takes only one kind of frame, and keeps some sound for the next one.
            yield from self._flush()
            self._start(frame)
            self._shape = shape
        for _ in range(int(silence_s)):
            yield self._given(bytes(2 * RATE * self.channels), RATE)
        rest = round(silence_s % 1 * RATE)
        if rest:
            yield self._given(bytes(2 * rest * self.channels), rest)
        frame.pts = None  # the resampler refuses times that jump
        yield from self._resampled(frame)

    def _start(self, frame: Any) -> None:
        import av

        layout = self._layout
        if layout == "mono" and len(frame.layout.channels) == 2:
            layout = "stereo"
            self._mixer = StereoMixer(RATE)
            self._mono = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        else:
            self._mixer = None
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=RATE)

    def _flush(self) -> Iterator[bytes]:
        import av

        if self._resampler is None:
            return
        try:
            yield from self._resampled(None)
        except (av.FFmpegError, ValueError):  # nothing was resampled
            return
        finally:
            self._resampler = None

    def _resampled(self, frame: Any) -> Iterator[bytes]:
        for piece in self._resampler.resample(frame):
            # Not as an array, which would import numpy; a plane may be longer than its samples.
            if self._mixer is not None:
                data = self._mixed(piece)
            else:
                data = bytes(memoryview(piece.planes[0])[: 2 * self.channels * piece.samples])
            if not self._is_left_out(data):
                yield self._given(data, piece.samples)

    def _mixed(self, piece: Any) -> bytes:
        assert self._mixer is not None
        samples = memoryview(piece.planes[0])[: 4 * piece.samples].cast("h")
        left, right = samples[0::2], samples[1::2]
        spans = self._mixer.spans(left, right)
        if any(opposite for _, _, opposite in spans):
            return self._mixer.mix(left, right, spans).tobytes()
        piece.pts = None
        return b"".join(bytes(mono.planes[0])[: 2 * mono.samples] for mono in self._mono.resample(piece))

    def _is_left_out(self, data: bytes) -> bool:
        """Whether this is a pause to leave out, because the file has more sound than time for it."""
        timeline = self._timeline
        if timeline is None or not data:
            return False
        samples = memoryview(data).cast("h")
        peak = max(max(samples), -min(samples)) if timeline.overlap > JITTER_S else 0
        self._peak = max(self._peak, peak)
        if timeline.overlap <= JITTER_S or peak * QUIET > self._peak:
            return False
        timeline.overlap -= len(data) / (2 * self.channels * RATE)
        return True

    def _given(self, data: bytes, samples: int) -> bytes:
        self.seconds += samples / RATE
        if self._timeline is not None:
            self._timeline.now += samples / RATE
        return data


def _timeline(container: Any) -> Timeline | None:
    """The clock of a container; None where FFmpeg counts the time up itself."""
    import av

    name = container.format.name.partition(",")[0]
    if name not in OWN_ZERO and name not in NO_ZERO:
        return None
    begin = (container.start_time or 0) / av.time_base
    length = None if container.duration is None else container.duration / av.time_base
    zero = begin
    if name in OWN_ZERO and 0 < begin <= max(LATEST_S, length or 0.0):
        zero = 0.0
    end = None if length is None else begin - zero + length
    return Timeline(zero, end, restarts=bool(container.format.flags & av.format.Flags.ts_discont.value))


def _is_default(track: Any) -> bool:
    import av

    return bool(track.disposition & av.stream.Disposition.default)


def _first_with_sound(container: Any, order: Sequence[int]) -> int | None:
    """The first track in `order` that is not silent; None if all are. Reads on until that is known."""
    import av

    resamplers: dict[int, Any] = {}
    loud: set[int] = set()
    looked_s, faults = 0.0, 0
    tracks = {container.streams.audio[at].index: at for at in order}
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            stream.codec_context.thread_count = 1
    packets = container.demux(*(container.streams.audio[at] for at in order))
    while order[0] not in loud and looked_s < LOOK_S and faults <= MOST_FAULTS:
        try:
            packet = next(packets)
            at = tracks[packet.stream.index]
            if at in loud:
                continue
            for frame in packet.decode():
                looked_s += frame.samples / frame.sample_rate
                shape = (frame.format.name, frame.layout.name, frame.sample_rate)
                if at not in resamplers or resamplers[at][0] != shape:
                    resamplers[at] = shape, av.AudioResampler(format="u8", layout="mono", rate=8000)
                frame.pts = None
                for piece in resamplers[at][1].resample(frame):
                    data = bytes(piece.planes[0])[: piece.samples]
                    if data.count(SILENT) != len(data):
                        loud.add(at)
        except StopIteration:
            break
        except (av.FFmpegError, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOMEM:
                raise
            faults += 1
    return next((at for at in order if at in loud), None)


def _is_longer_wav(file: BinaryIO) -> bool:
    """Whether a WAV goes on behind the samples that its header counts with what is no chunk: more samples."""
    whole = file.seek(0, os.SEEK_END)
    at, name = 12, b""
    head = _read_at(file, 0, 12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        while name != b"data" and at + 8 <= whole:
            name, at = _chunk(file, at)
    longer = name == b"data" and at + 8 <= whole
    if longer:
        name, end = _chunk(file, at)
        longer = end > whole + 1 or not all(0x20 <= byte < 0x7F for byte in name)
    file.seek(0)
    return longer


def _chunk(file: BinaryIO, at: int) -> tuple[bytes, int]:
    """The name of the chunk at `at`, and where it ends, with the byte that makes its length even."""
    head = _read_at(file, at, 8)
    size = int.from_bytes(head[4:], "little")
    return head[:4], at + 8 + size + (size & 1)


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
