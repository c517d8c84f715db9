"""Hypotheses to words one can show: `interim` tells stable from tentative, `guard` rejects what was never said."""

from convod.captions.guard import Guard, Verdict
from convod.captions.interim import Agreement, Caption

__all__ = ["Agreement", "Caption", "Guard", "Verdict"]
