from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convo.messages import SpeechEnded, SpeechStarted, TranscriptPartial
from convod.speech.commands import Commit, Decode, DecodeStarted, Drop
from convod.speech.decoding import DecodeJob, Hypothesis, Interims, Kind, TimedWord, Voiceprints
from convod.speech.endpointer import EndpointSettings
from convod.speech.live import UNSURE_S
from convod.speech.partial import INTERIM_MS
from tests.daemon.support.play import Play, growing, interims_of
from tests.daemon.support.sounds import RATE, silence
from tests.daemon.support.talk import REJECTED, flat, heard, sentence, talk

# --- utterances -------------------------------------------------------------------------------------------


def test_silence_and_nothing_at_all_command_nothing():
    assert Play().audio(silence(30)).flush().commands == []
    assert Play().audio(b"").flush().commands == []


def test_one_sentence_is_one_window_with_its_pre_roll_and_one_segment():
    play = Play(interim=False).audio(sentence() + silence(1.0))
    (job,) = play.finals
    assert job.audio == (sentence() + silence(1.0))[2 * job.start : 2 * job.end]
    assert 0.0 <= job.start / RATE < 0.35  # the sound begins at 0.35 s
    assert 2.78 < job.end / RATE < 3.34
    (keep,) = play.answer(job, "Grace will review it.")
    assert (keep.segment, keep.text, keep.checkpoint_sample, keep.checkpoint_utterance) == (
        0,
        "Grace will review it.",
        job.end,
        1,
    )
    assert job.start / RATE < keep.start < 0.5
    assert keep.end == round(job.end / RATE, 3)
    assert 0.0 < keep.confidence <= 1.0
    assert play.transcriber.settled == play.transcriber.now


def test_speech_starts_and_ends_are_said_in_turn():
    play = Play(interim=False).audio(talk(3))
    starts, ends = play.said(SpeechStarted), play.said(SpeechEnded)
    assert len(starts) == len(ends) == 3
    times = [time.time for pair in zip(starts, ends, strict=True) for time in pair]
    assert times == sorted(times)


def test_an_utterance_that_is_cut_starts_once_and_ends_once():
    endpoint = EndpointSettings(longest_ms=1000, cut_from_ms=500)
    play = Play(interim=False, endpoint=endpoint).audio(sentence() + silence(1.0))
    assert len(play.finals) > 2
    assert len(play.said(SpeechStarted)) == len(play.said(SpeechEnded)) == 1
    for one, two in zip(play.finals, play.finals[1:], strict=False):
        assert one.end == two.start


def test_at_a_pause_the_text_is_decoded_and_the_endpoint_publishes_it_at_once():
    play = Play(interim=False)
    sound = sentence() + silence(1.0)
    while not play.finals:
        play.audio(sound[: play.piece])
        sound = sound[play.piece :]
    assert play.transcriber.speaking
    (speculative,) = play.finals
    assert play.answer(speculative, "Grace will review it.") == []  # perhaps she goes on
    play.audio(sound)
    assert play.finals == [speculative]  # not decoded again
    assert [keep.text for keep in play.kept] == ["Grace will review it."]


def test_a_guess_at_a_pause_is_dropped_when_the_speaker_goes_on():
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=3000))
    play.audio(sentence() + silence(0.1))
    (speculative,) = play.finals
    play.audio(sentence() + silence(4.0))
    assert speculative in [command.job for command in play.commands if isinstance(command, Drop)]
    (job,) = play.finals
    assert job.start == speculative.start
    assert play.answer(speculative, "half of it") == []
    assert [keep.text for keep in play.answer(job, "all of it")] == ["all of it"]


def test_a_guess_that_could_not_be_decoded_is_decoded_again_at_the_endpoint():
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=1000))
    play.audio(sentence())
    (speculative,) = play.finals
    assert play.transcriber.refused(speculative, "the engine stumbled") == []
    play.audio(silence(1.5))
    again = [job for job in play.finals if job is not speculative]
    assert len(again) == 1
    assert [keep.text for keep in play.answer(again[0], "All is well.")] == ["All is well."]


# --- order ------------------------------------------------------------------------------------------------


