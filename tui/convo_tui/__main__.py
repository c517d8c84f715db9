"""The program `convo-tui`: says what to use until the app is there.

Exit status: 1, for it cannot do what it is named for.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Say what to use instead."""
    print(
        "convo-tui is not there yet: `convo stream --mic` shows captions as you speak, "
        "`convo watch ID` follows any session.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
