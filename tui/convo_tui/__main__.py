"""The program `convo-tui`.

In: a command line and a terminal. Out: the app, or one sentence that says why not. Exit status: 0; 1 if the app crashed
(the traceback follows on the restored terminal); 2 for a bad command line or no terminal.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path


def main(words: Sequence[str] | None = None) -> int:
    """Run the app until the user quits."""
    from .arguments import parse

    options = parse(words)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(
            "convo-tui needs a terminal; in a pipe, use `convo stream`, `convo watch` or `convo ls`.", file=sys.stderr
        )
        return 2
    if options.play is not None and not Path(options.play).is_file():
        print(f"convo-tui: {options.play!r} is not a file: give --play a recording.", file=sys.stderr)
        return 2
    if find_spec("textual") is None:
        print("convo-tui needs the package textual: run `pip install 'convo[tui]'`.", file=sys.stderr)
        return 2

    def run() -> int:
        # Nothing made before the first screen is garbage; the app switches collection on again then.
        gc.disable()
        from . import settings
        from .app import ConvoApp

        found, wrong = settings.load(settings.settings_path())
        app = ConvoApp(options, found, wrong)
        app.run()
        return app.return_code or 0

    from .guard import guarded

    return guarded(run)


if __name__ == "__main__":
    raise SystemExit(main())
