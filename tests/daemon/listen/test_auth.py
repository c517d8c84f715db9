from __future__ import annotations

import logging
import os
import pwd
import struct
import time

import pytest
import trio

from convod.listen import auth
from convod.listen.auth import (
    HOSTS,
    PAUSES_S,
    SCOPES,
    Authenticator,
    Grant,
    Lease,
    Right,
    Unauthorized,
    unix_grant,
)
from convod.listen.settings import ListenSettings
from convod.listen.tokens import TokenFile


def authenticator(directory, **settings) -> Authenticator:
    fixed = ListenSettings(**settings)
    return Authenticator(TokenFile(directory), lambda: fixed)


async def refused(door: Authenticator, given: str | None, host: str = "h", **where) -> str:
    with pytest.raises(Unauthorized) as refusal:
        await door.authenticate(given, host, **where)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("shared", "given", "comes_in"),
    [
        ("", None, False),
        ("", "", False),
        ("", "anything", False),
        ("s", "s", True),
        ("s", "S", False),
        ("s", "", False),
        ("s", None, False),
        ("ß", "ß", True),
        ("s", "ß", False),
        ("s", "\ud800", False),
    ],
)
@pytest.mark.parametrize("loopback", [True, False])
async def test_the_shared_token_lets_in_as_web(autojump_clock, tmp_path, shared, given, comes_in, loopback):
    door = authenticator(tmp_path, token=shared)
    assert door.requires_token(loopback=loopback)
    if comes_in:
        assert (await door.authenticate(given, "h", loopback=loopback)).owner == "web"
    else:
        said = await refused(door, given, loopback=loopback)
        assert ("convod token add" in said) == (not shared and given is None)


async def test_this_machine_comes_in_without_a_token_only_if_the_settings_say_so(autojump_clock, tmp_path):
    door = authenticator(tmp_path, open_loopback=True)
    assert not door.requires_token(loopback=True)
    assert (await door.authenticate(None, "h", loopback=True)).owner == "web"
    assert door.requires_token(loopback=False)
    await refused(door, None)


HAPPENS = {
    "the first token is made": lambda place: TokenFile(place).add("a"),
    "a shared token is set": lambda place: ListenSettings(open_loopback=True, token="s"),
    "the setting is gone": lambda place: ListenSettings(),
}


@pytest.mark.parametrize("what", HAPPENS)
async def test_an_open_port_closes_and_never_opens_again(autojump_clock, tmp_path, what):
    now = [before := ListenSettings(open_loopback=True)]
    book = TokenFile(tmp_path)
    door = Authenticator(book, lambda: now[0])
    grant = await door.authenticate(None, "h", loopback=True)
    assert grant.lease is not None
    door.recheck()
    assert grant.lease.ended is None
    changed = HAPPENS[what](tmp_path)
    if isinstance(changed, ListenSettings):
        now[0] = changed
    door.recheck()
    assert grant.lease.ended is not None
    assert "token" in grant.lease.ended
    book.path.unlink(missing_ok=True)  # moved aside
    now[0] = before
    assert door.requires_token(loopback=True)
    await refused(door, None, loopback=True)


@pytest.mark.parametrize("damage", ["missing", "broken", "unreadable", "dangling link"])
async def test_a_tokens_file_that_is_gone_or_broken_opens_nothing(autojump_clock, tmp_path, damage, monkeypatch):
    """Whether it happens while the daemon runs or, where no port is open without tokens, before it starts again."""
    book = TokenFile(tmp_path)
    book.add("a")
    running = authenticator(tmp_path, open_loopback=True)
    assert running.requires_token(loopback=True)
    content = book.path.read_bytes()
    book.path.unlink()
    if damage == "broken":
        book.path.write_bytes(content[:10])
    elif damage == "dangling link":
        book.path.symlink_to(tmp_path / "nothing")
    elif damage == "unreadable":
        monkeypatch.setattr(type(book.path), "lstat", raising(PermissionError()))
    restarted = authenticator(tmp_path, open_loopback=damage != "missing")
    for door in (running, restarted):
        for loopback in (True, False):
            assert door.requires_token(loopback=loopback)
            await refused(door, None, loopback=loopback)


def raising(error: Exception):
    def function(*args, **options):
        raise error

    return function


async def test_a_token_is_known_by_its_secret(autojump_clock, tmp_path):
    book = TokenFile(tmp_path)
    door = authenticator(tmp_path)
    assert not door.has_tokens()
    secret = book.add("phone", scope="read")
    assert door.has_tokens()
    grant = await door.authenticate(secret, "h")
    assert (grant.owner, grant.rights, grant.token) == (book.tokens()[0].owner, Right.READ, "phone")
    assert grant.reach == grant.owner
    await refused(door, None)
    book.revoke("phone")
    await refused(door, secret)


async def test_wrong_tries_wait_longer_and_longer_are_counted_and_logged_without_the_secret(
    autojump_clock, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    door = authenticator(tmp_path, token="right")
    waited = []
    for _ in range(6):
        begun = trio.current_time()
        await refused(door, "guess-Qwertz", "10.0.0.1")
        waited.append(trio.current_time() - begun)
    assert waited == pytest.approx([*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]])
    begun = trio.current_time()
    await refused(door, "guess-Qwertz", "10.0.0.2")
    assert trio.current_time() - begun == pytest.approx(PAUSES_S[0])
    begun = trio.current_time()
    assert (await door.authenticate("right", "10.0.0.1")).owner == "web", "who knows it is not held up"
    assert trio.current_time() == begun
    await trio.sleep(1000)
    await refused(door, "guess-Qwertz", "10.0.0.1")
    assert door.refused == 8
    assert "10.0.0.1" in str([vars(record) for record in caplog.records])
    assert "Qwertz" not in str([vars(record) for record in caplog.records])


