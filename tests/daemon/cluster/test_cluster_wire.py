from __future__ import annotations

import base64
import json

import pytest

from convod.cluster import broker, wire
from convod.cluster.outstanding import Outstanding
from convod.cluster.wire import Malformed, Reply
from convod.engine.wire import Loaded, Results, Trouble, encoded
from convod.speech.decoding import Hypothesis

HEARD = Hypothesis(text="hi", language="en", language_probability=1.0, avg_logprob=0.0, no_speech_prob=0.0)


def test_each_answer_counts_once_and_only_what_this_run_asked_for():
    ours, theirs = Outstanding[str]("run1"), Outstanding[str]("run2")
    first, second, third = (ours.new(who) for who in "abc")
    assert len({first, second, third, theirs.new("x")}) == 4
    assert [ours.answered(task) for task in (second, second, "run2-1", "run1-99", "")] == ["b", None, None, None, None]
    assert ours.unexpected == 4
    assert ours.give_up(first)
    assert not ours.give_up(first)
    assert not ours.give_up(second)
    assert ours.answered(first) is None  # it was given to another worker meanwhile
    assert ours.answered(third) == "c"


def test_a_task_is_celerys_and_holds_no_audio():
    message = json.loads(wire.task_message("d-1", "q:m:w", "d", "m", 120.0))
    assert json.loads(base64.b64decode(message["body"])) == [["d-1", "d", "m", 120.0], {}, {}]
    assert message["headers"]["task"] == wire.TASK
    assert message["content-type"] == "application/json"
    assert message["properties"]["delivery_info"]["routing_key"] == "q:m:w"


def stream_entry(fields):
    return {key.encode(): value.encode() if isinstance(value, str) else value for key, value in fields.items()}


@pytest.mark.parametrize("answer", [Results(hypotheses=[HEARD, HEARD], seconds=0.5), Trouble(message="no")])
def test_a_reply_comes_back_as_it_was_sent(answer):
    reply = Reply("d-1", "answer", encoded(answer))
    assert wire.read_reply(stream_entry(reply.fields)) == reply
    assert wire.read_answer(reply.body, 2) == answer


@pytest.mark.parametrize(
    "fields",
    [{}, {"task": "d-1"}, {"task": "d-1", "verdict": "maybe"}, {"task": b"\xff", "verdict": "died"}],
)
def test_what_is_no_reply_is_told_from_one(fields):
    with pytest.raises(Malformed):
        wire.read_reply(stream_entry(fields))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xc1", b"\x81\xa4type\xa4work", encoded(Results(hypotheses=[HEARD], seconds=1.0)),
        encoded(Loaded(device="cpu", compute_type="int8", languages=[], multilingual=False)),
    ],
)  # fmt: skip
def test_what_is_no_answer_to_two_windows_is_told_from_one(body):
    with pytest.raises(Malformed):
        wire.read_answer(body, 2)


@pytest.mark.parametrize("fields", [{}, {b"beat": b""}, {b"beat": b"\x80"}, {b"beat": b"\xc1"}])
def test_what_is_no_beat_is_told_from_one(fields):
    with pytest.raises(Malformed):
        wire.read_beat(fields)


@pytest.mark.parametrize(
    ("url", "place", "tls"),
    [
        ("redis://h", "redis://h:6379", None),
        ("redis://u:p%40w@h:7000/2", "redis://h:7000", None),
        ("rediss://:secret@h", "rediss://h:6379", {"ssl_cert_reqs": "required"}),
        ("rediss://h?ssl_ca_certs=/c.pem", "rediss://h:6379",
         {"ssl_cert_reqs": "required", "ssl_ca_certs": "/c.pem"}),
    ],
)  # fmt: skip
def test_a_brokers_url_is_shown_without_its_secret_and_its_certificate_is_checked(url, place, tls):
    assert broker.place(url) == place
    assert broker.tls_options(url) == tls
