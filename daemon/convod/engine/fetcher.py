"""The fetching process: a model from the hub into the hub's cache, else from the package index into the package store.

Run as `python -m convod.engine.fetcher NAME HUB-ID`. Prints one JSON object a line: `{"done", "total"}` in bytes, at
last `{"directory"}` or `{"error"}`, a sentence that says what works instead. Both places are asked at most once; the
hub has no `voices`, and is not asked for them.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from fnmatch import fnmatch
from types import FrameType
from typing import Any, Final

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError
from tqdm.auto import tqdm

from convod.disk import FAILING, FULL
from convod.engine import models
from convod.engine.packaged import PACKAGES, VOICES, ModelPackage

FILES: Final = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""What a CTranslate2 Whisper model consists of (as faster-whisper's download_model)."""

HUB_S: Final = 5.0
"""How long the hub may take to answer the first question."""

STALL_S: Final = 10.0
"""How long the hub may send nothing of a model that the package index has too. Its client tries again for more than a
minute, for instance where a firewall lets the hub through and its storage not."""

Say = Callable[..., None]


class HubFailed(Exception):
    """The hub gave no model; the text says why."""


def main() -> None:
    """Fetch `argv[2]`, which people call `argv[1]`."""
    # As in `worker`: what is written to a terminal from the background stops nobody.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    name, repository = sys.argv[1:3]
    if name == VOICES.directory:
        _from_index(name, VOICES)
        return
    package = PACKAGES.get(repository)
    try:
        directory = from_hub(repository, None if package is None else STALL_S)
    except HubFailed as hub:
        if (here := _here(name)) is not None:
            _say(directory=here)
        elif package is None:
            _say(error=_without_package(name, str(hub)))
        else:
            _from_index(name, package, str(hub))
    else:
        _say(directory=directory)


def _here(name: str) -> str | None:
    try:
        return str(models.find(name).directory)
    except (models.UnknownModel, models.ModelNotHere):
        return None


def _say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)  # so that what is half-done is taken away


# --- the hub ----------------------------------------------------------------------------------------------


def from_hub(repository: str, stall_s: float | None) -> str:
    """The directory of a model from the hub.

    Raises:
        HubFailed: it gives none, or sends nothing for `stall_s`.
    """
    # In a thread: its client cannot be told when to give up, but can be left behind.
    news: queue.SimpleQueue[tuple[int, int] | str | HubFailed] = queue.SimpleQueue()
    threading.Thread(target=ask_hub, args=(repository, news.put), daemon=True).start()
    while True:
        try:
            one = news.get(timeout=stall_s)
        except queue.Empty:
            raise HubFailed("the model hub sends nothing") from None
        if isinstance(one, HubFailed):
            raise one
        if isinstance(one, str):
            return one
        done, total = one
        _say(done=done, total=total or None)


def ask_hub(repository: str, tell: Callable[[Any], None]) -> None:
    """Fetch a model from the hub, and tell how far it is, where it lies, or `HubFailed`. For a thread of its own."""
    try:
        files = HfApi().model_info(repository, files_metadata=True, timeout=HUB_S).siblings or []
        total = sum(file.size or 0 for file in files if _wanted(file.rfilename))
        tell(snapshot_download(repository, allow_patterns=list(FILES), tqdm_class=_reporter(tell, total)))
    except RepositoryNotFoundError:
        tell(HubFailed(f"the model hub has no model {repository!r}"))
    # Whatever goes wrong between here and the hub (name lookup, proxy, TLS, time-outs, disk) ends in one sentence.
    except Exception as error:
        tell(HubFailed(_why_not(error)))


def _why_not(error: Exception) -> str:
    """Why the hub gave nothing: its disk here, or the way there."""
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL:
        return "the disk of the hub's cache is full"
    if number in FAILING or number in (errno.EACCES, errno.EPERM):
        assert isinstance(error, OSError)
        return f"the hub's cache cannot be written ({error.strerror})"
    return f"the model hub cannot be reached ({type(error).__name__})"


def _wanted(file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in FILES)


def _reporter(tell: Callable[[tuple[int, int]], None], total: int) -> type:
    """A progress bar class that tells bytes done instead of drawing."""
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
                tell((done, total))
            return None

    return Reporter


def _without_package(name: str, hub: str) -> str:
    if "has no model" in hub:
        return f"{hub}; `convo models` lists names that work"
    others = ", ".join(package.directory for package in PACKAGES.values())
    return (
        f"{hub}, so {name!r} is not fetched; run `convo models pull {others}`, which the Python package index has too, "
        "`convod --model builtin`, or `convod --model DIR` with a CTranslate2 model in DIR"
    )


# --- the package index ------------------------------------------------------------------------------------


def _from_index(name: str, package: ModelPackage, hub: str | None = None) -> None:
    """Fetch a model; `hub`: why that did not give it, if it was asked."""
    from convod.engine import ge2e, package_index

    def progress(done: int, total: int | None) -> None:
        _say(done=done, total=total)

    try:
        settings = package_index.index_settings(os.environ)
        make = ge2e.convert if package.made else None
        directory = package_index.install(package, models.package_store(), settings, progress, make)
    except package_index.IndexFailed as failure:
        why, _, remedy = str(failure).partition("; ")
        remedy = f"{remedy} and run" if remedy else "check the network and run"
        why = why if hub is None else f"{hub}, and {why}"
        without = "" if hub is None else ", or `convod --model builtin` without it"
        _say(error=f"{why}, so {name!r} is not fetched; {remedy} `convo models pull {name}` again{without}")
    else:
        _say(directory=str(directory))


if __name__ == "__main__":
    status = 1
    try:
        main()
        status = 0
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)  # the hub's threads may still be at what nobody waits for
