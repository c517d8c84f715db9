"""The latest samples of a stream. In: mono samples as they come. Out: those of a window, and when they came."""

from __future__ import annotations

from collections import deque


class SampleBuffer:
    """The samples of a stream that may still be needed, by their numbers: from `start` up to `end`.

    Args:
        rate: Samples a second.
        start: Number of the first sample.
    """

    def __init__(self, rate: int, start: int = 0) -> None:
        self.start = self.end = start
        self._rate = rate
        self._data = bytearray()
        self._arrivals: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        return self.end - self.start

    def feed(self, mono: bytes, arrived: float) -> None:
        """Add samples (mono s16le), received at `arrived` seconds of the caller's clock."""
        self._data += mono
        self.end += len(mono) // 2
        self._arrivals.append((self.end, arrived))

    def samples(self, start: int, end: int) -> bytes:
        """Return the samples from `start` up to `end`."""
        offset = 2 * (start - self.start)
        return bytes(self._data[offset : offset + 2 * (end - start)])

    def arrival(self, sample: int) -> float:
        """Return when the samples up to `sample` had been received."""
        arrived = 0.0
        for until, arrived in self._arrivals:  # noqa: B007 - the first that reaches the sample
            if until >= sample:
                break
        return arrived

    def trim(self, needed: int) -> None:
        """Forget what comes before sample `needed`."""
        # In blocks, or every frame of silence would move the whole buffer.
        if needed - self.start > self._rate:
            del self._data[: 2 * (needed - self.start)]
            self.start = needed
        while len(self._arrivals) > 1 and self._arrivals[0][0] < needed:
            self._arrivals.popleft()
