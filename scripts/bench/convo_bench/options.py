"""What a bench is asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .showing import TAIL_S
from .talk import Talk, load, load_folder

BUILT_IN_TALKS = ("talk", "minutes")
"""Those of tests/data, made for the built-in model."""


@dataclass(frozen=True)
class Options:
    """Flags of `scripts/bench/run`; what is None is left to each bench.

    Attributes:
        model: as convod's `--model`.
        talks: a folder of recorded talks (or the JSON file of one) in the place of tests/data.
        noises: a folder of recordings in which nobody speaks.
        seconds: how much of each talk.
        minutes: how long the file of the files bench is.
        at_once: how many talks at once the load bench tries.
        clips: a manifest of recordings, some of which say who speaks when.
        larger: a directory with a larger model.
    """

    model: str = "builtin"
    talks: Path | None = None
    noises: Path | None = None
    seconds: float | None = None
    minutes: float | None = None
    at_once: tuple[int, ...] | None = None
    clips: Path | None = None
    larger: Path | None = None

    @property
    def tail_s(self) -> float:
        """How long after its last speech a segment of the model ends."""
        return TAIL_S if self.model == "builtin" else 0.0

    def load_talks(self, *, whole: bool = False) -> list[Talk]:
        """The talks, each cut to `--seconds` unless they are wanted `whole`."""
        talks = [load(name) for name in BUILT_IN_TALKS] if self.talks is None else load_folder(self.talks)
        if whole or self.seconds is None:
            return talks
        return [talk.part(self.seconds) if talk.seconds > self.seconds else talk for talk in talks]

    def load_one_language(self, *, whole: bool = False) -> list[Talk]:
        """The same.

        Raises:
            SystemExit: their figures cannot be one, as they are in several languages.
        """
        talks = self.load_talks(whole=whole)
        if len({talk.language for talk in talks}) > 1:
            raise SystemExit("this bench takes its talks together: give --talks a folder in one language")
        return talks
