"""Fuzzes one target with atheris until told to stop: `python -m tests.fuzz TARGET [libFuzzer's flags]`.

Ten minutes: `python -m tests.fuzz server -max_total_time=600 -rss_limit_mb=512 -timeout=5`. The corpus beside this file
is the beginning; what is found goes to a directory of its own, unless another is given.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["convo", "convod"]):
    # All that a target imports when it runs: what is imported later is not instrumented, and would be fuzzed blindly.
    import convod.listen.tokens
    import convod.store.tables  # noqa: F401
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run libFuzzer's loop, which ends the process itself."""
    name, *flags = sys.argv[1:]
    target = TARGETS[name]
    corpus = Path(__file__).parent / "corpus" / name
    places = [flag for flag in flags if not flag.startswith("-")] or [tempfile.mkdtemp(prefix="convo-fuzz-")]
    flags = [flag for flag in flags if flag.startswith("-")]
    atheris.Setup([sys.argv[0], *flags, *places, str(corpus)], target)
    atheris.Fuzz()


main()
