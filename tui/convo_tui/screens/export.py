"""Exports a session to a file, from any screen.

In: a format and a path that the user is asked for. Out: a file, never over another one, or one sentence on why not.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import convo
from convo.docx_file import DOCX, render_docx
from convo.formats import FORMATS
from convo.text import clean_json, clean_lines
from convo.transcript import Transcript

from ..work.start import start
from .ask import AskScreen, ChooseScreen
from .base import ConvoScreen

_FORMATS = {
    "txt": "plain text, one segment per line",
    "md": "Markdown with summary and times",
    DOCX: "a Word document, like Markdown",
    "srt": "SubRip captions",
    "vtt": "WebVTT captions",
    "ttml": "TTML captions",
    "json": "everything, as one object",
    "jsonl": "everything, one object per line",
}


def ask_export(screen: ConvoScreen, session: str, name: str) -> None:
    """Ask for a format, then a path, and export."""

    def chosen(format: str | None) -> None:
        if format is None:
            return

        def named(path: str | None) -> None:
            if path:
                start(screen, partial(_export, screen, session, Path(path).expanduser(), format), group="export")

        path = f"{_file_name(name) or session[:8]}.{format}"
        screen.app.push_screen(AskScreen("Export to", "path of a file", value=path, paths=True), named)

    formats = [(name, name, about) for name, about in _FORMATS.items() if name == DOCX or name in FORMATS]
    screen.app.push_screen(ChooseScreen("Export as", formats), chosen)


async def _export(screen: ConvoScreen, session: str, path: Path, format: str) -> None:
    async def get(client: convo.Client) -> bytes:
        if format == DOCX:
            return await asyncio.to_thread(render_docx, Transcript.of(await client.get_session(session)))
        text = await client.export(session, format)
        return (clean_json(text) if format in ("json", "jsonl") else clean_lines(text)).encode()

    try:
        content = await screen.context.daemon.link.ask(get)
        with path.open("xb") as file:  # never overwrites
            file.write(content)
    except FileExistsError:
        screen.show_error(f"{path} already exists: choose another name.")
    except OSError as error:
        screen.show_error(f"Cannot write {path}: {error.strerror or error}.")
    except convo.ConvoError as error:
        screen.show_error(str(error))
    else:
        screen.say(f"Saved to {path}.")


def _file_name(title: str) -> str:
    """Turn a title into a file name: no separators, no leading dots."""
    return "".join(char if char.isalnum() or char in " -_." else "-" for char in title).strip(" .")[:80]
