from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convod.speech.endpointer import Endpointer, EndpointSettings, Paused, Resumed, UtteranceEnded, UtteranceStarted

RATE = 16000
FRAME = 480  # 30 ms


def play(script: str, endpointer: Endpointer | None = None, *, level: float = -30.0):
    """`#` is a frame of speech, `.` one of silence. What happened, each with the frame's number."""
    endpointer = endpointer or Endpointer(RATE)
    happened = []
    for number, sign in enumerate(script):
        speech = sign == "#"
        happened += [
            (number, one) for one in endpointer.frame((number + 1) * FRAME, speech, level if speech else -80.0)
        ]
    return endpointer, happened


def kinds(happened) -> list[type]:
    return [type(one) for _, one in happened]


def ms(value: int) -> int:
    return value * RATE // 1000


def test_a_sentence_opens_with_a_pre_roll_pauses_and_closes_a_little_after_its_last_speech():
    _, happened = play("." * 20 + "#" * 30 + "." * 20)
    onset, last = 20 * FRAME, 50 * FRAME
    assert [one for _, one in happened] == [
        UtteranceStarted(0, onset - ms(300), onset),
        Paused(0, last),
        UtteranceEnded(0, onset - ms(300), onset, last + ms(200), 30 * FRAME, last_speech=last, clear=True),
    ]


@pytest.mark.parametrize(("hiss_dbfs", "clear"), [(-60.0, False), (-56.0, False), (-54.0, True), (-20.0, True)])
@pytest.mark.parametrize("hiss", ["###", "########"])
def test_an_onset_is_clear_if_it_is_about_as_loud_as_the_rest(hiss: str, hiss_dbfs: float, clear: bool) -> None:
    endpointer, _ = play(f"....{hiss}", level=hiss_dbfs)
    at = 4 + len(hiss)
    events = [
        event
        for number in range(at, at + 40)
        for event in endpointer.frame((number + 1) * FRAME, number < at + 10, -30.0)
    ]
    assert [event.clear for event in events if isinstance(event, UtteranceEnded)] == [clear]


@pytest.mark.parametrize(
    ("script", "opens"),
    [
        ("..##....##..", False),  # 60 ms in any 180
        ("..#.#.#.....", True),  # 90 ms within 180
        ("..#..#..#...", False),  # 60 ms within 180
        ("###", True),
    ],
)
def test_an_utterance_opens_when_enough_of_the_ring_is_speech(script, opens):
    endpointer, happened = play(script)
    assert (UtteranceStarted in kinds(happened)) is opens
    assert (endpointer.open_since is not None) is opens


def test_the_pre_roll_never_reaches_before_the_stream():
    _, ((_, opened),) = play("." * 3 + "#" * 3)
    assert opened == UtteranceStarted(0, 0, 3 * FRAME)


def test_the_pre_roll_never_reaches_into_the_last_utterance():
    _, happened = play("#" * 10 + "." * 17 + "#" * 10)
    closed = next(one for _, one in happened if isinstance(one, UtteranceEnded))
    second = [one for _, one in happened if isinstance(one, UtteranceStarted)][1]
    assert closed.end <= second.start <= second.onset


def test_speech_after_a_pause_is_the_same_utterance():
    _, happened = play("#" * 10 + "." * 10 + "#" * 10 + "." * 20)
    assert kinds(happened) == [UtteranceStarted, Paused, Resumed, Paused, UtteranceEnded]
    assert happened[-1][1].spoken == 20 * FRAME


@pytest.mark.parametrize("endpoint_ms", [200, 500, 3000])
def test_the_endpoint_is_as_long_as_it_was_set(endpoint_ms):
    endpointer = Endpointer(RATE, EndpointSettings(endpoint_ms=endpoint_ms))
    _, happened = play("#" * 10 + "." * 200, endpointer)
    number, closed = happened[-1]
    assert isinstance(closed, UtteranceEnded)
    silence = (number + 1 - 10) * FRAME
    assert ms(endpoint_ms) <= silence < ms(endpoint_ms) + FRAME


