"""Hypotheses to words one can show: `interim` tells stable from tentative, `growing` follows an utterance while it is
spoken, `guard` rejects what was never said.
"""

from convod.captions.growing import Growing
from convod.captions.guard import Guard, Verdict
from convod.captions.interim import Agreement, Caption

__all__ = ["Agreement", "Caption", "Growing", "Guard", "Verdict"]
