"""Hypotheses to words one can show: `interim` tells stable from tentative, `growing` follows an utterance while it is
spoken, `guard` rejects what was never said, `promise` keeps a segment to what was shown of it, `sentences` says where
one ends.
"""

from convod.captions.growing import Growing
from convod.captions.guard import Guard, Verdict
from convod.captions.interim import Agreement, Caption
from convod.captions.promise import kept
from convod.captions.sentences import ends_sentence

__all__ = ["Agreement", "Caption", "Growing", "Guard", "Verdict", "ends_sentence", "kept"]