def test_flush_closes_at_the_last_sample_that_came():
    endpointer, _ = play("#" * 10)
    assert endpointer.flush(10 * FRAME + 123) == [
        UtteranceEnded(0, 0, 0, 10 * FRAME + 123, 10 * FRAME, last_speech=10 * FRAME, clear=True)
    ]
    assert endpointer.open_since is None
    assert endpointer.flush(10 * FRAME + 123) == []


def test_flush_gives_a_word_too_short_for_the_onset_a_chance():
    endpointer, happened = play("." * 10 + "##")
    assert happened == []
    opened, closed = endpointer.flush(12 * FRAME)
    assert (opened.onset, closed.end, closed.spoken) == (10 * FRAME, 12 * FRAME, 2 * FRAME)


def test_flush_in_silence_does_nothing():
    endpointer, _ = play("#" + "." * 10)
    assert endpointer.flush(11 * FRAME) == []


def test_what_follows_a_flush_inside_a_frame_begins_after_it():
    endpointer, _ = play("#" * 10)
    (closed,) = endpointer.flush(10 * FRAME + 200)
    happened = []
    for number in range(10, 20):
        happened += endpointer.frame((number + 1) * FRAME, True, -30.0)
    (opened,) = happened
    assert closed.end <= opened.start <= opened.onset


def test_a_long_utterance_is_cut_at_its_quietest_frame_and_goes_on_on_that_very_sample():
    endpointer = Endpointer(RATE)
    happened = []
    quiet = 800  # frame number: 24 s
    for number in range(1000):
        level = -50.0 if abs(number - quiet) <= 1 else -30.0
        happened += endpointer.frame((number + 1) * FRAME, True, level)
    opened, closed, again = happened
    assert closed.cut
    assert closed.start == opened.start
    assert closed.end == again.start == again.onset == (quiet + 1) * FRAME
    assert again.number == closed.number + 1
    assert closed.spoken == closed.end - closed.onset
    (last,) = endpointer.flush(1000 * FRAME)
    assert (last.start, last.end, last.spoken) == (again.start, 1000 * FRAME, 1000 * FRAME - again.start)


@pytest.mark.parametrize("rest", [0, 1, FRAME - 1])
@pytest.mark.parametrize("before", [0, 3, 50])
def test_no_utterance_is_longer_than_the_greatest_length_wherever_a_flush_comes(rest, before):
    longest = EndpointSettings().longest_ms
    for frames in range(925, 940):
        endpointer, happened = play("." * before + "#" * frames)
        happened = [one for _, one in happened] + endpointer.flush((before + frames) * FRAME + rest)
        closed = [one for one in happened if isinstance(one, UtteranceEnded)]
        assert max(one.end - one.start for one in closed) <= ms(longest)
        assert closed[-1].end == (before + frames) * FRAME + rest


def test_a_pause_in_which_a_cut_falls_is_the_next_utterances():
    """Else its text would not be ready at the endpoint."""
    _, happened = play("#" * 926 + "." * 40)
    assert kinds(happened) == [UtteranceStarted, Paused, UtteranceEnded, UtteranceStarted, Paused, UtteranceEnded]
    assert happened[4][1] == Paused(1, 926 * FRAME)
    assert happened[4][0] < happened[5][0]


LEVELS = st.lists(st.sampled_from([-20.0, -25.0, -30.0, -40.0, -60.0]), min_size=130, max_size=300)


