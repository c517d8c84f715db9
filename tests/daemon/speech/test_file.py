"""Recordings to segments: what is decoded together, when pieces were said, and that no order or restart changes it."""

from __future__ import annotations

from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convod.speech.commands import Commit, Decode
from convod.speech.decoding import CHUNK_S, Hypothesis, TimedWord
from convod.speech.file import JOINED_S, FileSettings, FileTranscriber
from convod.speech.file_texts import FileDecodeJob
from convod.speech.hallucination import HallucinationFilter
from convod.speech.segment_bounds import RINGS_S
from tests.daemon.support.sounds import RATE, silence
from tests.daemon.support.talk import REJECTED, heard, talk

COUNT = 11
PAUSE_S = 3.0
LIVES = 5


@cache
def sound() -> bytes:
    """Eleven sentences of 2.5 s with long pauses."""
    return silence(1.0) + talk(COUNT, PAUSE_S)


class Play:
    """Feeds a recording; its windows wait until answered."""

    def __init__(self, *, joined: bool = False, language: str | None = "en", words: bool = False, **start) -> None:
        self.recording = FileTranscriber(
            FileSettings(rate=RATE, joined=joined, language=language, words=words), HallucinationFilter(), **start
        )
        self.waiting: list[FileDecodeJob] = []
        self.kept: list[Commit] = []

    def take(self, commands) -> None:
        for command in commands:
            (self.waiting if isinstance(command, Decode) else self.kept).append(
                command.job if isinstance(command, Decode) else command
            )

    def all_audio(self) -> Play:
        data = sound()
        for at in range(0, len(data), 65536):
            self.take(self.recording.audio(data[at : at + 65536], 0.0))
        self.take(self.recording.flush(0.0))
        return self

    def answer(self, job: FileDecodeJob, outcome: Hypothesis) -> None:
        self.waiting.remove(job)
        self.take(self.recording.decoded(job, outcome))

    @property
    def pieces(self) -> list[tuple[float, float, str]]:
        return [(piece.start, piece.end, piece.text) for keep in self.kept for piece in keep.texts]


def begins_and_ends(job: FileDecodeJob) -> list[tuple[float, float]]:
    """From and to which second of a window each of its utterances is."""
    return [
        (begin / RATE, (begin + utterance.end - utterance.start) / RATE)
        for begin, utterance in zip(job.begins, job.utterances, strict=True)
    ]


def named(job: FileDecodeJob, **figures) -> Hypothesis:
    """A text that tells which utterances were heard, with the times that its words have in the window."""
    words = []
    for utterance, (begin, end) in zip(job.utterances, begins_and_ends(job), strict=True):
        said = [(begin + 0.3, begin + 0.9, "number"), (begin + 1.0, end, str(utterance.number))]
        words += [
            TimedWord(start=round(start, 3), end=round(stop, 3), word=word, probability=0.9)
            for start, stop, word in said
        ]
    return heard(" ".join(word.word for word in words), words=words if job.options.words else None, **figures)


def whole(joined: bool, **more) -> Play:
    play = Play(joined=joined, **more).all_audio()
    while play.waiting:
        play.answer(play.waiting[0], named(play.waiting[0]))
    return play


def test_a_short_context_hears_each_utterance_for_itself():
    play = Play().all_audio()
    assert len(play.waiting) == COUNT
    assert all(len(job.utterances) == 1 and not job.options.words for job in play.waiting)
    for job in reversed(play.waiting[:]):
        play.answer(job, named(job))
    assert [text for _, _, text in play.pieces] == [f"number {number}" for number in range(COUNT)]
    assert [keep.segment for keep in play.kept] == list(range(COUNT))


def test_a_long_context_hears_as_many_as_fit_without_the_silence_between():
    play = Play(joined=True).all_audio()
    lengths = [len(job.audio) / 2 / RATE for job in play.waiting]
    assert max(lengths) <= JOINED_S
    assert sum(lengths) < len(sound()) / 2 / RATE - COUNT * (PAUSE_S - 1)
    assert [utterance.number for job in play.waiting for utterance in job.utterances] == list(range(COUNT))
    assert len(play.waiting) <= 3


def test_pieces_are_told_when_they_were_said():
    joined, alone = whole(True), whole(False)
    assert [text for _, _, text in joined.pieces] == [text for _, _, text in alone.pieces]
    for (start, end, _), (begin, finish, _) in zip(joined.pieces, alone.pieces, strict=True):
        assert start == pytest.approx(begin, abs=0.1)
        assert end == pytest.approx(finish, abs=0.01)


