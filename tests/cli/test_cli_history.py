"""Sessions from before, the daemon and its models, against a scripted daemon."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import docx
import pytest

from convo.messages import (
    Attach,
    CancelSession,
    ClusterStatus,
    DeleteSession,
    EndSession,
    Error,
    ListSessions,
    PullModel,
    RemoteWorkerStatus,
    SegmentCorrected,
    SessionState,
    State,
    StorageStatus,
    SummarizerStatus,
)
from tests.cli.conftest import Result, Run, Start
from tests.cli.fake import SUMMARY, WAIT_S, FakeDaemon


@pytest.fixture
def history(fake: FakeDaemon) -> FakeDaemon:
    """Five sessions; the daemon gives three at a time."""
    fake.add("aaaa1111", "The budget is fine.", "See you.", title="Budget", created=5.0, summary=SUMMARY)
    fake.add("aaaa2222", "Another budget.", title="Evil \x1b]0;owned\x07title\n", created=4.0, kind="file")
    fake.add("bbbb3333", "Hello.", title="", created=3.0)
    fake.add("cccc4444", "Hello.", title="Old", created=2.0)
    fake.add("cccc", "Hello.", title="Oldest", created=1.0)
    return fake


def ids(out: str) -> list[str]:
    return [line.split("\t")[0] for line in out.splitlines()]


def test_ls(history: FakeDaemon, run: Run) -> None:
    result = run("ls")
    assert result.code == 0
    assert ids(result.out) == ["aaaa1111", "aaaa2222", "bbbb3333", "cccc4444", "cccc"]
    assert result.out.splitlines()[1].endswith("\tEvil title\t\t")
    assert not result.err


def test_ls_with_limits(history: FakeDaemon, run: Run) -> None:
    assert ids(run("ls", "--limit", "4").out) == ["aaaa1111", "aaaa2222", "bbbb3333", "cccc4444"]
    assert ids(run("ls", "--kind", "file").out) == ["aaaa2222"]
    assert run("ls", "--state", "failed").out == ""
    assert history.of(ListSessions)[-1].state is State.FAILED


def test_ls_and_show_tell_the_language_and_why_a_session_failed(history: FakeDaemon, run: Run) -> None:
    history.add("dddd1111", title="Broken", language="de").fail("bad_audio", "There is no \x1b[2Jaudio in it.")
    (line,) = run("ls", "--state", "failed").out.splitlines()
    assert line.split("\t")[5:] == ["Broken", "de", "There is no audio in it."]
    shown = run("show", "dddd").out.splitlines()
    assert shown[1].endswith(", de")
    assert shown[2] == "There is no audio in it."


def test_ls_as_json(history: FakeDaemon, run: Run) -> None:
    lines = [json.loads(line) for line in run("--json", "ls").out.splitlines()]
    assert lines[0]["session"] == "aaaa1111"
    assert lines[1]["title"] == "Evil \x1b]0;owned\x07title\n"


@pytest.mark.parametrize(
    ("beginning", "found"), [("b", "bbbb3333"), ("aaaa2", "aaaa2222"), ("cccc4", "cccc4444"), ("cccc", "cccc")]
)
def test_the_beginning_of_an_id_is_enough(history: FakeDaemon, run: Run, beginning: str, found: str) -> None:
    result = run("show", beginning, "--json")
    assert result.code == 0
    assert json.loads(result.out)["session"] == found


def test_an_id_that_could_be_several(history: FakeDaemon, run: Run) -> None:
    result = run("show", "aa")
    assert result.code == 1
    assert "aaaa1111, aaaa2222" in result.err
    assert not result.out


@pytest.mark.parametrize("name", ["zz", ""])
def test_an_id_that_nothing_has(history: FakeDaemon, run: Run, name: str) -> None:
    result = run("show", name)
    assert result.code == 1
    assert "`convo ls`" in result.err


def test_show(history: FakeDaemon, run: Run) -> None:
    result = run("show", "aaaa1")
    assert result.out.startswith("Budget\naaaa1111, live, completed, 1970-01-0")
    assert "00:00  The budget is fine.\n00:02  See you.\n\nThe plan\n" in result.out
    assert "owned" not in run("show", "aaaa2").out


def test_watch_tells_what_was(history: FakeDaemon, run: Run) -> None:
    result = run("watch", "aaaa1", "--times")
    assert result.code == 0
    assert result.out.startswith("00:00  The budget is fine.\n00:02  See you.\n\nThe plan\n")


def test_corrections_are_told_where_one_watches(history: FakeDaemon, run: Run) -> None:
    session = history.sessions["aaaa1111"]
    for segment, text in ((1, "See you \x1b[2Jlater."), (0, ""), (1, "See you \x1b[2Jlater.")):
        session.events.append(
            SegmentCorrected(session="aaaa1111", seq=len(session.events) + 1, segment=segment, text=text, by="user")
        )
    result = run("watch", "aaaa1")
    assert result.out.startswith("The budget is fine.\nSee you.\n")
    assert result.err.splitlines() == [
        "convo: Corrected at 00:02: See you later.",
        "convo: Corrected at 00:00: (nothing was said)",
    ]


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_watching_goes_on_over_a_broken_link(history: FakeDaemon, run: Run, cut: int) -> None:
    history.cut_replay = cut
    result = run("watch", "aaaa1")
    assert (result.code, result.err) == (0, "convo: The connection to the daemon broke. Trying again.\n")
    assert result.out.startswith("The budget is fine.\nSee you.\n\nThe plan\n")
    assert [asked.after_seq for asked in history.of(Attach)] == [0, cut]


def test_watching_can_be_left_and_the_session_goes_on(fake: FakeDaemon, start: Start) -> None:
    session = fake.add("aaaa1111", "So far.")
    session.state = State.PROCESSING
    del session.events[-2:]
    child = start("watch", "aaaa")
    assert child.stdout is not None
    assert child.stdout.readline() == b"So far.\n"
    child.send_signal(signal.SIGINT)
    assert child.wait(WAIT_S) == 130
    assert not fake.of(CancelSession)
    assert not fake.of(EndSession)


def test_watching_a_session_that_failed(fake: FakeDaemon, run: Run) -> None:
    session = fake.add("aaaa1111", "So far.")
    session.state = State.FAILED
    session.events[-1] = SessionState(
        session="aaaa1111", seq=len(session.events), state=State.FAILED, code="internal", message="It broke."
    )
    result = run("watch", "aaaa")
    assert (result.code, result.out, result.err) == (6, "So far.\n", "convo: It broke.\n")


@pytest.mark.parametrize("format", ["txt", "srt", "vtt", "ttml", "md", "json", "jsonl"])
def test_export(history: FakeDaemon, run: Run, format: str, tmp_path: Path) -> None:
    result = run("export", "aaaa1", "--format", format)
    assert result.code == 0
    assert "The budget is fine." in result.out
    target = tmp_path / f"talk.{format}"
    assert run("export", "aaaa1", "-o", target).out == ""
    assert target.read_text() == result.out


def test_export_of_a_word_document(
    history: FakeDaemon, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("export", "aaaa1", "--format", "docx").err == "convo: A Word document needs a file: give -o OUT.docx.\n"
    target = tmp_path / "talk.docx"
    assert run("export", "aaaa1", "-o", target) == Result(0, "", "")
    assert docx.Document(str(target)).paragraphs[-1].text == "00:02 See you."
    monkeypatch.setitem(sys.modules, "docx", None)
    result = run("export", "aaaa1", "-o", target)
    assert (result.code, "pip install 'convo[docx]'" in result.err) == (2, True)


def test_export_without_names_and_numbers(fake: FakeDaemon, run: Run, tmp_path: Path) -> None:
    fake.add("aaaa1111", "So Anna met Zoltan Kis in 2024.", "Mail bob@example.com.")
    assert run("export", "aaaa", "--redact", "numbers,emails").out == (
        "So Anna met Zoltan Kis in [number].\nMail [email].\n"
    )
    names = tmp_path / "names.txt"
    names.write_text("\nbob\n", encoding="utf-8")
    out = "So [name] met [name] in 2024.\nMail [name]@example.com.\n"
    assert run("export", "aaaa", "--redact", "names", "--redact-names", names).out == out
    target = tmp_path / "talk.docx"
    assert run("export", "aaaa", "--redact", "names", "--redact-names", names, "-o", target) == Result(0, "", "")
    assert docx.Document(str(target)).paragraphs[-2].text == "00:00 So [name] met [name] in 2024."
    for words, said in [
        (["--redact", "faces"], "names, numbers, emails"),
        (["--redact-names", names], "--redact names"),
        (["--redact", "names", "--redact-names", tmp_path / "none"], "Cannot read"),
    ]:
        result = run("export", "aaaa", *words)
        assert (result.code, said in result.err) == (2, True)
    names.write_text("x\n" * 201, encoding="utf-8")
    assert "at most 200 names" in run("export", "aaaa", "--redact", "names", "--redact-names", names).err


def test_search(history: FakeDaemon, run: Run) -> None:
    result = run("search", "budget")
    assert result.out == "aaaa1111\t00:00\tThe budget is fine.\naaaa2222\t00:00\tAnother budget.\n"
    assert len(run("search", "budget", "--limit", "1", "--json").out.splitlines()) == 1


def test_cancel_and_rm(history: FakeDaemon, run: Run) -> None:
    assert run("cancel", "bbbb").code == 0
    assert history.of(CancelSession)[0].session == "bbbb3333"
    result = run("rm", "aaaa2")
    assert (result.code, result.out, result.err) == (0, "", "convo: Forgot aaaa2222 (Evil title).\n")
    assert history.of(DeleteSession)[0].session == "aaaa2222"


def test_what_is_not_allowed(history: FakeDaemon, run: Run) -> None:
    history.refuse[DeleteSession] = Error(code="forbidden", message="It is not yours.")
    assert run("rm", "bbbb").code == 5


def test_a_token(fake: FakeDaemon, run: Run) -> None:
    fake.token = "open sesame"
    result = run("status")
    assert result.code == 5
    assert "CONVO_TOKEN" in result.err
    assert run("status", "--token", "open sesame").code == 0


def test_no_daemon(run: Run, tmp_path: Path) -> None:
    result = run("status", "--connect", f"unix:{tmp_path}/none.sock")
    assert (result.code, result.out) == (3, "")
    assert "`convod`" in result.err


@pytest.mark.parametrize("url", ["http://localhost", "unix:", "ws://"])
def test_a_url_that_is_none(run: Run, url: str) -> None:
    result = run("ls", "--connect", url)
    assert result.code == 2
    assert result.err.startswith("convo: ")


def test_status(fake: FakeDaemon, run: Run) -> None:
    out = run("status").out
    assert "convod     0.1.0, up 1 h 2 min\n" in out
    assert "engine     ready: builtin on cpu (int8), 1 worker\n" in out
    value = json.loads(run("status", "--json").out)
    assert value["queue"]["interim"] == 2
    assert "id" not in value


def test_status_tells_what_the_disk_needs(fake: FakeDaemon, run: Run) -> None:
    assert "disk" not in run("status").out
    fake.storage = StorageStatus(unclaimed_files=2, unclaimed_bytes=70_000, message="the disk is \x1b[31mfull")
    out = run("status").out
    assert "disk       the disk is full\n" in out
    assert "disk       2 files of audio (70 kB) that no session knows" in out


def test_status_lists_workers_on_other_machines(fake: FakeDaemon, run: Run) -> None:
    assert "broker" not in run("status").out
    worker = RemoteWorkerStatus(
        worker="0c1d", host="no\x1b[31mrth", model="small", device="cuda", compute_type="float16", slots=2, busy=1,
        load=0.5, windows=17, beat_s=1.6,
    )  # fmt: skip
    other = RemoteWorkerStatus(
        worker="77", host="south", model="tiny", device="cpu", compute_type="int8", reason="it has another model"
    )
    third = RemoteWorkerStatus(
        worker="78", host="west", model="small", device="cpu", compute_type="int8", note="it has no speaker model"
    )
    fake.cluster = ClusterStatus(connected=True, workers=[worker, other, third])
    out = run("status").out
    assert "broker     connected\n" in out
    assert (
        "worker     north 0c1d: small on cuda (float16), 1 of 2 busy, load 50%, 17 windows, last beat 2 s ago\n" in out
    )
    assert "worker     south 77: gets no audio: it has another model\n" in out
    assert "last beat 0 s ago; it has no speaker model\n" in out
    fake.cluster = ClusterStatus(connected=False, message="the broker cannot be reached")
    assert "broker     the broker cannot be reached\n" in run("status").out


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (
            SummarizerStatus(provider="ollama", model="llama3.2", reason="auto found Ollama at \x1b[31mhttp://x"),
            "summaries  ollama (llama3.2): auto found Ollama at http://x\n",
        ),
        (
            SummarizerStatus(provider="openai", model="", reason="start it", available=False),
            "summaries  openai is away: start it\n",
        ),
    ],
)
def test_status_says_who_writes_summaries_and_why(
    fake: FakeDaemon, run: Run, status: SummarizerStatus, line: str
) -> None:
    fake.summarizer = status
    assert run("status").out.endswith(line)


def test_status_says_why_it_is_this_model(fake: FakeDaemon, run: Run) -> None:
    fake.reason = "the best of the models here\x1b[2J"
    assert "1 worker\n           builtin: the best of the models here\n" in run("status").out


def test_models(fake: FakeDaemon, run: Run) -> None:
    assert run("models").out.splitlines() == [
        "builtin\tin use\t5.6 MB\tshort\ten\tbuilt-in",
        "tiny.en\tyes\t78 MB\tfull\ten\tpackage index",
        "small\tno\t\tfull\t\t",
    ]
    assert [json.loads(line)["source"] for line in run("models", "--json").out.splitlines()[:2]] == ["builtin", "index"]


def test_metrics_command_no_terminal(fake: FakeDaemon, run: Run) -> None:
    assert run("metrics").out == 'convo_info{version="1"} 1\nconvo_uptime_seconds 2\n'


def test_pull(fake: FakeDaemon, run: Run) -> None:
    result = run("models", "pull", "small")
    assert (result.code, result.out) == (0, "")
    assert "small is here (484 MB)" in result.err
    assert fake.of(PullModel)[0].model == "small"
    assert json.loads(run("models", "pull", "small", "--json").out)["size_bytes"] == 484_000_000