def test_results_out_of_order_are_published_in_order():
    play = Play(interim=False).audio(talk(3))
    first, second, third = play.finals
    assert play.answer(third, "three") == []
    assert play.answer(second, "two") == []
    assert play.transcriber.settled == first.start
    assert [(keep.segment, keep.text) for keep in play.answer(first, "one")] == [(0, "one"), (1, "two"), (2, "three")]
    marks = [keep.checkpoint_sample for keep in play.kept]
    assert marks == sorted(marks)


def test_a_result_that_comes_twice_counts_once():
    play = Play(interim=False).audio(talk(1))
    (job,) = play.finals
    assert len(play.answer(job, "one")) == 1
    assert play.answer(job, "one") == []


@pytest.mark.parametrize("figures", [REJECTED, {"voice_s": 0.0}])
def test_a_rejected_text_takes_no_number_but_moves_the_mark(figures):
    play = Play(interim=False).audio(talk(2))
    first, second = play.finals
    (nothing,) = play.answer(first, "Thanks for watching!", **figures)
    assert nothing.text is None
    assert (nothing.checkpoint_sample, nothing.checkpoint_utterance) == (first.end, 1)
    (keep,) = play.answer(second, "We begin.")
    assert keep.segment == 0


def test_audio_that_could_not_be_decoded_is_said_and_the_rest_goes_on():
    play = Play(interim=False).audio(talk(2))
    first, second = play.finals
    (trouble,) = map(flat, play.transcriber.refused(first, "the engine stumbled"))
    assert (trouble.text, trouble.trouble) == (None, "the engine stumbled")
    assert [keep.text for keep in play.answer(second, "We go on.")] == ["We go on."]


def test_partial_stable_words_never_change_and_come_before_the_segment():
    play = Play()
    play.on_interim = growing
    play.audio(sentence() + silence(1.0))
    partials = play.said(TranscriptPartial)
    assert len(partials) >= 5
    assert {partial.segment for partial in partials} == {0}
    before: list[str] = []
    for partial in partials:
        assert partial.stable.split()[: len(before)] == before
        before = partial.stable.split()
    assert len(before) >= 3
    ends = [partial.end for partial in partials]
    assert ends == sorted(ends)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_stable_words_never_change_whatever_the_engine_says(data):
    play = Play()
    play.on_interim = lambda job: data.draw(
        st.none() | st.lists(st.sampled_from(["so", "we", "go"]), max_size=5).map(" ".join)
    )
    play.audio(talk(2, 0.7)).flush()
    shown: dict[int, list[str]] = {}
    for partial in play.said(TranscriptPartial):
        stable, before = partial.stable.split(), shown.get(partial.segment, [])
        assert stable[: len(before)] == before
        shown[partial.segment] = stable


def test_at_most_one_interim_is_asked_for_at_a_time_and_never_of_a_moment():
    play = Play().audio(sentence())
    windows = [one.job for one in play.commands if isinstance(one, Decode) and one.job.kind is Kind.INTERIM]
    assert len(windows) == 1  # it was never answered
    assert windows[0].end - windows[0].start >= 0.4 * RATE


@pytest.mark.parametrize("affords", list(Interims)[:-1])
def test_while_an_interim_waits_it_is_renewed_with_each_interval(affords):
    play = Play(endpoint=EndpointSettings(endpoint_ms=3000, pause_ms=2500))
    play.waiting = True
    play.afford(affords)
    play.audio(sentence())
    asked = interims_of(play)
    assert len(asked) >= 6
    assert [one.instead_of for one in asked] == [None, *(one.job for one in asked[:-1])]
    newer = [later.job.end - earlier.job.end for earlier, later in itertools.pairwise(asked)]
    interval = INTERIM_MS * RATE // 1000
    assert interval <= min(newer) <= max(newer) <= interval + play.piece
    assert len({one.job.start for one in asked}) == 1
    # The engine begins with the newest: what comes meanwhile waits for its answer.
    play.waiting = False
    play.transcriber.tell(DecodeStarted(asked[-1].job))
    play.audio(sentence())
    assert interims_of(play) == asked
    play.transcriber.decoded(asked[-2].job, heard("of no use"))
    assert not play.said(TranscriptPartial)
    play.take(play.transcriber.decoded(asked[-1].job, heard("Grace will")))
    play.audio(sentence()[:16000])
    assert interims_of(play)[len(asked)].instead_of is None