@given(LEVELS, st.integers(0, 5))
def test_a_cut_is_at_the_quietest_place_there_was_and_loses_no_sample(levels, before):
    settings = EndpointSettings(longest_ms=3000, cut_from_ms=2000)
    endpointer = Endpointer(RATE, settings)
    happened: list = []
    for number, level in enumerate([-90.0] * before + levels):
        happened += endpointer.frame((number + 1) * FRAME, number >= before, level)
    happened += endpointer.flush((before + len(levels)) * FRAME)
    closed = [one for one in happened if isinstance(one, UtteranceEnded)]
    opened = [one for one in happened if isinstance(one, UtteranceStarted)]
    assert closed[0].start == 0
    assert closed[-1].end == (before + len(levels)) * FRAME
    heard = [-90.0] * before + levels

    def loudness(end: int) -> float:
        """Of the frame that ends there and its neighbours, as far as they may be cut in."""
        number = end // FRAME - 1
        return sum(heard[i] for i in (number - 1, number, number + 1)) / 3

    for one, following in zip(closed, opened[1:], strict=False):
        assert one.cut
        assert one.end == following.start == following.onset
        # All that was known when it had to be cut, but for the borders, where a neighbour is missing.
        first, last = one.start + ms(2000), one.start + ms(3000) - FRAME
        places = [end for end in range(FRAME, len(heard) * FRAME, FRAME) if first + 2 * FRAME < end <= last - 2 * FRAME]
        assert loudness(one.end) <= min(map(loudness, places)) + 1e-9 or one.end not in places
    assert sum(one.spoken for one in closed) == len(levels) * FRAME


@given(LEVELS, st.lists(st.booleans(), min_size=300, max_size=300))
def test_a_cut_comes_at_no_place_that_was_said_to_be_safe(levels, pauses):
    settings = EndpointSettings(longest_ms=3000, cut_from_ms=2000)
    endpointer = Endpointer(RATE, settings)
    safe = 0
    for number, level in enumerate(levels):
        # Speech enough to keep it open, with pauses in it.
        speech = number % 5 < 3 or pauses[number]
        for one in endpointer.frame((number + 1) * FRAME, speech, level if speech else -70.0):
            if isinstance(one, UtteranceEnded):
                assert one.end >= safe
                safe = 0
        if endpointer.open_since is not None:
            assert endpointer.safe_until >= safe
            safe = endpointer.safe_until
            assert safe >= endpointer.open_since + ms(2000)


def test_a_pause_that_meets_the_greatest_length_leaves_no_utterance_without_audio():
    for silence_from in range(915, 934):
        endpointer = Endpointer(RATE)
        _, happened = play("#" * silence_from + "." * 60, endpointer)
        for _, one in happened:
            if isinstance(one, UtteranceEnded):
                assert one.end > one.start, silence_from
                assert one.spoken > 0, silence_from
        assert endpointer.open_since is None


@pytest.mark.parametrize(
    ("at", "script", "cuts"),
    [
        (60, "." * 20 + "#" * 80, True),
        (60, "." * 20 + "#" * 80 + "." * 10, True),  # in a pause that came since
        (20, "." * 20 + "#" * 80, False),  # before its speech there is nothing to cut off
        (100, "." * 20 + "#" * 80 + "." * 10, False),  # nor behind it
        (60, "." * 100, False),
    ],
)
def test_an_utterance_is_cut_where_something_else_begins(at: int, script: str, cuts: bool) -> None:
    endpointer, _ = play(script)
    happened = endpointer.cut(at * FRAME)
    if not cuts:
        assert happened == []
        return
    closed, again = happened
    assert (closed.cut, closed.end, closed.spoken) == (True, at * FRAME, (at - 20) * FRAME)
    assert (again.number, again.start, again.onset) == (closed.number + 1, at * FRAME, at * FRAME)
    later = [one for i in range(20) for one in endpointer.frame((len(script) + i + 1) * FRAME, False, -70.0)]
    assert [type(one) for one in later] == [Paused, UtteranceEnded]  # the pause is the second one's
    assert (later[1].number, later[1].start, later[1].spoken) == (again.number, again.start, (100 - at) * FRAME)


def test_an_utterance_number_goes_on_where_it_was_told_to():
    endpointer = Endpointer(RATE, first=7, begin=1000)
    happened = [one for i in range(5) for one in endpointer.frame(1000 + (i + 1) * FRAME, True, -20.0)]
    assert happened == [UtteranceStarted(7, 1000, 1000)]


