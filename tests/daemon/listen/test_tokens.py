from __future__ import annotations

import hashlib
import hmac
import os
import stat
import time

import pytest

from convod.listen.tokens import BadToken, TokenFile
from convod.ops.tokens import parse_expiry

NOW = 1_000_000_000.0


def test_a_token_is_found_by_its_secret_which_is_nowhere_on_disk(tmp_path):
    book = TokenFile(tmp_path)
    secret = book.add("phone", scope="read")
    found = book.find(secret, NOW)
    assert found is not None
    assert (found.name, found.scope, found.owner, found.expires) == ("phone", "read", f"token:{found.owner[6:]}", None)
    assert all(secret not in path.read_text() for path in tmp_path.iterdir())
    assert all(book.find(wrong, NOW) is None for wrong in ("", "phone", secret[:-1], secret + "x", found.sha256))
    assert len({book.add(f"n{i}") for i in range(20)}) == 20


def test_a_secret_is_compared_with_every_token_in_constant_time(tmp_path, monkeypatch):
    """Whichever it is, and whether it is any: how long it takes tells nothing."""
    book = TokenFile(tmp_path)
    own = [book.add(f"n{i}") for i in range(5)]
    compare, compared = hmac.compare_digest, []
    monkeypatch.setattr(hmac, "compare_digest", lambda *two: compared.append(two) or compare(*two))
    for secret in (own[0], own[4], own[0][:-1], "", "x" * 5000):
        compared.clear()
        assert (book.find(secret, NOW) is not None) == (secret in own)
        assert len({kept for _, kept in compared}) == len(compared) == 5
        assert {len(side) for two in compared for side in two} == {64}, "hashes, all of one length"


def test_the_file_is_for_its_user_alone(tmp_path):
    book = TokenFile(tmp_path / "state")
    before = os.umask(0)
    try:
        book.add("phone")
    finally:
        os.umask(before)
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600


def test_what_another_process_changes_is_seen_at_once(tmp_path):
    daemon, command = TokenFile(tmp_path), TokenFile(tmp_path)
    assert not daemon.exists
    first, second = command.add("one"), command.add("two", owner="uid:7")
    assert daemon.exists
    assert daemon.find(second, NOW).owner == "uid:7"
    command.revoke("one")
    assert daemon.find(first, NOW) is None
    assert daemon.find(second, NOW) is not None
    command.revoke("two")
    assert daemon.exists, "the last one revoked does not open the door"
    assert daemon.find(second, NOW) is None


def test_a_token_is_over_when_it_expires(tmp_path):
    book = TokenFile(tmp_path)
    secret = book.add("guest", expires=NOW)
    assert book.find(secret, NOW - 0.1) is not None
    assert book.find(secret, NOW) is None


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\nb", "../x", "ä", "x" * 65])
def test_a_name_is_plain(tmp_path, name):
    with pytest.raises(BadToken, match="cannot be the name"):
        TokenFile(tmp_path).add(name)


def test_a_name_is_taken_once_and_missed_by_name(tmp_path):
    book = TokenFile(tmp_path)
    book.add("a")
    with pytest.raises(BadToken, match="already"):
        book.add("a")
    with pytest.raises(BadToken, match="'b'"):
        book.revoke("b")
    assert [token.name for token in book.tokens()] == ["a"]


def test_a_name_that_is_made_again_is_another_owner(tmp_path):
    book = TokenFile(tmp_path)
    first = book.find(book.add("phone"), NOW)
    book.revoke("phone")
    second = book.find(book.add("phone"), NOW)
    third = book.find(book.add("tablet", owner=second.owner), NOW)
    assert first.owner != second.owner
    assert second.owner == third.owner, "unless it is asked for"


def test_a_token_of_an_earlier_version_is_the_owner_that_it_was(tmp_path):
    book = TokenFile(tmp_path)
    secret = "convo_old"
    book.path.write_text(
        '{"version": 1, "tokens": [{"name": "phone", "scope": "stream", "owner": "token:phone", "created": 1.0, '
        f'"sha256": "{hashlib.sha256(secret.encode()).hexdigest()}"' + "}]}"
    )
    assert book.find(secret, NOW).owner == "token:phone"
    book.revoke("phone")
    assert book.find(book.add("phone"), NOW).owner != "token:phone"


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"tokens": [{"name": "a"}]}', b'{"tokens": [{"name": "\xcc"}]}']
)
def test_a_damaged_file_lets_nobody_in_and_is_left_as_it_is(tmp_path, damage):
    book = TokenFile(tmp_path)
    secret = book.add("a")
    book.path.write_bytes(damage)
    with pytest.raises(BadToken, match="restore"):
        book.find(secret, NOW)
    with pytest.raises(BadToken, match="restore"):
        book.add("b")
    assert book.path.read_bytes() == damage


@pytest.mark.parametrize(
    ("text", "when"),
    [("30d", NOW + 30 * 86400), ("12h", NOW + 43200), ("2w", NOW + 14 * 86400), ("2027-01-31", 1801353600.0),
     ("2027-01-31T12:00+02:00", 1801389600.0)],
)  # fmt: skip
def test_an_expiry_is_a_span_or_a_date(text, when):
    assert parse_expiry(text, NOW) == when


@pytest.mark.parametrize("text", ["", "soon", "0d", "-1d", "1999-01-01", "2027-13-01"])
def test_an_expiry_that_is_none_is_told(text):
    with pytest.raises(BadToken, match="--expires"):
        parse_expiry(text, time.time() if text == "0d" else NOW)


@pytest.mark.parametrize("name", ["tokens.json.lock", "tokens.json.new"])
def test_root_writes_through_no_link_that_the_daemons_user_put_there(tmp_path, name):
    state, elsewhere = tmp_path / "state", tmp_path / "shadow"
    state.mkdir()
    elsewhere.write_text("root's")
    owner = elsewhere.stat().st_uid, elsewhere.stat().st_gid
    (state / name).symlink_to(elsewhere)
    with pytest.raises(BadToken, match="cannot be written"):
        TokenFile(state).add("ann")
    assert elsewhere.read_text() == "root's"
    assert (elsewhere.stat().st_uid, elsewhere.stat().st_gid) == owner
