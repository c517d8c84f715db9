"""One talk spoken in real time to a daemon, and all that was shown, with the time of each showing.

In: a client, a talk. Out: a `Showing`. Times are seconds since the talk's first sample was due.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trio

from convo import messages

from .talk import SECOND, Talk, align, errors, plain

PIECE_S = 0.02
"""Audio comes in pieces of this length, as from a microphone."""


@dataclass
class Showing:
    """What one talk looked like. `screens`: (time, segment, text, is_final) as it came."""

    talk: Talk
    segments: list[tuple[float, messages.TranscriptSegment]] = field(default_factory=list)
    partials: list[tuple[float, messages.TranscriptPartial]] = field(default_factory=list)

    @property
    def text(self) -> list[str]:
        """The final words."""
        return plain(" ".join(segment.text for _, segment in self.segments))

    def errors(self) -> int:
        """Words wrong in the final text."""
        return errors([word.text for word in self.talk.words], self.text)

    def word_latencies(self) -> list[float]:
        """Seconds from a word's end in the audio to its first correct appearance, for words that appear."""
        said = [word.text for word in self.talk.words]
        first: dict[int, float] = {}
        moments: list[tuple[float, Any]] = sorted([*self.segments, *self.partials], key=lambda moment: moment[0])
        done: list[str] = []
        for time, event in moments:
            if isinstance(event, messages.TranscriptSegment):
                done += plain(event.text)
                shown = done
            else:
                shown = done + plain(f"{event.stable} {event.tentative}")
            # Only words near the end can be new: aligning a window keeps this linear.
            begin = max(0, len(done) - 60)
            upto = sum(word.end <= time + 0.05 for word in self.talk.words)
            low = max(0, begin - 10)
            places = align(said[low:upto], shown[begin:])
            for i, place in enumerate(places):
                if place is not None:
                    first.setdefault(low + i, time)
        return [time - self.talk.words[i].end for i, time in first.items()]

    def final_latencies(self, endpoint_s: float) -> list[float]:
        """Seconds from the endpoint (last speech + endpoint) to the segment, over all segments."""
        # A segment's end lies 200 ms after its last speech.
        return [time - (segment.end - 0.2 + endpoint_s) for time, segment in self.segments]

    def flicker(self) -> tuple[float, float]:
        """Share of tentative words that later change, and of stable ones."""
        finals = {segment.segment: plain(segment.text) for _, segment in self.segments}
        shown: dict[str, set[tuple[int, int, str]]] = {"stable": set(), "tentative": set()}
        for _, partial in self.partials:
            stable = plain(partial.stable)
            for i, word in enumerate(stable):
                shown["stable"].add((partial.segment, i, word))
            for i, word in enumerate(plain(partial.tentative), len(stable)):
                shown["tentative"].add((partial.segment, i, word))

        def changed(kind: str) -> float:
            wrong = sum(
                not (i < len(finals.get(segment, [])) and finals[segment][i] == word)
                for segment, i, word in shown[kind]
            )
            return wrong / max(1, len(shown[kind]))

        return changed("tentative"), changed("stable")


async def speak(client: Any, talk: Talk, *, delay_s: float = 0.0, interim: bool = True) -> Showing:
    """Speak a talk in real time as a live session; returns when it is transcribed."""
    showing = Showing(talk)
    await trio.sleep(delay_s)
    session = await client.create_session(kind="live", interim=interim, summary=messages.SummaryOptions(mode="off"))
    begin = trio.current_time()

    async def feed() -> None:
        size = int(PIECE_S * SECOND)
        for offset in range(0, len(talk.pcm), size):
            await trio.sleep_until(begin + (offset + size) / SECOND)
            await session.send_audio(talk.pcm[offset : offset + size])
        await session.end()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        async for event in session.events():
            now = trio.current_time() - begin
            if isinstance(event, messages.TranscriptSegment):
                showing.segments.append((now, event))
            elif isinstance(event, messages.TranscriptPartial):
                showing.partials.append((now, event))
    return showing
