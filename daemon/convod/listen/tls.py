"""The certificate of the WebSocket listener: read at the start, read again when told to.

In: two files. Out: an `ssl.SSLContext` for the next connection. A certificate that cannot be read never takes the
place of one that could.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import msgspec


class BadCertificate(Exception):
    """The certificate or its key cannot be used; the text says which and why."""


class Certificate(msgspec.Struct):
    """`context` is the one in force, for connections to come; those that are open keep what they have."""

    context: ssl.SSLContext

    @classmethod
    def read(cls, cert: str, key: str) -> Certificate:
        """Read PEM files.

        Raises:
            BadCertificate: a file is missing or no PEM file, or they do not belong together.
        """
        return cls(_context(cert, key))

    def renewal(self, cert: str, key: str) -> Callable[[], None]:
        """Read PEM files again, and return what puts them in force.

        Raises:
            BadCertificate: as `read` does.
        """
        context = _context(cert, key)

        def renew() -> None:
            self.context = context

        return renew


def _context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key or None)
    except (ssl.SSLError, OSError) as error:
        reason = error.strerror or getattr(error, "reason", None) or str(error)
        raise BadCertificate(
            f"the certificate {cert} with the key {key or cert} cannot be used ({reason}); "
            "give PEM files that belong together with --tls-cert and --tls-key"
        ) from error
    return context
