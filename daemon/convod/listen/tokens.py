"""Tokens of remote clients: made once, shown once, kept as hashes in a file that may change while the daemon runs.

In: a token as a client sends it. Out: its `Token`, or None. The file holds names, scopes and SHA-256 hashes, which do
not let anyone connect. A secret has 256 random bits, so a plain hash is as good as a slow one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from convod.disk import FAILING, write_whole

Scope = Literal["read", "stream", "admin"]

FILE: Final = "tokens.json"
"""In the state directory."""

PREFIX: Final = "convo_"
"""Begins every token, so that people and secret scanners recognise one."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class BadToken(ValueError):
    """A token cannot be made, found or read; the text says what to do."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token. `created` and `expires` are Unix seconds; `sha256` is of the whole token, in hex.

    `owner`: whose sessions it makes and sees. Each token is an owner of its own, also one whose name was used before;
    those of earlier versions were owners by name.
    """

    name: str
    scope: Scope
    owner: str
    created: float
    expires: float | None = None
    sha256: str

    def valid(self, now: float) -> bool:
        """Whether it has not expired at `now`, Unix seconds."""
        return self.expires is None or now < self.expires


class _Content(msgspec.Struct, kw_only=True):
    version: int = 1
    tokens: list[Token] = []


class TokenFile:
    """The tokens of one state directory; the file is read again whenever it has changed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether tokens were ever made here: from then on one is asked for, also when all are revoked.

        A file that cannot be examined counts as one that exists.
        """
        try:
            self.path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, expired ones too.

        Raises:
            BadToken: the file cannot be read or understood.
        """
        try:
            about = self.path.stat()
            seen = (about.st_ino, about.st_mtime_ns, about.st_size)
            if seen != self._seen:
                self._tokens = tuple(msgspec.json.decode(self.path.read_bytes(), type=_Content).tokens)
                self._seen = seen
        except FileNotFoundError:
            self._seen, self._tokens = None, ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadToken(
                f"{self.path} cannot be read ({error}); no client can connect by WebSocket until it is restored, or "
                "moved aside and new tokens are made with `convod token add`"
            ) from error
        return self._tokens

    def find(self, secret: str, now: float) -> Token | None:
        """Return the valid token with this secret, or None; takes the same time in every case."""
        given = _hash(secret).encode()
        found = None
        for token in self.tokens():
            # As bytes: a damaged file may hold a text here that is not ASCII, which cannot be compared so.
            if hmac.compare_digest(given, token.sha256.encode("utf-8", "surrogatepass")):
                found = token
        return found if found is not None and found.valid(now) else None

    def add(self, name: str, *, scope: Scope = "stream", owner: str = "", expires: float | None = None) -> str:
        """Make a token; return its secret, which is stored nowhere.

        Raises:
            BadToken: the name is taken or no name, or the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise BadToken(f"{name!r} cannot be the name of a token: use up to 64 letters, digits, dots, dashes")
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._changing() as content:
            if any(token.name == name for token in content.tokens):
                raise BadToken(f"there is a token {name!r} already: revoke it first, or take another name")
            content.tokens.append(
                Token(
                    name=name, scope=scope, owner=owner or f"token:{secrets.token_hex(8)}", created=time.time(),
                    expires=expires, sha256=_hash(secret),
                )
            )  # fmt: skip
        return secret

    def revoke(self, name: str) -> None:
        """Revoke a token. A running daemon notices within a second or two.

        Raises:
            BadToken: there is none of that name, or the file cannot be written.
        """
        with self._changing() as content:
            kept = [token for token in content.tokens if token.name != name]
            if len(kept) == len(content.tokens):
                raise BadToken(f"there is no token {name!r}: `convod token list` shows them")
            content.tokens = kept

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Content]:
        """Yield the file's content and write it back whole: a daemon that reads meanwhile sees the old or the new."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Follow no link: root makes tokens in a directory of the daemon's user, who may have put one there.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self.path.with_name(f"{FILE}.lock"), flags, 0o600)
        except OSError as error:
            raise self._unwritten(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = _Content(tokens=list(self.tokens()))
            yield content
            self._write(msgspec.json.format(msgspec.json.encode(content)), lock)
        except OSError as error:
            raise self._unwritten(error) from error
        finally:
            os.close(lock)

    def _unwritten(self, error: OSError) -> BadToken:
        todo = "look at its disk" if error.errno in FAILING else "run this as the daemon's user"
        return BadToken(f"{self.path} cannot be written ({error.strerror}); {todo}")

    def _write(self, data: bytes, lock: int) -> None:
        owner = None
        if os.geteuid() == 0:  # made by root for the user of the service, who must be able to read it
            about = self.path.parent.stat()
            owner = about.st_uid, about.st_gid
            os.fchown(lock, *owner)
        write_whole(self.path, data + b"\n", owner=owner)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