def test_times_that_make_no_sense_are_put_in_order():
    play = Play(joined=True).all_audio()
    (job, *_) = play.waiting
    wild = [(90.0, 95.0), (3.0, 2.0), (-5.0, 1e9), (0.0, 0.0)]
    said = ["We ship it now.", "Grace writes it down.", "Who asked for that?", "Nobody knows any more."]
    words = [
        TimedWord(start=start, end=end, word=word, probability=0.9)
        for (start, end), sentence in zip(wild, said, strict=True)
        for word in sentence.split()
    ]
    play.answer(job, heard(" ".join(said), voice_s=20.0, words=words))
    last = 0.0
    assert " ".join(text for _, _, text in play.pieces) == " ".join(said)
    for start, end, _ in play.pieces:
        assert last <= start < end
        last = end


@pytest.mark.parametrize(
    ("early", "late", "clear", "expected"),
    [
        (0.0, 0.0, False, (0.0, 0.0)),
        (0.04, -0.1, False, (0.0, -0.1)),  # a soft consonant, and a voice that fades
        (0.04, -0.2, False, (0.0, -0.1)),  # rings on: the gate knows better
        (0.1, 0.1, False, (0.1, 0.1)),
        (0.3, 0.3, False, (0.3, 0.3)),  # hiss, a breath, or music: the gate took it for speech
        (0.3, 0.3, True, (0.0, 0.3)),  # as loud as the rest: the detector was slow
        (0.9, 0.8, True, (0.9, 0.8)),
    ],
)
def test_a_piece_begins_and_ends_with_its_voice(early, late, clear, expected):
    play = Play(joined=True, words=True).all_audio()
    (job, *_) = play.waiting
    job.utterances = tuple(msgspec.structs.replace(utterance, clear=clear) for utterance in job.utterances)
    one, two = job.utterances[0].onset / RATE, job.utterances[0].last_speech / RATE
    begin = job.utterances[0].start / RATE
    words = [
        TimedWord(start=one - begin + early, end=one - begin + 1.0, word="we", probability=0.9),
        TimedWord(start=one - begin + 1.0, end=two - begin - late, word="ship", probability=0.9),
    ]
    voiced = b"\1" * int(job.seconds / CHUNK_S)
    play.answer(job, heard("we ship", voice_s=20.0, words=words, voiced=voiced))
    ((piece,),) = [keep.texts for keep in play.kept]
    assert piece.start == piece.words[0].start == pytest.approx(one + expected[0], abs=0.01)
    assert piece.end == piece.words[-1].end == pytest.approx(two - expected[1], abs=0.01)


def test_a_word_that_seems_to_end_in_the_next_utterance_ends_with_its_own():
    """Joined without the silence between them, one voice seems to go on into the other."""
    play = Play(joined=True).all_audio()
    (job, *_) = play.waiting
    (begin, end), (following, _) = begins_and_ends(job)[:2]
    words = [
        TimedWord(start=begin + 0.3, end=end + 0.15, word="one", probability=0.9),
        TimedWord(start=following + 0.3, end=following + 0.9, word="two", probability=0.9),
    ]
    play.answer(job, heard("one two", voice_s=20.0, words=words, voiced=b"\1" * int(job.seconds / CHUNK_S)))
    ends = [end for _, end, _ in play.pieces]
    assert ends[0] == pytest.approx(job.utterances[0].last_speech / RATE + RINGS_S, abs=0.01)


def test_words_go_with_their_piece():
    play = Play(joined=True, words=True).all_audio()
    (job, *_) = play.waiting
    play.answer(job, named(job))
    assert len(play.kept[0].texts) == len(job.utterances)
    for piece in play.kept[0].texts:
        assert piece.words is not None
        assert " ".join(word.word for word in piece.words) == piece.text
        assert all(piece.start <= word.start <= word.end <= piece.end for word in piece.words)


def test_words_that_were_not_asked_for_are_used_and_not_given():
    play = whole(True)
    assert len(play.pieces) == COUNT
    assert all(piece.words is None for keep in play.kept for piece in keep.texts)


def test_of_a_short_context_an_utterance_is_a_segment_however_many_sentences_it_has():
    play = Play(words=True).all_audio()
    (job, *_) = play.waiting
    text = "We ship it on Friday. Grace writes the notes."
    words = [
        TimedWord(start=0.2 * i, end=0.2 * (i + 1), word=word, probability=0.9) for i, word in enumerate(text.split())
    ]
    play.answer(job, heard(text, words=words))
    assert [said for _, _, said in play.pieces] == [text]