@given(
    st.lists(st.tuples(st.sampled_from("#."), st.integers(1, 60)), max_size=30),
    st.sampled_from([200, 500, 1500]),
    st.integers(0, FRAME - 1),
)
def test_whatever_is_said_utterances_are_in_order_bounded_and_hold_all_speech(runs, endpoint_ms, rest):
    script = "".join(sign * count for sign, count in runs)
    settings = EndpointSettings(endpoint_ms=endpoint_ms, longest_ms=3000, cut_from_ms=2000)
    endpointer, happened = play(script, Endpointer(RATE, settings))
    happened = [one for _, one in happened]
    now = len(script) * FRAME + rest
    happened += endpointer.flush(now)
    opened = [one for one in happened if isinstance(one, UtteranceStarted)]
    closed = [one for one in happened if isinstance(one, UtteranceEnded)]
    assert [one.number for one in opened] == [one.number for one in closed] == list(range(len(closed)))
    end = 0
    for begin, finish in zip(opened, closed, strict=True):
        assert end <= finish.start == begin.start <= finish.onset < finish.end <= now
        assert finish.end - finish.start <= ms(3000)
        assert begin.start == max(end, begin.onset - ms(300)) or begin.start == begin.onset == end
        assert 0 < finish.spoken <= finish.end - finish.start
        end = finish.end
    # A frame of speech outside every utterance belongs to a stretch that never reached the onset.
    outside = [
        number
        for number, sign in enumerate(script)
        if sign == "#" and not any(one.start <= number * FRAME < one.end for one in closed)
    ]
    for number in outside:
        assert script[max(0, number - 5) : number + 1].count("#") < 3 or any(
            number * FRAME < one.end + ms(180) and number * FRAME >= one.end for one in closed
        )


# --- a better detector's word --------------------------------------------------------------------------------


def test_a_voice_that_goes_on_in_a_pause_puts_the_endpoint_off():
    endpointer, happened = play("#" * 30 + "." * 10)
    assert kinds(happened) == [UtteranceStarted, Paused]
    endpointer.voiced(38 * FRAME)
    later = [(number, one) for number in range(40, 70) for one in endpointer.frame((number + 1) * FRAME, False, -80.0)]
    assert kinds(later) == [Paused, UtteranceEnded]
    assert later[0][1].at == 38 * FRAME
    assert later[1][1].end == 38 * FRAME + ms(200)


def test_a_voice_that_goes_on_counts_as_spoken():
    endpointer, _ = play("#" * 30 + "." * 10)
    endpointer.voiced(38 * FRAME)
    (closed,) = endpointer.flush(40 * FRAME)
    assert closed.spoken == 38 * FRAME


@pytest.mark.parametrize("until", [0, 30 * FRAME])
def test_a_voice_that_ended_before_changes_nothing(until):
    endpointer, _ = play("#" * 30 + "." * 10)
    endpointer.voiced(until)
    later = [one for number in range(40, 70) for one in endpointer.frame((number + 1) * FRAME, False, -80.0)]
    assert [one.end for one in later if isinstance(one, UtteranceEnded)] == [30 * FRAME + ms(200)]


def test_a_voice_is_never_heard_in_the_future_nor_between_utterances():
    endpointer, _ = play("#" * 30 + "." * 10)
    endpointer.voiced(1000 * FRAME)
    later = [one for number in range(40, 70) for one in endpointer.frame((number + 1) * FRAME, False, -80.0)]
    assert [one.end for one in later if isinstance(one, UtteranceEnded)] == [40 * FRAME + ms(200)]
    endpointer.voiced(1000 * FRAME)
    assert endpointer.open_since is None


def goes_on(endpointer: Endpointer, script: str, begin: int) -> list:
    """As `play`, from frame number `begin` on."""
    return [
        one
        for number, sign in enumerate(script, begin)
        for one in endpointer.frame((number + 1) * FRAME, sign == "#", -30.0 if sign == "#" else -80.0)
    ]


END = 30 * FRAME + ms(200)
"""Where 30 frames of speech end, with their tail. At the default endpoint it is known 17 frames after the speech."""


@pytest.mark.parametrize("late", [0, 1, 10, 40])
def test_a_voice_that_went_on_opens_an_utterance_where_the_last_one_ended(late):
    endpointer, _ = play("#" * 30 + "." * (17 + late))
    now = (47 + late) * FRAME
    assert endpointer.resume(END) == [UtteranceStarted(1, END, END)]
    assert endpointer.resume(END) == [], "once is enough"
    later = goes_on(endpointer, "." * 30, 47 + late)
    # What came before it was told of may all be speech; from there on the ordinary rules hold.
    assert later == [Paused(1, now), UtteranceEnded(1, END, END, now + ms(200), now - END, last_speech=now)]


