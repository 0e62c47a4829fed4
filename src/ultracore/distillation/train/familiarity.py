"""How many words of a message are known when its task is new? Measured by leaving tasks out.

What this file does not know: what is done with a message that is too strange (`students.compact.familiarity`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultracore.distillation.decisions import Decision
from ultracore.distillation.splits import folds_by_task, units_of
from ultracore.distillation.students.compact.familiarity import Familiarity, last_text, words_of

__all__ = ["fit_familiarity"]

FOLDS = 5
LEAST_UNITS = 20
STRANGEST = 0.01
"""Share of the messages of unseen tasks that may be called strange: about so much of the coverage it costs."""


def fit_familiarity(decisions: Sequence[Decision]) -> Familiarity:
    """The words of all decisions, and the share of known words that all but 1 % of unseen messages have.

    Of fewer than 20 tasks nothing can be said: then nothing is demanded.
    """
    texts = [last_text(decision.state) for decision in decisions]
    seen = [frozenset(words_of(text)) for text in texts]
    every = sorted(frozenset[int]().union(*seen))
    if len(set(units_of(decisions))) < LEAST_UNITS:
        return Familiarity(every)
    folds = folds_by_task(decisions, FOLDS)
    shares = np.zeros(len(decisions))
    for fold in range(FOLDS):
        known = Familiarity(list(frozenset[int]().union(*(s for s, f in zip(seen, folds, strict=True) if f != fold))))
        for i, f in enumerate(folds):
            if f == fold:
                shares[i] = known.share(texts[i])
    return Familiarity(every, float(np.quantile(shares, STRANGEST, method="lower")), max(map(len, texts)))