def test_of_a_joined_window_a_sentence_is_a_segment():
    play = Play(joined=True).all_audio()
    (job, *_) = play.waiting
    begins = [begin for begin, _ in begins_and_ends(job)]
    text = "We ship it on Friday. Grace writes the notes."
    words = [
        TimedWord(start=begins[0] + 0.2 * i, end=begins[0] + 0.2 * (i + 1), word=word, probability=0.9)
        for i, word in enumerate(text.split())
    ]
    play.answer(job, heard(text, words=words))
    assert [said for _, _, said in play.pieces] == ["We ship it on Friday.", "Grace writes the notes."]


def test_a_joined_text_whose_words_have_no_times_is_one_segment():
    play = Play(joined=True).all_audio()
    (job, *_) = play.waiting
    play.answer(job, heard("We ship it on Friday.", voice_s=20.0))
    ((start, end, text),) = play.pieces
    assert text == "We ship it on Friday."
    assert job.utterances[0].start / RATE <= start < end <= job.utterances[-1].end / RATE


@pytest.mark.parametrize(("pause_s", "stays"), [(0.2, True), (3.0, False)])
def test_a_short_silence_between_joined_utterances_stays_where_it_is(pause_s, stays):
    sound = silence(1.0) + talk(4, pause_s)
    recording = FileTranscriber(FileSettings(rate=RATE, joined=True, language="en"), HallucinationFilter())
    commands = [*recording.audio(sound, 0.0), *recording.flush(0.0)]
    (job,) = [command.job for command in commands if isinstance(command, Decode)]
    assert len(job.utterances) > 1
    first, last = job.utterances[0], job.utterances[-1]
    if stays:
        assert job.audio == sound[2 * first.start : 2 * last.end]
        assert job.begins == tuple(utterance.start - first.start for utterance in job.utterances)
    else:
        spoken = [sound[2 * utterance.start : 2 * utterance.end] for utterance in job.utterances]
        assert job.audio == b"".join(spoken)
    for utterance, begin in zip(job.utterances, job.begins, strict=True):
        length = utterance.end - utterance.start
        assert job.audio[2 * begin : 2 * (begin + length)] == sound[2 * utterance.start : 2 * utterance.end]


@pytest.mark.parametrize(
    ("probability", "voice", "believed"), [(0.9, 0, True), (0.69, 0, False), (0.1, 1, True), (0.1, None, True)]
)
def test_what_is_said_in_an_utterance_without_a_voice_is_believed_if_the_model_is_sure(probability, voice, believed):
    """It may be a whisper, or what a model makes of a noise."""
    play = Play(joined=True).all_audio()
    (job, *_) = play.waiting
    outcome = named(job)
    begin, end = begins_and_ends(job)[1]
    voiced = bytearray(b"\x01" * int(len(job.audio) / 2 / RATE / CHUNK_S))
    for chunk in range(int(begin / CHUNK_S), int(end / CHUNK_S) + 1):
        voiced[chunk] = voice or 0
    words = [
        msgspec.structs.replace(word, probability=probability) if begin <= word.start < end else word
        for word in outcome.words
    ]
    play.answer(job, msgspec.structs.replace(outcome, words=words, voiced=None if voice is None else bytes(voiced)))
    lost = set() if believed else {1}
    assert [text for _, _, text in play.pieces] == [
        f"number {one.number}" for one in job.utterances if one.number not in lost
    ]


@pytest.mark.parametrize(("seconds", "is_told"), [(2.0, True), (1.9, False)])
def test_a_voice_without_words_is_told_with_its_place_in_the_recording(seconds, is_told):
    play = Play(joined=True).all_audio()
    (job, *_) = play.waiting
    second = job.utterances[1]
    begin, _ = begins_and_ends(job)[1]
    play.answer(job, msgspec.structs.replace(named(job), uncovered=(begin + 0.1, begin + 0.1 + seconds)))
    (keep,) = play.kept
    at = second.start / RATE + 0.1
    assert keep.uncovered == ((pytest.approx(at), pytest.approx(at + seconds)) if is_told else None)


def test_while_the_language_is_not_known_the_first_window_decides():
    play = Play(language=None).all_audio()
    (first,) = play.waiting
    play.answer(first, named(first, language="de", language_probability=0.3))  # not certain
    (second,) = play.waiting
    assert second.options.language is second.window.expected is None
    play.answer(second, named(second, language="de"))
    assert len(play.waiting) == COUNT - 2
    assert {(job.options.language, job.window.expected) for job in play.waiting} == {(None, "de")}
    # What comes next is detected, and changes nothing of what is expected: answers come in any order.
    (third, *_) = play.waiting
    play.answer(third, named(third, language="fr"))
    assert play.recording.language == "de"
    assert play.kept[-1].texts[0].language == "fr"


