"""Reads a multipart/form-data body part by part as it comes, and holds no more of it than a piece.

In: the request's content type and the chunks of its body. Out: `Field`, and for files `FileStart`, `FileData` and
`FileEnd`. Starlette's own form parser would hold a whole file before the first of it could be sent on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from convo.messages import Code

from .errors import Refused

FIELD_BYTES: Final = 64 << 10
"""Longest value of a field that is not a file."""

FIELDS: Final = 64
"""Most parts of a form."""


class Field(msgspec.Struct, frozen=True):
    """A field with its text."""

    name: str
    value: str


class FileStart(msgspec.Struct, frozen=True):
    """A file begins; `filename` is what the client calls it."""

    name: str
    filename: str


class FileData(msgspec.Struct, frozen=True):
    """The next bytes of the file."""

    data: bytes


class FileEnd(msgspec.Struct, frozen=True):
    """The file was whole."""


Part = Field | FileStart | FileData | FileEnd


class Form:
    """The parts of a body, for `async for`.

    Raises:
        Refused: the body is not multipart, or a field is too long or one too many.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._parts: deque[Part] = deque()
        self._header = b""
        self._value = b""
        self._headers: dict[str, str] = {}
        self._name = ""
        self._is_file = False
        self._text: bytearray = bytearray()
        self._count = 0
        self._whole = False
        kind = _header(content_type)
        boundary = kind.get_param("boundary")
        if kind.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
            raise Refused(Code.BAD_REQUEST, "Send the request as multipart/form-data with a file in the field `file`.")
        try:
            self._parser = MultipartParser(
                boundary.encode("latin-1", "replace"),
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._part_ends,
                    "on_end": self._ends,
                },
            )
        except FormParserError:
            raise Refused(Code.BAD_REQUEST, "The boundary of the multipart body is too long.") from None

    def __aiter__(self) -> Form:
        return self

    async def __anext__(self) -> Part:
        while not self._parts:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                if not self._whole:
                    raise _broken() from None
                raise
            if self._whole:
                continue  # anything after the last boundary is ignored
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise _broken() from None
        return self._parts.popleft()

    # --- what the parser calls --------------------------------------------------------------------------------

    def _part_begins(self) -> None:
        self._count += 1
        if self._count > FIELDS:
            raise Refused(Code.BAD_REQUEST, f"The form has more than {FIELDS} fields.")
        self._headers = {}
        self._text.clear()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._header = self._value = b""

    def _headers_end(self) -> None:
        about = _header(self._headers.get("content-disposition", ""))
        name = about.get_param("name")
        if about.get_content_type() != "form-data/x" or not isinstance(name, str):
            raise Refused(Code.BAD_REQUEST, "Each part of the form needs a Content-Disposition with a name.")
        self._name = name
        filename = about.get_param("filename")
        self._is_file = filename is not None
        if filename is not None:
            self._parts.append(FileStart(name, collapse_rfc2231_value(filename)))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._parts.append(FileData(data[start:end]))
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            raise Refused(Code.BAD_REQUEST, f"A field is longer than {FIELD_BYTES} bytes.", param=self._name)

    def _part_ends(self) -> None:
        if self._is_file:
            self._parts.append(FileEnd())
            return
        try:
            self._parts.append(Field(self._name, self._text.decode()))
        except UnicodeDecodeError:
            raise Refused(Code.BAD_REQUEST, "A field is not UTF-8.", param=self._name) from None

    def _ends(self) -> None:
        self._whole = True


def _broken() -> Refused:
    return Refused(Code.BAD_REQUEST, "The multipart body is broken, or ends too early; send it again.")


def _header(value: str) -> Message:
    """Return a header with parameters, read as email's parser reads a content type."""
    message = Message()
    # A bare "form-data" is no content type: it is read as one with a subtype.
    kind, semicolon, parameters = value.partition(";")
    kind = f"{kind.strip()}/x" if kind.strip().lower() == "form-data" else kind
    message["content-type"] = kind + semicolon + parameters
    return message
