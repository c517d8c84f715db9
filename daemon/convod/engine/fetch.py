"""Fetch a model from the hub, in a process of its own: the daemon's side, and (run as a program) the fetching side.

In: a hub id. Out: progress in bytes, then the model in the hub's cache; or one sentence that says what works instead.
The child prints one JSON object a line: `{"done", "total"}`, at last `{"directory"}` or `{"error"}`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import trio

FILES: Final = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""What a CTranslate2 Whisper model consists of (as faster-whisper's download_model)."""


class FetchFailed(Exception):
    """The model could not be fetched; the text says what works instead."""


async def fetch(name: str, repository: str, progress: Callable[[int, int | None], None]) -> None:
    """Fetch a model; `progress(done_bytes, total_bytes)` is called meanwhile.

    Raises:
        FetchFailed: the hub cannot be reached or has no such model.
    """
    failure: str | None = f"model {name!r} was not fetched: the fetching process ended early"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "convod.engine.fetch", name, repository],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        buffer = b""
        async for data in process.stdout:
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                if "error" in said:
                    failure = said["error"]
                elif "directory" in said:
                    failure = None
                else:
                    progress(said["done"], said["total"])
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.stdout.aclose()
    if failure is not None:
        raise FetchFailed(failure)


def main() -> None:
    """Fetch `argv[2]`, which people call `argv[1]`."""
    name, repository = sys.argv[1:3]

    def say(**fields: object) -> None:
        print(json.dumps(fields), flush=True)

    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        files = HfApi().model_info(repository, files_metadata=True, timeout=20).siblings or []
        total = sum(file.size or 0 for file in files if _wanted(file.rfilename))
        directory = snapshot_download(repository, allow_patterns=list(FILES), tqdm_class=_reporter(say, total))
    except RepositoryNotFoundError:
        say(error=f"the model hub has no model {repository!r}; `convo models` lists names that work")
    # Whatever goes wrong between here and the hub (name lookup, proxy, TLS, time-outs, disk) ends in one sentence.
    except Exception as error:
        reason = type(error).__name__
        say(
            error=f"the model hub cannot be reached ({reason}), so {name!r} is not fetched; run "
            f"`convod --model builtin`, or `convod --model DIR` with a CTranslate2 model in DIR"
        )
    else:
        say(directory=directory)


def _wanted(file: str) -> bool:
    from fnmatch import fnmatch

    return any(fnmatch(file, pattern) for pattern in FILES)


def _reporter(say: Callable[..., None], total: int) -> type:
    """A progress bar class that prints bytes done instead of drawing."""
    from tqdm.auto import tqdm

    done = 0

    class Reporter(tqdm):  # type: ignore[type-arg, misc, unused-ignore]
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            options["disable"] = True
            self._bytes = options.get("unit") == "B"
            super().__init__(*args, **options)

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal done
            if self._bytes and n:
                done += int(n)
                say(done=done, total=total or None)
            return None

    return Reporter


if __name__ == "__main__":
    main()
