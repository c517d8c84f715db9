"""What is taken out of transcripts, what stays, and that neither text nor names make it slow."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convo.formats import FORMATS
from convo.messages import ActionItem, Bookmark, Segment, Speaker, State, Summary, Word
from convo.redaction import KINDS, NAMES, Redactor, render_redacted, silences
from convo.transcript import Transcript


def segment(text: str, number: int = 0, language: str = "en", words: bool = False) -> Segment:
    start = 10.0 * number
    timed = [
        Word(start=start + at, end=start + at + 0.9, word=f" {word}", confidence=1.0)
        for at, word in enumerate(text.split())
    ]
    return Segment(
        segment=number, start=start, end=start + 9.0, text=text, language=language, confidence=1.0,
        words=timed if words else None,
    )  # fmt: skip


def talk(*segments: Segment, **fields: object) -> Transcript:
    whole = Transcript(
        session="s", kind="file", title="", state=State.COMPLETED, created=0.0, duration_s=1.0,
        segments=list(segments), summary=None,
    )  # fmt: skip
    return msgspec.structs.replace(whole, **fields)


def texts(redactor: Redactor, *said: str, language: str = "en") -> list[str]:
    whole = talk(*(segment(text, number, language) for number, text in enumerate(said)))
    return [each.text for each in redactor.redacted(whole).segments]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Write to anna.smith+x@mail.example.co.uk, please.", "Write to [email], please."),
        ("It is anna dot smith at example dot com.", "It is [email]."),
        ("Das ist anna punkt schmidt ät beispiel punkt de.", "Das ist [email]."),
        ("See https://example.com/a?b=c. Or www.example.org!", "See [link]. Or [link]!"),
        ("Look at example.com/path, or at noon.", "Look at [link], or at noon."),
        ("Meet at the dot, at two. 3.5 e.g. this", "Meet at the dot, at two. 3.5 e.g. this"),
    ],
)
def test_addresses(text: str, left: str) -> None:
    assert texts(Redactor(["emails"]), text) == [left]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Call +44 (0)20 7946-0958 now.", "Call [number] now."),
        ("Card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00.", "Card [number], IBAN [number]."),
        ("On 3/4/2024 we had 40k, 12 percent.", "On [number] we had [number], [number] percent."),
        ("It is five five five one two.", "It is [number]."),
        ("null eins sieben zwei, das ist es", "[number], das ist es"),
        ("cero uno dos tres cuatro", "[number]"),
        ("공일공 일이삼사 오육칠팔 입니다", "[number] 입니다"),
        ("一三八零零零 是", "[number] 是"),
        ("Mein Kürzel: AB12.", "Mein Kürzel: [number]."),
        ("One of the two is fine, or three.", "One of the two is fine, or three."),
        ("예산은 2024년 3월까지", "예산은 [number]년 [number]월까지"),
    ],
)
def test_numbers(text: str, left: str) -> None:
    assert texts(Redactor(["numbers"]), text) == [left]


def test_english_names() -> None:
    said = [
        "So Anna Smith met Dr. Jones on Monday, and I told Anna's boss.",
        "Anna agreed. But Bo did not.",
        "Then we left. Will you come? I will.",
        "NASA is fine. Zoe said no.",
    ]
    assert texts(Redactor(["names"]), *said) == [
        "So [name] met Dr. [name] on Monday, and I told [name] boss.",
        "[name] agreed. But [name] did not.",
        "Then we left. Will you come? I will.",
        "NASA is fine. Zoe said no.",
    ]
    german = "Die Anna hat den Bericht."
    assert texts(Redactor(["names"]), german, language="de") == [german]


def test_given_names_in_any_language() -> None:
    redactor = Redactor(["names"], ["anna", "Jean-Luc Picard", "김민수", " "])
    assert texts(redactor, "Annas Anna hat ANNA's Jean-Luc Picard.", "Jean-Luc kam.", language="de") == [
        "Annas [name] hat [name] [name].".replace("[name] [name]", "[name]"),
        "Jean-Luc kam.",
    ]
    assert texts(redactor, "김민수가 왔습니다 김민수", language="ko") == ["[name]가 왔습니다 [name]"]


def test_everything_of_a_transcript_is_covered() -> None:
    summary = Summary(
        provider="Bo", model="m1", title="Call Bo at 5", summary="We asked Bo.", key_points=["Ask Bo."],
        action_items=[ActionItem(text="Call 12345", owner="Bo")], keywords=["Bo"], language="de",
        unverified=["Bo"],
    )  # fmt: skip
    whole = talk(
        msgspec.structs.replace(segment("Bo, are you there?"), speaker=1),
        title="Bo and 5",
        summary=summary,
        marks=[Bookmark(time=1.0, text="ask Bo")],
        speakers=[Speaker(speaker=1, name="Bo"), Speaker(speaker=2, name="Speaker 2")],
    )
    for format in FORMATS:
        text = "".join(render_redacted(whole, format, whole.segments, Redactor(["names", "numbers"])))
        assert "Bo" not in text.replace('"provider": "Bo"', ""), format
        assert "12345" not in text
        if format not in ("json", "jsonl"):
            assert "Speaker 1" in text
    redacted = Redactor(["names", "numbers"]).redacted(whole)
    assert redacted.summary is not None
    assert redacted.summary.action_items == [ActionItem(text="Call [number]", owner="[name]")]
    assert (redacted.title, redacted.summary.provider) == ("[name] and [number]", "Bo")
    assert Redactor(["numbers"]).redacted(whole).speakers == whole.speakers


def test_speakers_lose_their_names_in_the_text_too() -> None:
    speakers = [
        Speaker(speaker=1, name="Anna Smith"),
        Speaker(speaker=2, name="me"),
        Speaker(speaker=3, name="Will the host"),
    ]
    whole = talk(segment("Anna und ich. Will er, will sie? Frau Smith, gib me host.", language="de"), speakers=speakers)
    redacted = Redactor(["names"]).redacted(whole)
    assert redacted.segments[0].text == "[name] und ich. Will er, will sie? Frau [name], gib me host."
    assert [speaker.name for speaker in redacted.speakers] == ["Speaker 1", "me", "Speaker 3"]


def test_words_and_silence_go_by_the_times_of_words() -> None:
    whole = talk(
        segment("Call 555 1234 now, Bo, please.", 0, words=True),
        segment("Or 99.", 1),
        segment("Nothing here.", 2, words=True),
    )
    redactor = Redactor(["numbers"])
    first, second, third = redactor.redacted(whole).segments
    assert [(word.word, word.start, word.end) for word in first.words or ()] == [
        (" Call", 0.0, 0.9), (" [number]", 1.0, 2.9), (" now,", 3.0, 3.9), (" Bo,", 4.0, 4.9), (" please.", 5.0, 5.9),
    ]  # fmt: skip
    assert (second.text, third) == ("Or [number].", whole.segments[2])
    assert silences(redactor, whole) == [(0.9, 3.0), (9.9, 19.1)]
    assert silences(Redactor(["numbers"]), talk()) == []


@pytest.mark.parametrize(
    ("kinds", "names", "says"),
    [
        (["faces"], [], "redact takes names, numbers, emails, not 'faces'"),
        (["numbers"], ["Bo"], "put `names` into redact"),
        (["names"], ["x"] * (NAMES + 1), "at most 200 names"),
        (["names"], ["x" * 101], "of 100 characters"),
    ],
)
def test_what_cannot_be_redacted(kinds: list[str], names: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Redactor(kinds, names)


@settings(max_examples=50)
@given(text=st.text(st.sampled_from("aA1@.:/ -+(one two") | st.characters(), max_size=80))
def test_any_text(text: str) -> None:
    redactor = Redactor(KINDS, ["Anna", "김"])
    clean = redactor.text(text, "en")
    assert "@a.com" not in redactor.text(f"{clean} x@a.com", "en")
    assert redactor.redacted(talk(segment(text, words=True))).segments[0].text == clean


@pytest.mark.parametrize("unit", ["a", "a.", "1 ", "1(", "a@", "one ", "a dot ", "www.", "Anna ", "Ann", "+", "- "])
def test_no_text_takes_long(unit: str) -> None:
    redactor = Redactor(KINDS, [f"Anna {number}" for number in range(NAMES)])
    began = time.process_time()
    redactor.text(unit * (20_000 // len(unit)), "en")
    assert time.process_time() - began < 2.0