def test_a_voice_told_of_long_after_takes_a_bounded_stretch_for_speech():
    endpointer, _ = play("#" * 30 + "." * 500)
    doubted = END + ms(2000)
    assert endpointer.resume(END) == [
        UtteranceStarted(1, END, END),
        UtteranceEnded(1, END, END, doubted + ms(200), ms(2000), last_speech=doubted),
    ]
    assert endpointer.open_since is None
    assert endpointer.needed_from > doubted, "and nothing is kept for it"


def test_an_onset_under_way_is_not_lost_to_a_stretch_in_the_past():
    endpointer, _ = play("#" * 30 + "." * 500 + "##")
    assert [type(one) for one in endpointer.resume(END)] == [UtteranceStarted, UtteranceEnded]
    (opened,) = goes_on(endpointer, "#", 532)
    assert (opened.number, opened.onset) == (2, 530 * FRAME)


def test_an_onset_under_way_is_part_of_what_went_on():
    endpointer, _ = play("#" * 30 + "." * 20 + "##")
    assert endpointer.resume(END) == [UtteranceStarted(1, END, END)]
    assert goes_on(endpointer, "#", 52) == []


def test_an_utterance_that_is_open_begins_where_the_last_one_ended():
    endpointer, happened = play("#" * 30 + "." * 40 + "#" * 10 + "." * 8)
    assert kinds(happened) == [UtteranceStarted, Paused, UtteranceEnded, UtteranceStarted, Paused]
    assert endpointer.resume(END) == []
    assert endpointer.open_since == END
    # What was decoded at the pause had another beginning.
    later = goes_on(endpointer, "." * 10, 88)
    assert later == [
        Paused(1, 80 * FRAME),
        UtteranceEnded(1, END, END, 80 * FRAME + ms(200), 10 * FRAME, last_speech=80 * FRAME),
    ]


@pytest.mark.parametrize("frames", range(880, 900))
@pytest.mark.parametrize("rest", [0, FRAME - 1])
def test_no_utterance_that_begins_earlier_is_too_long(frames, rest):
    endpointer, _ = play("#" * 30 + "." * 40 + "#" * (frames - 40))
    start = endpointer.open_since
    endpointer.resume(END)
    moved = endpointer.open_since == END
    assert moved is ((30 + frames) * FRAME - END <= ms(27_800))
    assert moved or endpointer.open_since == start
    happened = [*goes_on(endpointer, "#" * 5, 30 + frames), *endpointer.flush((35 + frames) * FRAME + rest)]
    closed = [one for one in happened if isinstance(one, UtteranceEnded)]
    assert max(one.end - one.start for one in closed) <= ms(28_000)
    assert closed[-1].end == (35 + frames) * FRAME + rest


@pytest.mark.parametrize("rest", [0, 1, FRAME - 1])
def test_a_voice_at_the_very_end_of_what_there_is_goes_on_with_the_next_frame(rest):
    endpointer, _ = play("#" * 30)
    now = 30 * FRAME + rest
    endpointer.flush(now)
    assert endpointer.resume(now) == []
    assert endpointer.open_since is None
    assert endpointer.flush(now) == [], "as long as there is none, there is no utterance"
    later = goes_on(endpointer, "." * 30, 30)
    assert later == [
        UtteranceStarted(1, now, now),
        Paused(1, now),
        UtteranceEnded(1, now, now, now + ms(200), 0, last_speech=now),
    ]


@pytest.mark.parametrize(("voiced", "onset"), [(None, 10 * FRAME), (8 * FRAME, 0)])
def test_an_utterance_that_went_on_with_silence_has_its_onset_where_speech_is_seen(voiced, onset):
    endpointer = Endpointer(RATE)
    endpointer.resume(0)
    goes_on(endpointer, "." * 9, 0)
    if voiced is not None:
        endpointer.voiced(voiced)
    goes_on(endpointer, ".###", 9)
    (closed,) = endpointer.flush(13 * FRAME)
    assert (closed.start, closed.onset) == (0, onset)


