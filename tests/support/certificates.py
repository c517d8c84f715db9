"""A fresh certificate for this machine, by openssl.

In: a folder. Out: `cert.pem` and `key.pem` in it, in place of those that are there.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def certify(folder: Path, name: str) -> None:
    """Write a certificate for localhost that no other certificate vouches for."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
