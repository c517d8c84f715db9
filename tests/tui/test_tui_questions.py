"""Questions: the answer as it is written, its citations, the talk that they open; one talk or all; refusals."""

from __future__ import annotations

import pytest

from convo.messages import AnswerProgress, AnswerSentence, Ask, AskReply, CancelAsk, Error, Passage
from convo_tui.model.answer import Answer, Place, Sentence
from convo_tui.widgets.transcript import TranscriptView
from tests.cli.fake import FakeDaemon
from tests.tui.conftest import Open

PASSAGES = [
    Passage(
        session="s", title="Talk\x1b[2J", created=0, segment=at, start=10.0 * at, end=10.0 * at + 1, text=f"Text {at}.",
        speaker="Ada" if at else None, match=at != 1,
    )
    for at in range(3)
]  # fmt: skip
SAYS = AnswerSentence(text="It is so\x9b1m.", sources=[2, 2, 9, 0], unverified=["Bob"])
SAID = [
    Sentence("It is so.", ("Bob",)),
    Place("s", "Talk", 2, 20.0, "Text 2.", "Ada"),
    Place("s", "Talk", 0, 0.0, "Text 0."),
]


def reply(*answer: AnswerSentence, passages: list[Passage] = PASSAGES, **fields: object) -> AskReply:
    return AskReply(id=1, answer=list(answer), passages=passages, provider="ollama", model="m", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("news", "rows", "note"),
    [
        ([], [], ""),
        ([AnswerProgress(ask=1, passages=PASSAGES)], [], "Writing the answer."),
        ([AnswerProgress(ask=1, passages=PASSAGES), AnswerProgress(ask=1, sentence=SAYS)], SAID, "Writing the answer."),
        (
            [AnswerProgress(ask=1, passages=PASSAGES, sentence=SAYS), AnswerProgress(ask=1, restart=True)],
            [],
            "Writing the answer.",
        ),
        (
            [AnswerProgress(ask=1, sentence=SAYS), reply(SAYS, dropped=1)],
            SAID,
            "Written by ollama m; 1 sentence without support left out.",
        ),
        ([reply(SAYS)], SAID, "Written by ollama m."),
        ([reply(reason="No model\x07 answers.")], [SAID[2], SAID[1]], "No model answers."),
        ([reply(passages=[])], [], "Nothing was said about this."),
    ],
)
def test_an_answer_as_it_is_written(news: list[AnswerProgress | AskReply], rows: list[object], note: str) -> None:
    answer = Answer()
    for one in news:
        answer.finish(one) if isinstance(one, AskReply) else answer.progress(one)
    assert (answer.rows, answer.note) == (rows, note)


async def test_an_answer_cites_and_opens_the_talk_at_that_line(connected: Open, fake: FakeDaemon) -> None:
    fake.features, fake.pause_s = ["ask"], 2.0
    fake.add("aaaa0001", *[f"Line {at}." for at in range(40)], title="First")
    fake.add("aaaa0002", "The budget is ten.", title="Second", created=2_000_000.0)
    fake.answer = [
        AnswerSentence(text="The budget is ten.", sources=[40], unverified=["Bob"]),
        AnswerSentence(text="Line thirty says so.", sources=[30, 40]),
    ]
    async with connected(size=(80, 24)) as stage:
        await stage.press("5")
        await stage.sees("Questions about all talks", "Without one, you get the places that are about it.")
        await stage.press(*"budget?", "enter")
        await stage.sees(
            "The budget is ten.", "Not in what is cited: Bob", "00:00  Second  The budget", "01:45  First  Line 30.",
            "Written by ollama m; 1 sentence without support left out.",
        )  # fmt: skip
        assert [(one.query, one.sessions) for one in fake.of(Ask)] == [("budget?", [])]
        await stage.press("down", "enter")
        await stage.sees("▌  Line 30.")
        assert stage.app.screen.query_one(TranscriptView).selected == 30
        await stage.press("a")
        await stage.sees("Questions about First")
        fake.answer = []
        await stage.press(*"thirty", "enter")
        await stage.sees("No language model answers questions.", "00:00  Line 0.")
        assert fake.of(Ask)[-1].sessions == ["aaaa0001"]
        await stage.press("5")
        await stage.sees("Questions about all talks", "00:00  First  Line 0.")
        assert fake.of(Ask)[-1].sessions == []
        await stage.press("escape", "escape")
        await stage.sees("Line thirty says so.")


async def test_a_question_is_stopped_refused_or_unknown(connected: Open, fake: FakeDaemon) -> None:
    async with connected(size=(80, 24)) as stage:
        await stage.press("5", *"who", "enter")
        await stage.sees("The daemon is too old for questions: update it.")
        fake.features = ["ask"]
    async with connected(size=(80, 24)) as stage:
        fake.refuse[Ask] = Error(code="busy", message="Too many questions wait: ask again later.")
        await stage.press("5", *"who", "enter")
        await stage.sees("Too many questions wait: ask again later.")
        fake.refuse.clear()
        fake.ignores.add(Ask)
        await stage.press("enter")
        await stage.sees("◌ answering", "Searching.")
        await stage.press("escape")
        await stage.sees("Stopped.")
        await stage.until(lambda: len(fake.of(CancelAsk)) == 1, "the daemon stops, too")
        await stage.press("escape")
        await stage.sees("start listening")