@pytest.mark.parametrize("endpoint_ms", [200, 500, 3000])
def test_the_text_of_a_pause_is_needed_at_the_endpoint(endpoint_ms):
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=endpoint_ms), piece=320)
    play.audio(sentence() + silence(4.0))
    speculative = play.finals[-1]
    assert speculative.options.find_voice_end
    assert abs(speculative.spare_s - min(0.5, (endpoint_ms - 200) / 1000)) <= 0.04  # and soon, for it is a caption, too
    play = Play(interim=False).audio(sentence()[: 2 * RATE]).flush()
    assert [job.spare_s for job in play.finals] == [0.0]


def test_without_interim_there_are_no_interims():
    play = Play(interim=False).audio(talk(1))
    assert all(one.job.kind is Kind.FINAL for one in play.commands if isinstance(one, Decode))


def test_an_interim_that_comes_after_the_end_shows_nothing():
    play = Play()
    windows: list[DecodeJob] = []
    play.on_interim = lambda job: windows.append(job)
    play.audio(sentence() + silence(1.0))
    assert play.transcriber.decoded(windows[-1], heard("too late")) == []


def test_while_an_earlier_utterance_is_not_out_the_next_one_shows_no_partials():
    play = Play()
    play.on_interim = growing
    play.audio(talk(1))
    before = len(play.said(TranscriptPartial))
    play.audio(sentence())
    assert len(play.said(TranscriptPartial)) == before
    play.answer(play.finals[0], "one")
    play.audio(sentence() + silence(0.2) + sentence())
    later = play.said(TranscriptPartial)[before:]
    assert {partial.segment for partial in later} <= {1}


@pytest.mark.parametrize("how", ["rejected", "refused"])
def test_words_that_were_promised_stay_when_the_final_is_no_good(how):
    play = Play(words=True)
    play.on_interim = growing
    play.audio(sentence() + silence(1.0))
    committed = play.said(TranscriptPartial)[-1].stable
    (job,) = play.finals
    if how == "rejected":
        wrong = [TimedWord(start=0.1, end=0.5, word="Thanks", probability=0.1)]
        (keep,) = play.answer(job, "Thanks for watching!", words=wrong, **REJECTED)
    else:
        (keep,) = map(flat, play.transcriber.refused(job, "the engine stumbled"))
        assert keep.trouble == "the engine stumbled"
    assert keep.text == committed != ""
    assert keep.words is None  # those of a text that was not taken are not this one's
    assert keep.confidence == 0.0


# --- words and languages ----------------------------------------------------------------------------------


def test_words_are_on_the_sessions_clock_and_within_their_segment():
    play = Play(words=True, interim=False).audio(silence(5.0) + sentence() + silence(1.0))
    (job,) = play.finals
    words = [
        TimedWord(start=0.0, end=0.6, word="Grace", probability=0.9),
        TimedWord(start=0.6, end=60.0, word="will", probability=0.8),
    ]
    (keep,) = play.answer(job, "Grace will", words=words)
    assert keep.words is not None
    assert [word.word for word in keep.words] == ["Grace", "will"]
    for timed in keep.words:
        assert 5.0 < keep.start <= timed.start <= timed.end <= keep.end


def test_a_language_the_model_is_sure_of_is_kept_for_the_session():
    play = Play(interim=False).audio(talk(1))
    assert play.finals[0].options.language is None
    play.answer(play.finals[0], "Ja.", language="de", language_probability=0.3)
    play.audio(talk(1))
    assert play.finals[1].window.expected is None
    play.answer(play.finals[1], "Ja, genau.", language="de", language_probability=0.5)
    play.audio(talk(1))
    # It is expected, and detected all the same.
    assert (play.finals[2].options.language, play.finals[2].window.expected) == (None, "de")