def test_of_an_utterance_that_is_not_the_last_nothing_is_resumed():
    endpointer, _ = play("#" * 30 + "." * 40 + "#" * 30 + "." * 40)
    assert endpointer.resume(END) == []
    assert endpointer.open_since is None


# --- a sentence that goes on ------------------------------------------------------------------------------


def closed_after(happened) -> list[int]:
    """Of each utterance that closed, how many samples after its last speech; frames begin with speech."""
    return [(number + 1) * FRAME - one.end + ms(200) for number, one in happened if isinstance(one, UtteranceEnded)]


def patient(script: str, waits: dict[int, int], settings: EndpointSettings | None = None):
    """`play`; behind a frame whose number is in `waits` somebody says where the sentence goes on, in frames."""
    endpointer = Endpointer(RATE, settings)
    happened = []
    for number, sign in enumerate(script):
        speech = sign == "#"
        happened += [
            (number, one) for one in endpointer.frame((number + 1) * FRAME, speech, -30.0 if speech else -80.0)
        ]
        if number in waits:
            endpointer.wait(waits[number] * FRAME)
    return endpointer, happened


@pytest.mark.parametrize(
    ("waits", "endpoint_ms", "silence_ms"),
    [
        ({}, 500, 500),
        ({17: 10}, 500, 1000),  # at the pause, 200 ms after the speech
        ({25: 10}, 500, 1000),  # just before the endpoint
        ({26: 10}, 500, 500),  # too late: it is closed
        ({17: 9}, 500, 500),  # of another pause
        ({17: 11}, 500, 500),
        ({17: 10}, 300, 1000),
        ({17: 10}, 2000, 2000),  # never sooner than without
        ({17: 10, 20: 10}, 500, 1000),  # once is enough
    ],
)
def test_where_a_sentence_goes_on_the_endpoint_is_patient(waits, endpoint_ms, silence_ms):
    _, happened = patient("#" * 10 + "." * 80, waits, EndpointSettings(endpoint_ms=endpoint_ms))
    (silence,) = closed_after(happened)
    assert ms(silence_ms) <= silence < ms(silence_ms) + FRAME


def test_patience_is_for_one_pause():
    """Speech ends it, and the next utterance has its own."""
    _, happened = patient("#" * 10 + "." * 20 + "#" * 10 + "." * 80, {17: 10})
    (silence,) = closed_after(happened)
    assert ms(500) <= silence < ms(500) + FRAME
    _, happened = patient("#" * 10 + "." * 60 + "#" * 10 + "." * 80, {17: 10})
    first, second = closed_after(happened)
    assert ms(1000) <= first < ms(1000) + FRAME
    assert ms(500) <= second < ms(500) + FRAME


def test_nobody_waits_for_what_is_over():
    endpointer, _ = patient("#" * 10, {})
    endpointer.wait(10 * FRAME)
    endpointer.flush(10 * FRAME)
    endpointer.wait(10 * FRAME)
    happened = []
    for number in range(10, 110):
        happened += [
            (number, one)
            for one in endpointer.frame((number + 1) * FRAME, number < 20, -30.0 if number < 20 else -80.0)
        ]
    (silence,) = closed_after(happened)
    assert ms(500) <= silence < ms(500) + FRAME


@pytest.mark.parametrize(("at", "silence_ms"), [(10, 500), (15, 1000)])
def test_of_a_pause_that_a_better_detector_moved_the_new_one_is_waited_for(at, silence_ms):
    endpointer, _ = patient("#" * 10 + "." * 8, {})
    endpointer.voiced(15 * FRAME)
    endpointer.wait(at * FRAME)
    happened = [(number, one) for number in range(18, 80) for one in endpointer.frame((number + 1) * FRAME, False, -80)]
    (silence,) = closed_after(happened)
    assert ms(silence_ms) <= silence < ms(silence_ms) + FRAME
