"""Every failure has one exit code and one sentence; a bug keeps its traceback."""

from __future__ import annotations

import pytest

import convo
from convo_cli.__main__ import run
from convo_cli.arguments import Options
from convo_cli.errors import ClosedPipe, Exit, Interrupted, Problem, explain, failed


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("unauthorized", Exit.NOT_ALLOWED),
        ("forbidden", Exit.NOT_ALLOWED),
        ("bad_audio", Exit.BAD_AUDIO),
        ("unsupported_audio", Exit.BAD_AUDIO),
        ("unknown_session", Exit.OTHER),
        ("busy", Exit.OTHER),
        ("model_unavailable", Exit.OTHER),
        ("a_code_of_tomorrow", Exit.OTHER),
    ],
)
def test_a_refused_request(code: str, expected: Exit) -> None:
    told = explain(convo.RequestError(code, "Do this."))
    assert isinstance(told, Problem)
    assert told.code is expected
    assert told.sentence.startswith("Do this.")


@pytest.mark.parametrize(
    ("code", "expected"),
    [("internal", Exit.FAILED), (None, Exit.FAILED), ("bad_audio", Exit.BAD_AUDIO), ("busy", Exit.FAILED)],
)
def test_a_session_that_failed(code: str | None, expected: Exit) -> None:
    assert failed(code, "Why.").code is expected
    assert failed(code, None).sentence


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (convo.CannotConnect("unix:/x", "nothing listens there"), Exit.NO_DAEMON),
        (convo.ConnectionLost("The daemon closed the connection."), Exit.NO_DAEMON),
        (convo.EventsLost("s", 3), Exit.OTHER),
        (convo.LocalProtocolError("Too large."), Exit.OTHER),
        (Problem(Exit.USAGE, "No."), Exit.USAGE),
    ],
)
def test_other_failures(error: Exception, expected: Exit) -> None:
    told = explain(error)
    assert isinstance(told, Problem)
    assert told.code is expected


def test_groups() -> None:
    problem, pipe, stop = Problem(Exit.FAILED, "a"), ClosedPipe(), Interrupted(2)
    assert explain(ExceptionGroup("", [ExceptionGroup("", [problem])])) is problem
    assert explain(ExceptionGroup("", [problem, pipe])) is pipe
    assert explain(ExceptionGroup("", [problem, pipe, stop])) is stop
    assert explain(BaseExceptionGroup("", [KeyboardInterrupt(), problem])).signum == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "error", [ValueError("bug"), ExceptionGroup("", [ValueError("bug"), Problem(Exit.OTHER, "a")])]
)
def test_a_bug_is_no_problem_of_the_user(error: Exception) -> None:
    assert explain(error) is None

    async def command(options: Options) -> None:
        raise error

    with pytest.raises((ValueError, ExceptionGroup)):
        run(command, Options())


@pytest.mark.parametrize(
    ("error", "code"),
    [(Problem(Exit.FAILED, "It\x1b[2J failed."), 6), (Interrupted(2), 130), (Interrupted(15), 143), (None, 0)],
)
def test_exit_codes(error: Exception | None, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    async def command(options: Options) -> None:
        if error is not None:
            raise error

    assert run(command, Options()) == code
    captured = capfd.readouterr()
    assert not captured.out
    assert captured.err == ("convo: It failed.\n" if code == 6 else "")