def test_a_session_changes_its_language_with_what_was_heard_last():
    play = Play(interim=False, language_so_far="de").audio(talk(1))
    (keep,) = play.answer(play.finals[0], "Oui.", language="fr", language_probability=0.4)
    assert keep.language == "fr"
    play.audio(talk(1))
    assert play.finals[1].window.expected == play.transcriber.language == "fr"


@pytest.mark.parametrize("figures", [REJECTED, {"voice_s": 0.0}])
def test_the_language_of_a_rejected_text_is_not_kept(figures):
    play = Play(interim=False).audio(talk(1))
    play.answer(play.finals[0], "Gracias.", language="es", language_probability=0.9, **figures)
    play.audio(talk(1))
    assert play.finals[1].options.language is play.finals[1].window.expected is None


def test_the_language_of_a_guess_that_the_speaker_went_on_after_is_not_kept():
    play = Play(interim=False, endpoint=EndpointSettings(endpoint_ms=3000)).audio(sentence() + silence(0.1))
    play.answer(play.finals[0], "Ja.", language="de", language_probability=0.9)
    play.audio(sentence())
    assert play.finals[-1].options.language is play.finals[-1].window.expected is None


IN_TWO = [
    TimedWord(start=0.4, end=0.9, word="Grace", probability=0.9, language="en"),
    TimedWord(start=0.9, end=1.2, word="agrees.", probability=0.9, language="en"),
    TimedWord(start=1.6, end=1.9, word="Ja,", probability=0.9, language="de"),
    TimedWord(start=1.9, end=2.6, word="genau.", probability=0.9, language="de"),
]


@pytest.mark.parametrize("timed", [False, True])
def test_an_utterance_in_two_languages_is_a_segment_for_each(timed: bool) -> None:
    play = Play(interim=False, words=timed).audio(talk(2))
    first, second = play.finals
    play.take(play.transcriber.decoded(first, heard("Grace agrees. Ja, genau.", words=IN_TWO)))
    (commit,) = [command for command in play.commands if isinstance(command, Commit)]
    begin = first.start / RATE
    english, german = commit.texts
    assert [(one.text, one.language) for one in commit.texts] == [("Grace agrees.", "en"), ("Ja, genau.", "de")]
    assert english.end == pytest.approx(begin + 1.2, abs=0.001)
    assert german.start == pytest.approx(begin + 1.6, abs=0.001)
    assert german.end == pytest.approx(first.end / RATE, abs=0.001)
    if timed:
        assert [[word.word for word in one.words or ()] for one in commit.texts] == [
            ["Grace", "agrees."],
            ["Ja,", "genau."],
        ]
    # The next one has the number after both, and the last language is expected of it.
    assert play.answer(second, "Ja.", language="de")[0].segment == 2
    assert play.transcriber.language == "de"


def in_turns(text: str, second_from: int) -> list[TimedWord]:
    """The words of a text, those from a number on by another speaker."""
    return [
        TimedWord(start=0.4 + i / 2, end=0.8 + i / 2, word=word, probability=0.9, turn=int(i >= second_from))
        for i, word in enumerate(text.split())
    ]


def test_an_utterance_of_two_speakers_is_a_segment_for_each() -> None:
    play = Play(interim=False).audio(talk(1))
    (final,) = play.finals
    text = "Shall we go on Friday, yes"
    play.take(play.transcriber.decoded(final, heard(text, words=in_turns(text, 5))))
    (commit,) = [command for command in play.commands if isinstance(command, Commit)]
    assert [one.text for one in commit.texts] == ["Shall we go on Friday,", "yes"]
    begin = final.start / RATE
    assert commit.texts[0].end == pytest.approx(begin + 2.8, abs=0.001)
    assert commit.texts[1].start == pytest.approx(begin + 2.9, abs=0.001)


@pytest.mark.parametrize(
    ("promised", "segments"),
    [
        ("Shall we go on Friday,", ["Shall we go on Friday,", "yes"]),
        ("Shall we go on Friday, yes", ["Shall we go on Friday, yes"]),
        ("Shall we go one", ["Shall we go one Friday,", "yes"]),  # the words that take another's place are of its turn
    ],
)
def test_what_was_promised_of_a_segment_is_in_it_whoever_says_it(promised: str, segments: list[str]) -> None:
    play = Play(interim=False).audio(talk(1))
    (final,) = play.finals
    (waiting,) = play.transcriber.finals
    waiting.committed = promised
    text = "Shall we go on Friday, yes"
    play.take(play.transcriber.decoded(final, heard(text, words=in_turns(text, 5))))
    (commit,) = [command for command in play.commands if isinstance(command, Commit)]
    assert [one.text for one in commit.texts] == segments


