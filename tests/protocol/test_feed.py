from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convo.errors import EventsLost
from convo.feed import Feed
from convo.messages import (
    AudioAck,
    Event,
    FinalSummary,
    Progress,
    SessionState,
    SessionWarning,
    SpeechEnded,
    SpeechStarted,
    State,
    SummaryDelta,
    TranscriptPartial,
    TranscriptSegment,
)


def state(seq: int, state: State = State.PROCESSING) -> SessionState:
    return SessionState(session="s", seq=seq, state=state)


def segment(seq: int, number: int) -> TranscriptSegment:
    return TranscriptSegment(
        session="s",
        seq=seq,
        segment=number,
        start=0,
        end=1,
        text="x",
        language="en",
        confidence=1,
        lag_ms=1,
    )


def partial(number: int, text: str = "") -> TranscriptPartial:
    return TranscriptPartial(session="s", segment=number, start=0, end=1, stable=text, tentative="")


def ack(offset: int) -> AudioAck:
    return AudioAck(session="s", offset=offset, credit=1)


def delta(text: str, *, restart: bool = False) -> SummaryDelta:
    return SummaryDelta(session="s", text=text, restart=restart)


def summary(seq: int) -> FinalSummary:
    return FinalSummary(
        session="s",
        seq=seq,
        provider="p",
        model="m",
        title="",
        summary="",
        key_points=[],
        action_items=[],
        keywords=[],
        language="en",
    )


def put_all(feed: Feed, *events: Event) -> list[Event]:
    for event in events:
        feed.put(event)
    return take_all(feed)


def take_all(feed: Feed) -> list[Event]:
    events = []
    while (event := feed.take()) is not None:
        events.append(event)
    return events


def test_stored_events_come_as_they_are() -> None:
    events = [state(1), segment(2, 0), segment(3, 1), state(4, State.COMPLETED)]
    assert put_all(Feed("s"), *events) == events


def test_the_latest_of_an_ephemeral_kind_wins() -> None:
    feed = Feed("s")
    assert put_all(feed, ack(1), partial(0, "a"), ack(2), partial(0, "b"), ack(3)) == [partial(0, "b"), ack(3)]
    done = Progress(session="s", done_s=1.0), Progress(session="s", done_s=2.0)
    assert put_all(feed, *done) == [done[1]]


def test_an_ephemeral_event_never_moves_before_a_stored_one() -> None:
    events = put_all(Feed("s"), ack(1), state(1), ack(2), segment(2, 0), ack(3))
    assert events == [state(1), segment(2, 0), ack(3)]


def test_a_partial_of_a_finished_segment_is_dropped() -> None:
    feed = Feed("s")
    assert put_all(feed, partial(0), segment(1, 0)) == [segment(1, 0)]
    assert put_all(feed, partial(0), partial(1)) == [partial(1)]
    assert put_all(feed, partial(2), segment(2, 1)) == [partial(2), segment(2, 1)]


def test_speech_ends_and_starts_in_order() -> None:
    started = [SpeechStarted(session="s", time=time) for time in (1.0, 3.0)]
    ended = SpeechEnded(session="s", time=2.0)
    assert put_all(Feed("s"), started[0], ended, started[1]) == [ended, started[1]]


def test_pieces_of_a_summary_are_joined_and_then_replaced() -> None:
    feed = Feed("s")
    assert put_all(feed, delta("a"), ack(1), delta("b")) == [ack(1), delta("ab")]
    assert put_all(feed, delta("c"), summary(1)) == [summary(1)]


def test_pieces_of_a_summary_stay_small() -> None:
    feed = Feed("s")
    for _ in range(20):
        feed.put(delta("x" * 100_000))
    (event,) = take_all(feed)
    assert isinstance(event, SummaryDelta)
    assert len(event.text) == 1 << 20


def test_a_delta_that_begins_anew_takes_the_place_of_those_that_wait() -> None:
    feed = Feed("s", after_seq=0)
    pieces = [delta("They", restart=True), delta(" s"), delta("We", restart=True), delta(" spoke.")]
    assert put_all(feed, *pieces) == [delta("We spoke.", restart=True)]
    assert put_all(feed, delta(" All"), delta(".")) == [delta(" All.")]


def test_what_was_told_twice_is_told_once() -> None:
    feed = Feed("s", after_seq=2)
    assert put_all(feed, state(1), state(2), state(3), state(3), state(4)) == [state(3), state(4)]


def test_a_new_session_may_begin_anywhere_and_has_no_gaps_after() -> None:
    feed = Feed("s")
    assert put_all(feed, state(7), state(8)) == [state(7), state(8)]
    feed.put(state(10))
    with pytest.raises(EventsLost):
        feed.take()


def test_a_gap_is_a_loss() -> None:
    feed = Feed("s", after_seq=4)
    feed.put(state(5))
    feed.put(state(7))
    feed.put(ack(1))
    assert feed.take() == state(5)
    for _ in range(2):
        with pytest.raises(EventsLost, match="after_seq=5") as caught:
            feed.take()
        assert (caught.value.session, caught.value.after_seq) == ("s", 5)


def test_stored_events_are_bounded() -> None:
    feed = Feed("s", after_seq=0, bound=3)
    for seq in range(1, 1000):
        feed.put(SessionWarning(session="s", seq=seq, code="x", message="x"))
    assert [feed.take() for _ in range(3)]
    with pytest.raises(EventsLost, match="after_seq=3"):
        feed.take()


def test_finished_once_the_final_state_is_taken() -> None:
    feed = Feed("s")
    feed.put(state(1, State.TRANSCRIBED))
    feed.put(state(2, State.COMPLETED))
    assert not feed.finished
    feed.take()
    assert not feed.finished
    feed.take()
    assert feed.finished


def test_a_replay_is_finished_at_its_end() -> None:
    """Completed, summarised anew, completed again: the first `completed` of the replay is not the end."""
    feed = Feed("s", after_seq=0, replay_until=4, state=State.COMPLETED)
    told = [state(1, State.COMPLETED), state(2, State.TRANSCRIBED), state(3, State.COMPLETED), summary(4)]
    finished = []
    for event in told:
        feed.put(event)
        feed.take()
        finished.append(feed.finished)
    assert finished == [False, False, False, True]


def test_a_finished_session_without_news_is_finished() -> None:
    assert Feed("s", after_seq=9, replay_until=9, state=State.FAILED).finished
    assert not Feed("s", after_seq=9, replay_until=9, state=State.PROCESSING).finished


_EVENTS = st.lists(st.sampled_from(["stored", "segment", "partial", "ack", "delta", "take"]), max_size=60)


@given(kinds=_EVENTS)
def test_stored_events_survive_any_mixture(kinds: list[str]) -> None:
    feed = Feed("s")
    taken: list[Event] = []
    seq = number = 0
    for kind in kinds:
        if kind == "take":
            event = feed.take()
            taken += [event] if event is not None else []
            continue
        if kind in ("stored", "segment"):
            seq += 1
        feed.put(
            {
                "stored": state(seq),
                "segment": segment(seq, number),
                "partial": partial(number),
                "ack": ack(seq),
                "delta": delta("x"),
            }[kind]
        )
        number += kind == "segment"
        assert feed.waiting <= seq + 6
    taken += take_all(feed)
    seqs = [event.seq for event in taken if isinstance(event, SessionState | TranscriptSegment)]
    assert seqs == list(range(1, seq + 1))
    finished = -1
    for event in taken:
        if isinstance(event, TranscriptSegment):
            finished = event.segment
        elif isinstance(event, TranscriptPartial):
            assert event.segment > finished
