"""The fetching process: a model from the hub into the hub's cache.

Run as `python -m convod.engine.fetcher NAME HUB-ID`. Prints one JSON object a line: `{"done", "total"}` in bytes, at
last `{"directory"}` or `{"error"}`, a sentence that says what works instead.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any, Final

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import RepositoryNotFoundError
from tqdm.auto import tqdm

FILES: Final = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""What a CTranslate2 Whisper model consists of (as faster-whisper's download_model)."""


def main() -> None:
    """Fetch `argv[2]`, which people call `argv[1]`."""
    # As in `worker`: what is written to a terminal from the background stops nobody.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    name, repository = sys.argv[1:3]

    def say(**fields: object) -> None:
        print(json.dumps(fields), flush=True)

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
    return any(fnmatch(file, pattern) for pattern in FILES)


def _reporter(say: Callable[..., None], total: int) -> type:
    """A progress bar class that prints bytes done instead of drawing."""
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