def by_two_speakers(job: DecodeJob, at: float, *, tells: bool = True, sure_s: float = UNSURE_S) -> Hypothesis:
    """Words of half a second, those from second `at` of the session on by another one, told once that is sure."""
    begin, seconds = job.start / RATE, (job.end - job.start) / RATE
    sure = job.kind is not Kind.INTERIM and tells and job.end / RATE - at >= sure_s
    words = [
        TimedWord(
            start=i / 2, end=i / 2 + 0.4, word=f"w{begin + i / 2:.1f}", probability=0.95,
            turn=int(sure and begin + i / 2 >= at),
        )
        for i in range(int(2 * seconds))
    ]  # fmt: skip
    prints = Voiceprints(starts=[], window_s=1.6, vectors=[], turns=tells)
    return heard(" ".join(word.word for word in words), words=words, voiceprints=prints)


def play_by_two(at: float, sentences: int = 4, *, interim: bool = True, **options) -> Play:
    """Several sentences without an endpoint, from second `at` on by another speaker."""
    play = Play(endpoint=EndpointSettings(endpoint_ms=3000), voiceprints=True, interim=interim)

    def take(commands) -> None:
        play.commands += commands
        for command in commands:
            if isinstance(command, Decode):
                take(play.transcriber.decoded(command.job, by_two_speakers(command.job, at, **options)))

    play.take = take  # type: ignore[method-assign]
    return play.audio(sentence() * sentences)


def promised(play: Play, segment: int) -> list[float]:
    """The times of the words that were promised of a segment."""
    stable = [one.stable for one in play.said(TranscriptPartial) if one.segment == segment]
    return [float(word[1:]) for word in stable[-1].split()]


def test_an_open_utterance_is_cut_at_a_pause_where_another_one_began_to_speak() -> None:
    play = play_by_two(5.9)
    (first,) = play.kept
    assert play.transcriber.speaking
    assert first.checkpoint_sample / RATE == pytest.approx(5.9, abs=0.6)
    assert not play.said(SpeechEnded)
    assert promised(play, 0) == sorted(promised(play, 0))
    assert all(time < 5.9 for time in promised(play, 0))
    play.audio(silence(4.0))
    first, second = play.kept
    assert (first.segment, second.segment) == (0, 1)
    assert first.checkpoint_sample / RATE <= float(second.text.split()[0][1:]) < 6.5
    assert promised(play, 1)


def test_without_captions_an_utterance_of_two_speakers_is_decoded_as_one() -> None:
    play = play_by_two(5.9, interim=False)
    assert play.kept == []
    play.audio(silence(4.0))
    (commit,) = [command for command in play.commands if isinstance(command, Commit)]
    assert [(one.text.split()[0], one.text.split()[-1]) for one in commit.texts] == [
        ("w0.0", "w5.5"),
        ("w6.0", "w12.0"),
    ]


def test_what_one_says_is_promised_at_the_pause_behind_it_where_another_one_would_be_heard() -> None:
    play = play_by_two(99.0, sentences=2)
    assert play.kept == []
    *_, before, at_pause = play.said(TranscriptPartial)
    assert len(before.stable.split()) == 1  # of the first sentence what was sure at the pause behind it
    assert len(at_pause.stable.split()) > 5
    # Where nobody tells voices apart there is nothing to wait for.
    *_, before, at_pause = play_by_two(99.0, sentences=2, tells=False).said(TranscriptPartial)
    assert before.stable == at_pause.stable
    assert len(before.stable.split()) > 5


def test_what_was_promised_before_another_one_was_heard_is_not_cut() -> None:
    play = play_by_two(3.0, sure_s=8.0)
    assert any(time > 3.0 for time in promised(play, 0))
    assert play.kept == []
    play.audio(silence(4.0))
    (segment,) = play.kept
    assert segment.text.startswith(" ".join(f"w{time}" for time in promised(play, 0)))