def test_each_segment_has_the_language_of_its_words():
    play = Play(joined=True, language=None).all_audio()
    (first,) = play.waiting
    told = named(first, language="de")
    at = len(told.words) // 2
    words = [msgspec.structs.replace(word, language="ko" if i < at else "de") for i, word in enumerate(told.words)]
    play.answer(first, msgspec.structs.replace(told, words=words))
    languages = [text.language for text in play.kept[0].texts]
    assert languages == sorted(languages, reverse=True)
    assert set(languages) == {"ko", "de"}


def test_a_language_that_was_asked_for_is_heard():
    play = Play(language="en").all_audio()
    assert {(job.options.language, job.window.expected) for job in play.waiting} == {("en", "en")}


def test_a_joined_text_to_disbelieve_is_heard_one_by_one():
    play = Play(joined=True).all_audio()
    first, *others = play.waiting[:]
    play.answer(first, named(first, **REJECTED))
    assert [len(job.utterances) for job in play.waiting] == [
        *(len(job.utterances) for job in others), *[1] * len(first.utterances)
    ]  # fmt: skip
    while play.waiting:
        job = play.waiting[0]
        bad = job.utterances[0].number == 1 and len(job.utterances) == 1
        play.answer(job, named(job, **REJECTED) if bad else named(job))
    assert [text for _, _, text in play.pieces] == [f"number {number}" for number in range(COUNT) if number != 1]


def test_what_is_heard_together_does_not_depend_on_a_restart():
    def windows(play: Play) -> list[list[int]]:
        return [[utterance.number for utterance in job.utterances] for job in play.waiting]

    first, *others = windows(undisturbed := Play(joined=True).all_audio())
    undisturbed.answer(undisturbed.waiting[0], named(undisturbed.waiting[0], **REJECTED))
    alone = windows(undisturbed)[len(others) :]
    for mark in (*range(len(first) + 1), first[-1] + 1):
        again = Play(joined=True, utterance=mark).all_audio()
        rest = [first] if mark == 0 else [one for one in alone if one[0] >= mark]
        assert windows(again) == [*rest, *others]


def test_a_joined_text_that_is_one_guess_is_not_guessed_again():
    play = Play(joined=True).all_audio()
    windows = play.waiting[:]
    guess = heard("a guess from its first word to its last one", avg_logprob=-4.0)
    play.answer(windows[0], guess)
    assert play.waiting == windows[1:]
    for job in windows[1:]:
        play.answer(job, named(job))
    lost = {utterance.number for utterance in windows[0].utterances}
    assert [text for _, _, text in play.pieces] == [f"number {number}" for number in range(COUNT) if number not in lost]


def test_what_the_engine_cannot_decode_is_reported_and_costs_no_other_utterance():
    play = Play(joined=True).all_audio()
    first = play.waiting.pop(0)
    play.take(play.recording.refused(first, "it broke"))
    while play.waiting:
        job = play.waiting[0]
        if [utterance.number for utterance in job.utterances] == [2]:
            play.waiting.remove(job)
            play.take(play.recording.refused(job, "it broke"))
        else:
            play.answer(job, named(job))
    assert [text for _, _, text in play.pieces] == [f"number {number}" for number in range(COUNT) if number != 2]
    assert [keep.trouble for keep in play.kept if keep.trouble] == ["it broke"]


@pytest.mark.parametrize("joined", [False, True])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_no_order_of_results_and_no_restart_changes_anything(joined: bool, data: st.DataObject):
    expected = whole(joined).pieces
    got: list[tuple[float, float, str]] = []
    segment = utterance = 0
    for life in range(LIVES):
        play = Play(joined=joined, segment=segment, utterance=utterance).all_audio()
        many = data.draw(st.integers(0, 6)) if life < LIVES - 1 else 10**6
        while play.waiting and many:
            job = data.draw(st.sampled_from(play.waiting)) if life < LIVES - 1 else play.waiting[0]
            bad = data.draw(st.integers(0, 9)) == 0 if life < LIVES - 1 and len(job.utterances) > 1 else False
            play.answer(job, named(job, **REJECTED) if bad else named(job))
            many -= 1
        # The daemon is killed here: what was kept is stored, all else forgotten.
        got += play.pieces
        for keep in play.kept:
            assert keep.segment == segment
            segment += len(keep.texts)
            utterance = keep.checkpoint_utterance
        if not play.recording.waiting:
            break
    assert [text for _, _, text in got] == [text for _, _, text in expected]
    assert [end for _, end, _ in got] == [end for _, end, _ in expected]