async def test_the_memory_of_wrong_tries_is_bounded(autojump_clock, tmp_path):
    door = authenticator(tmp_path, token="s")
    async with trio.open_nursery() as nursery:
        for number in range(HOSTS + 50):
            nursery.start_soon(refused, door, "x", f"h{number}")
    assert len(door.tries) == HOSTS


async def until_ended(lease: Lease, limit_s: float) -> None:
    with trio.fail_after(limit_s), trio.CancelScope() as scope, lease.bound(scope):
        await trio.sleep_forever()
    assert lease.ended


async def test_a_grant_ends_when_its_token_is_revoked_expires_or_is_another(
    autojump_clock, tmp_path, monkeypatch, nursery, caplog
):
    book = TokenFile(tmp_path)
    door = authenticator(tmp_path)
    assert "convod token add" in door.why_no_valid_token()
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + trio.current_time())
    start = trio.current_time()
    stays, goes, narrows = book.add("stays"), book.add("goes"), book.add("narrows", scope="admin")
    expires = book.add("expires", expires=began + start + 100)
    leases = {}
    for name, secret in (("stays", stays), ("goes", goes), ("narrows", narrows), ("expires", expires)):
        leases[name] = (await door.authenticate(secret, "h")).lease
    nursery.start_soon(door.watch)
    book.revoke("goes")
    await until_ended(leases["goes"], 3)
    book.path.write_text(book.path.read_text().replace('"admin"', '"read"'))
    await until_ended(leases["narrows"], 3)
    assert leases["expires"].ended is None
    await until_ended(leases["expires"], 110)
    assert leases["stays"].ended is None
    assert door.why_no_valid_token() is None
    book.path.write_bytes(b"broken")
    await trio.sleep(10)
    assert leases["stays"].ended is None
    assert sum("cannot be read" in record.getMessage() for record in caplog.records) == 1, "it is said once"
    assert "cannot be read" in door.why_no_valid_token()
    nursery.cancel_scope.cancel()


async def test_a_shared_token_ends_with_the_settings_that_hold_it(autojump_clock, tmp_path, caplog):
    now = [ListenSettings(token="old")]
    door = Authenticator(TokenFile(tmp_path), lambda: now[0])
    lease = (await door.authenticate("old", "h")).lease
    door.recheck()
    assert lease.ended is None
    now[0] = ListenSettings(token="new")
    door.recheck()
    assert lease.ended
    await refused(door, "old")
    lease = (await door.authenticate("new", "h")).lease
    now[0] = ListenSettings()
    door.recheck()
    assert lease.ended
    assert "no client can connect by WebSocket" in caplog.text
    await refused(door, None)


async def test_a_unix_peer_is_its_user_and_an_admin_if_the_settings_say_so():
    ours, _theirs = trio.socket.socketpair()
    with ours, _theirs:
        name = pwd.getpwuid(os.getuid()).pw_name
        assert unix_grant(ours).owner == f"uid:{os.getuid()}"
        assert unix_grant(ours).reach == f"uid:{os.getuid()}"
        assert unix_grant(ours).may_use_reserve
        assert unix_grant(ours, [name]).reach is None
        assert unix_grant(ours, [str(os.getuid())]).reach is None
        assert unix_grant(ours, ["nobody-else"]).reach is not None


class Peer:
    """A socket whose other end is a user of this id."""

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        return struct.pack("iII", 1, self.uid, self.uid)


def test_root_and_the_daemons_own_user_may_fetch_models_and_others_may_not():
    assert Right.PULL in unix_grant(Peer(os.geteuid())).rights
    assert Right.PULL in unix_grant(Peer(0)).rights
    assert Right.PULL not in unix_grant(Peer(54321)).rights
    assert Right.PULL in unix_grant(Peer(54321), ["54321"]).rights


@pytest.mark.parametrize("admins", [[], ["nobody"], ["65534"]])
def test_a_user_without_an_id_here_is_nobodys_owner(monkeypatch, admins):
    monkeypatch.setattr(auth, "is_ambiguous", lambda uid: uid == 65534)
    with pytest.raises(Unauthorized, match="user namespace") as refusal:
        unix_grant(Peer(65534), admins)
    assert "\n" not in str(refusal.value)
    assert unix_grant(Peer(54321)).owner == "uid:54321"


async def test_an_admin_is_one_as_long_as_the_settings_say_so(autojump_clock, tmp_path):
    now = [ListenSettings(admins=["54321"])]
    door = Authenticator(TokenFile(tmp_path), lambda: now[0])
    grant = door.authenticate_user(Peer(54321))
    assert grant.reach is None
    door.recheck()
    assert grant.lease.ended is None
    now[0] = ListenSettings(admins=["another"])
    door.recheck()
    assert grant.lease.ended
    assert door.authenticate_user(Peer(54321)).reach == "uid:54321"


def test_only_an_admin_reaches_everybody():
    assert {scope: Grant("o", rights).reach for scope, rights in SCOPES.items()} == {
        "read": "o",
        "stream": "o",
        "admin": None,
    }
