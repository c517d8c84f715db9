"""Requests about the daemon: its state, its metrics, its models.

In: replies about the daemon. Out: a few lines for a person, or one line of JSON.
"""

from __future__ import annotations

import sys

from convo.messages import ListModels, Metrics, ModelInfo, ModelProgress, RemoteWorkerStatus, Status, StatusReply

from .arguments import Options
from .errors import Exit, Problem
from .link import connected
from .output import json_line, note, on_screen, put
from .progress import bars
from .text import clean, clean_lines, size, table


async def status(options: Options) -> None:
    """`convo status`."""
    async with connected(options) as client:
        reply = await client.request(Status())
    put(_reply_line(reply) if options.json else _status_text(reply))


async def metrics(options: Options) -> None:
    """`convo metrics`."""
    async with connected(options) as client:
        reply = await client.request(Metrics())
    put(_reply_line(reply) if options.json else clean_lines(reply.content))


async def models(options: Options) -> None:
    """`convo models`."""
    async with connected(options) as client:
        found = (await client.request(ListModels())).models
    if options.json:
        put("".join(json_line(model) for model in found))
        return
    rows = [_model_row(model) for model in found]
    put(table(("MODEL", "HERE", "SIZE", "CONTEXT", "LANGUAGES", "FROM"), rows, screen=on_screen(sys.stdout)))


async def pull(options: Options) -> None:
    """`convo models pull NAME`."""
    async with connected(options) as client:
        with bars() as shown:
            bar = shown.add(options.name)

            def progress(message: ModelProgress) -> None:
                bar.show("fetching", message.done_bytes, message.total_bytes)

            reply = await client.pull_model(options.name, progress)
    if options.json:
        put(_reply_line(reply))
    else:
        note(
            f"{reply.model} is here ({size(reply.size_bytes)}). Use it with --model; a convod "
            "without --model takes the best that is here when it starts."
        )


def _status_text(reply: StatusReply) -> str:
    engine = reply.engine
    lines = [
        ("convod", f"{reply.version}, up {_duration(reply.uptime_s)}"),
        ("engine", f"{engine.state}: {engine.model} on {engine.device} ({engine.compute_type}), {_workers(reply)}"),
        ("waiting", f"{reply.queue.interim} interim, {reply.queue.final} final, {reply.queue.file} file"),
        ("sessions", f"{reply.sessions.live} live, {reply.sessions.file} file"),
    ]
    if engine.reason:
        lines.insert(2, ("", f"{engine.model}: {engine.reason}"))
    if engine.message:
        lines.insert(2, ("", engine.message))
    if reply.summarizer is not None:
        by = reply.summarizer
        model = f" ({by.model})" if by.model else ""
        lines.append(("summaries", f"{by.provider}{model}{'' if by.available else ' is away'}: {by.reason}"))
    if (cluster := reply.cluster) is not None:
        lines.append(
            ("broker", cluster.message or "connected" if cluster.connected else cluster.message or "not connected yet")
        )
        lines += [("worker", _remote_worker(one)) for one in cluster.workers]
    if (disk := reply.storage) is not None:
        if disk.message is not None:
            lines.append(("disk", disk.message))
        if disk.unclaimed_files:
            files = f"{disk.unclaimed_files} file" + ("s" if disk.unclaimed_files != 1 else "")
            lines.append(
                (
                    "disk",
                    f"{files} of audio ({size(disk.unclaimed_bytes)}) that no session knows: restore the database that "
                    "does, or delete them from the folder 'unclaimed' in the state directory",
                )
            )
    return "".join(f"{name:<10} {clean(text)}".rstrip() + "\n" for name, text in lines)


def _workers(reply: StatusReply) -> str:
    count, restarts = reply.engine.workers, reply.engine.restarts
    text = f"{count} worker" + ("s" if count != 1 else "")
    return text + (f", restarted {restarts} time" + ("s" if restarts != 1 else "") if restarts else "")


def _remote_worker(one: RemoteWorkerStatus) -> str:
    if one.reason is not None:
        return f"{one.host} {one.worker}: gets no audio: {one.reason}"
    note = f"; {one.note}" if one.note is not None else ""
    return (
        f"{one.host} {one.worker}: {one.model} on {one.device} ({one.compute_type}), {one.busy} of {one.slots} busy, "
        f"load {one.load:.0%}, {one.windows} windows, last beat {one.beat_s:.0f} s ago{note}"
    )


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


_SOURCES = {"builtin": "built-in", "index": "package index"}


def _model_row(model: ModelInfo) -> tuple[str, str, str, str, str, str]:
    here = "in use" if model.loaded else "yes" if model.here else "no"
    languages = model.languages or []
    shown = " ".join(languages) if len(languages) <= 5 else f"{len(languages)} languages"
    source = model.source or ""
    at_hand = size(model.size_bytes) if model.here else ""
    return model.name, here, at_hand, model.context, shown, _SOURCES.get(source, source)


def _reply_line(reply: object) -> str:
    """A reply as JSON, without what belongs to the wire."""
    import msgspec

    plain = msgspec.to_builtins(reply)
    plain.pop("type", None)
    plain.pop("id", None)
    return json_line(plain)


async def mcp(options: Options) -> None:
    """`convo mcp`."""
    try:
        from .mcp_server import serve
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("mcp"):
            raise
        raise Problem(Exit.USAGE, "`convo mcp` needs the package mcp: pip install 'convo[mcp]'.") from None
    await serve(options)
