"""The worker process: reads windows from its socket, decodes them, writes the results; ends when the socket does.

Run as `python -m convod.engine.worker FD`. One batch at a time; the first message is `Load`. It never touches files
other than the model's, nor any socket but the one it was given.
"""

from __future__ import annotations

import signal
import socket
import sys
import time

from convod.engine.wire import Load, Loaded, NotLoaded, Results, Trouble, Work, pack, read_frame, to_worker


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    # A terminal may stop a background process that writes to it (stty tostop); a library's message is not worth that.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    link = socket.socket(fileno=int(sys.argv[1]))
    stream = link.makefile("rb")
    first = read_frame(stream.read)
    if first is None:
        return
    load = to_worker(first)
    if not isinstance(load, Load):
        raise SystemExit("the first message to a worker is `load`")
    try:
        from convod.engine.embedder import WhenAsked
        from convod.engine.whisper import Whisper

        embedder = WhenAsked(load.voices)
        whisper = Whisper(load)
        whisper.warm_up()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        link.sendall(pack(NotLoaded(message=_why_not(load, error))))
        return
    link.sendall(
        pack(
            Loaded(
                device=whisper.device,
                compute_type=whisper.compute_type,
                languages=whisper.languages,
                multilingual=whisper.multilingual,
            )
        )
    )
    while (body := read_frame(stream.read)) is not None:
        work = to_worker(body)
        assert isinstance(work, Work)
        begun = time.perf_counter()
        try:
            hypotheses = embedder.with_voiceprints(work, whisper.decode(work.windows, work.rate, work.options))
        except (RuntimeError, ValueError) as error:
            link.sendall(pack(Trouble(message=str(error))))
        else:
            link.sendall(pack(Results(hypotheses=hypotheses, seconds=time.perf_counter() - begun)))


def _why_not(load: Load, error: Exception) -> str:
    """Say why the model cannot be loaded, and what to do if the settings ask for too much."""
    said = f"the model in {load.directory} cannot be used: {str(error).rstrip('.')}"
    if load.compute_type != "default":
        return f"{said}; leave out --compute-type (engine.compute_type {load.compute_type!r}), or choose another"
    if load.device == "cuda":
        return f"{said}; start convod with --device cpu, or mend the GPU's driver"
    return said


if __name__ == "__main__":
    main()
