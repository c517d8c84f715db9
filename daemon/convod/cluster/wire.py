"""What daemons and workers leave for each other in Redis: names of keys, tasks, replies, beats. Structs only, no I/O.

    convo:q:MODEL:WORKER   list      tasks of one worker, in Celery's form
    convo:w:ID             string    the windows of a task; deleted as soon as nothing wants its result
    convo:r:DAEMON         stream    replies to one run of a daemon
    convo:beats            stream    beats of all workers

Each worker has its own queue: Redis may hand a task to a connection that is cut and does not know it yet; a shared
queue would lose window after window that way. MODEL is in the name, so that no window reaches another model.
"""

from __future__ import annotations

import base64
import json
import secrets
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from convod.engine.wire import FromWorker, Loaded, NotLoaded, Results, Trouble

PREFIX: Final = "convo:"
BEATS: Final = f"{PREFIX}beats"
TASK: Final = "convo.decode"

BEAT_S: Final = 2.0
"""Seconds between two beats of a worker, unless its settings say otherwise."""

BEATS_KEPT: Final = 1000
"""Beats in the stream: more than all workers send during a short outage."""

REPLY_S: Final = 600
"""Seconds after which unread replies vanish."""


def queue_name(model: str, worker: str) -> str:
    """Return a worker's queue as Celery knows it; Celery adds PREFIX."""
    return f"q:{model}:{worker}"


def window_key(task: str) -> str:
    """Where the windows of a task are."""
    return f"{PREFIX}w:{task}"


def reply_key(daemon: str) -> str:
    """The stream of replies to a daemon."""
    return f"{PREFIX}r:{daemon}"


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What a text depends on besides its window. In what a daemon wants, "" means any.

    Args:
        digest: SHA-256 of the model's files.
        context: `full` or `short`, see `models`.
        device: Such as `cpu` or `cuda`.
        compute_type: Such as `int8`.
        versions: Versions of the packages involved.
    """

    digest: str
    context: str
    device: str
    compute_type: str
    versions: str

    @property
    def name(self) -> str:
        """A short name for all of it."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]

    def why_not(self, other: Fingerprint) -> str | None:
        """Return why a worker with the `other` one gets nothing from a daemon that wants this one, or None."""
        if (self.digest, self.context) != (other.digest, other.context):
            return "it has another model"
        if self.versions != other.versions:
            return f"it runs {other.versions}, this convod {self.versions}"
        if self.device not in ("", other.device) or self.compute_type not in ("", other.compute_type):
            return (
                f"it computes on {other.device} ({other.compute_type}), this convod on {self.device} "
                f"({self.compute_type})"
            )
        return None


class Beat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker's regular message.

    Args:
        worker: Its id, of one run of its process.
        host: The name of its machine.
        fingerprint: What it decodes with.
        model: The model's name there.
        languages: As in `Loaded`,
        multilingual: and so is this.
        slots: How many tasks it takes at once.
        busy: How many it has.
        load: The machine's load over its processors.
        windows: How many it has decoded.
        every_s: Seconds between its beats: it is dead when some are missing.
        voices: SHA-256 of its speaker embedder, "" if it has none. Not in the fingerprint: it may be installed later.
        state: `leaving` takes no more tasks and finishes what it has, `gone` has ended.
    """

    worker: str
    host: str
    fingerprint: Fingerprint
    model: str
    languages: list[str]
    multilingual: bool
    slots: int = 1
    busy: int = 0
    load: float = 0.0
    windows: int = 0
    every_s: Annotated[float, Meta(gt=0, le=60)] = BEAT_S
    voices: str = ""
    state: Literal["serving", "leaving", "gone"] = "serving"

    @property
    def loaded(self) -> Loaded:
        """What a worker process of this machine would have said when its model was loaded."""
        return Loaded(
            device=self.fingerprint.device,
            compute_type=self.fingerprint.compute_type,
            languages=self.languages,
            multilingual=self.multilingual,
        )


Verdict = Literal["answer", "died", "dropped"]


class Reply(msgspec.Struct, frozen=True):
    """The result of a task. `answer`: the worker process's own, in `body`. `died`: that process did, and `body` says
    how. `dropped`: its windows were gone, or vanished while it was decoding.
    """

    task: str
    verdict: Verdict
    body: bytes = b""

    @property
    def fields(self) -> dict[Any, Any]:
        """The fields of a stream's entry."""
        return {"task": self.task, "verdict": self.verdict, "body": self.body}


class Malformed(ValueError):
    """What was read from the broker does not belong there."""


_beats: Final = msgspec.msgpack.Decoder(Beat)
_answers: Final[msgspec.msgpack.Decoder[FromWorker]] = msgspec.msgpack.Decoder(Loaded | NotLoaded | Results | Trouble)


def beat_fields(beat: Beat) -> dict[Any, Any]:
    """The fields of a stream's entry."""
    return {"beat": msgspec.msgpack.encode(beat)}


def read_beat(fields: dict[bytes, bytes]) -> Beat:
    """Read an entry of the stream of beats.

    Raises:
        Malformed: it is invalid.
    """
    try:
        return _beats.decode(fields[b"beat"])
    except (KeyError, msgspec.DecodeError) as error:
        raise Malformed(str(error)) from error


def read_reply(fields: dict[bytes, bytes]) -> Reply:
    """Read an entry of a daemon's stream.

    Raises:
        Malformed: it is invalid.
    """
    try:
        return msgspec.convert(
            {
                "task": fields[b"task"].decode(),
                "verdict": fields[b"verdict"].decode(),
                "body": fields.get(b"body", b""),
            },
            Reply,
        )
    except (KeyError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Malformed(str(error)) from error


def read_answer(body: bytes, windows: int) -> Results | Trouble:
    """Read what a worker answered to so many windows.

    Raises:
        Malformed: it is invalid.
    """
    try:
        answer = _answers.decode(body)
    except msgspec.DecodeError as error:
        raise Malformed(str(error)) from error
    if isinstance(answer, Trouble) or (isinstance(answer, Results) and len(answer.hypotheses) == windows):
        return answer
    raise Malformed("it does not answer what was asked")


def task_message(task: str, queue: str, daemon: str, model: str, limit_s: float) -> str:
    """Return a task as Celery reads it from its queue (message protocol 2 in Kombu's envelope for Redis).

    It has no audio. Written here and not with Celery, so that one transaction stores it together with its windows, and
    the daemon needs neither Celery's memory nor its connections.
    """
    body = json.dumps([[task, daemon, model, limit_s], {}, {}])
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": TASK, "id": task, "root_id": task, "argsrepr": "", "kwargsrepr": ""},
            "properties": {
                "correlation_id": task,
                "delivery_tag": secrets.token_hex(8),
                "delivery_info": {"exchange": "", "routing_key": queue},
                "body_encoding": "base64",
            },
        }
    )
