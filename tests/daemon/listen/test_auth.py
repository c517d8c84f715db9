from __future__ import annotations

import logging
import os
import pwd
import time

import pytest
import trio

from convod.listen.auth import HOSTS, PAUSES_S, SCOPES, Gate, Grant, Right, unix_grant
from convod.listen.tokens import TokenBook


@pytest.mark.parametrize(
    ("shared", "given", "owner"),
    [
        ("", None, "web"),
        ("", "anything", "web"),
        ("s", "s", "web"),
        ("s", "S", None),
        ("s", "", None),
        ("s", None, None),
        ("ß", "ß", "web"),
        ("s", "ß", None),
        ("s", "\ud800", None),
    ],
)
async def test_the_shared_token_lets_in_as_web(autojump_clock, tmp_path, shared, given, owner):
    grant = await Gate(TokenBook(tmp_path)).admit(shared, given, "h")
    assert (grant and grant.owner) == owner


async def test_once_there_are_tokens_one_is_asked_for(autojump_clock, tmp_path):
    book = TokenBook(tmp_path)
    gate = Gate(book)
    assert not gate.wants_token("")
    secret = book.add("phone", scope="read")
    assert gate.wants_token("")
    grant = await gate.admit("", secret, "h")
    assert grant is not None
    assert (grant.owner, grant.rights, grant.token, grant.reach) == ("token:phone", Right.READ, "phone", "token:phone")
    assert await gate.admit("", None, "h") is None
    book.revoke("phone")
    assert await gate.admit("", None, "h") is None


async def test_wrong_tries_wait_longer_and_longer_are_counted_and_logged_without_the_secret(
    autojump_clock, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    gate = Gate(TokenBook(tmp_path))
    waited = []
    for _ in range(6):
        begun = trio.current_time()
        assert await gate.admit("right", "guess-Qwertz", "10.0.0.1") is None
        waited.append(trio.current_time() - begun)
    assert waited == pytest.approx([*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]])
    begun = trio.current_time()
    assert await gate.admit("right", "guess-Qwertz", "10.0.0.2") is None
    assert trio.current_time() - begun == pytest.approx(PAUSES_S[0])
    begun = trio.current_time()
    assert await gate.admit("right", "right", "10.0.0.1") is not None, "who knows it is not held up"
    assert trio.current_time() == begun
    await trio.sleep(1000)
    assert await gate.admit("right", "guess-Qwertz", "10.0.0.1") is None
    assert gate.refused == 8
    assert "10.0.0.1" in str([vars(record) for record in caplog.records])
    assert "Qwertz" not in str([vars(record) for record in caplog.records])


async def test_the_memory_of_wrong_tries_is_bounded(autojump_clock, tmp_path):
    gate = Gate(TokenBook(tmp_path))
    async with trio.open_nursery() as nursery:
        for number in range(HOSTS + 50):
            nursery.start_soon(gate.admit, "s", "x", f"h{number}")
    assert len(gate._tries) == HOSTS


async def test_a_grant_ends_when_its_token_is_revoked_or_expires(autojump_clock, tmp_path, monkeypatch, nursery):
    book = TokenBook(tmp_path)
    gate = Gate(book)
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + trio.current_time())
    start = trio.current_time()
    stays, goes, expires = book.add("stays"), book.add("goes"), book.add("expires", expires=began + start + 100)
    grants = {name: await gate.admit("", secret, "h") for name, secret in
              (("stays", stays), ("goes", goes), ("expires", expires))}  # fmt: skip
    nursery.start_soon(gate.watch)
    book.revoke("goes")
    with trio.fail_after(3):
        await grants["goes"].ended.wait()
    assert not grants["expires"].ended.is_set()
    with trio.fail_after(110):
        await grants["expires"].ended.wait()
    assert not grants["stays"].ended.is_set()
    book.path.write_bytes(b"broken")
    await trio.sleep(10)
    assert not grants["stays"].ended.is_set()
    nursery.cancel_scope.cancel()


async def test_a_unix_peer_is_its_user_and_an_admin_if_the_settings_say_so():
    ours, _theirs = trio.socket.socketpair()
    with ours, _theirs:
        name = pwd.getpwuid(os.getuid()).pw_name
        assert unix_grant(ours).owner == f"uid:{os.getuid()}"
        assert unix_grant(ours).reach == f"uid:{os.getuid()}"
        assert Right.PULL in unix_grant(ours).rights
        assert unix_grant(ours, [name]).reach is None
        assert unix_grant(ours, [str(os.getuid())]).reach is None
        assert unix_grant(ours, ["nobody-else"]).reach is not None


def test_only_an_admin_reaches_everybody():
    assert {scope: Grant("o", rights).reach for scope, rights in SCOPES.items()} == {
        "read": "o",
        "stream": "o",
        "admin": None,
    }