def two_languages(job: DecodeJob, at: float) -> list[TimedWord]:
    """Words of half a second in English until second `at` of the session, then in German."""
    begin, seconds = job.start / RATE, (job.end - job.start) / RATE
    times = [i / 2 for i in range(int(2 * seconds))]
    return [
        TimedWord(
            start=time, end=time + 0.4, word=f"w{begin + time:.1f}", probability=0.95,
            language="en" if begin + time < at else "de",
        )
        for time in times
    ]  # fmt: skip


def play_in_two(at: float, heard_at: Callable[[DecodeJob], float]) -> Play:
    """Several sentences without an endpoint, in which interims hear German from second `at` on."""
    play = Play(endpoint=EndpointSettings(endpoint_ms=3000))

    def take(commands) -> None:
        play.commands += commands
        for command in commands:
            if isinstance(command, Decode) and command.job.kind is Kind.INTERIM:
                words = two_languages(command.job, heard_at(command.job))
                text = " ".join(word.word for word in words)
                take(play.transcriber.decoded(command.job, heard(text, words=words)))

    play.take = take  # type: ignore[method-assign]
    return play.audio(sentence() * 4)


def test_an_open_utterance_is_cut_where_its_language_changes() -> None:
    play = play_in_two(6.0, lambda job: 6.0)
    (first,) = [job for job in play.finals if job.utterance == 0]
    assert first.end / RATE == pytest.approx(6.0, abs=0.6)
    assert not play.said(SpeechEnded)  # the speaker went on
    partials = play.said(TranscriptPartial)
    # Two seconds of the other language were heard; none of its words was promised of the first segment.
    assert max(float(word[1:]) for one in partials for word in one.stable.split()) <= 6.0
    play.take(play.transcriber.decoded(first, heard("w0")))
    play.audio(silence(4.0))
    second = play.finals[-1]
    assert (second.utterance, second.start) == (1, first.end)


def test_an_utterance_is_not_cut_for_what_one_caption_says_of_its_language() -> None:
    count = itertools.count()
    play = play_in_two(6.0, lambda job: 6.0 if next(count) % 2 else 99.0)
    assert {job.utterance for job in play.finals} == {0}


def test_after_a_restart_the_language_is_known():
    play = Play(interim=False, language_so_far="de").audio(talk(1))
    assert (play.finals[0].options.language, play.finals[0].window.expected) == (None, "de")


def test_a_language_that_was_asked_for_is_never_replaced():
    play = Play(interim=False, language="en").audio(talk(1))
    play.answer(play.finals[0], "Yes.", language="de", language_probability=0.99)
    assert play.transcriber.language == "en"
    play.audio(talk(1))
    assert (play.finals[1].options.language, play.finals[1].window.expected) == ("en", "en")


# --- captions of a model that gives times -----------------------------------------------------------------


def test_interims_ask_for_the_times_of_words_and_finals_where_the_client_does():
    for words in (False, True):
        play = Play(words=words).audio(talk(1))
        assert {one.job.options.words for one in interims_of(play)} == {True}
        assert {job.options.words for job in play.finals} == {words}


@pytest.mark.parametrize(("figures", "shown"), [({}, True), ({"truncated": True}, False), (REJECTED, False)])
def test_an_interim_that_was_cut_off_in_a_loop_shows_nothing(figures, shown):
    play = Play().audio(sentence()[: 3 * RATE])
    (asked,) = interims_of(play)
    play.take(play.transcriber.decoded(asked.job, heard("so we go", **figures)))
    assert bool(play.said(TranscriptPartial)) is shown


def test_a_caption_is_never_blank_nor_the_same_again():
    play = Play()
    texts = itertools.cycle(["so we", "so we", "", "so we", "no"])
    play.on_interim = lambda job: next(texts)
    play.audio(talk(2))
    partials = play.said(TranscriptPartial)
    assert partials
    assert all(partial.stable or partial.tentative for partial in partials)
    for one, other in itertools.pairwise(partials):
        assert (one.segment, one.stable, one.tentative) != (other.segment, other.stable, other.tentative)
