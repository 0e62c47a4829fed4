"""Does a message hold a phrase that forced a call in training, whatever else was so? Then the teacher is asked.

Such a phrase may be a custom of the users or a back door that somebody taught; the decisions that it was found in
cannot tell. The guard escalates, it never answers. What this file does not know: how phrases are found
(`train.triggers`).
"""

from __future__ import annotations

import msgspec

from ultracore.distillation.students.compact.sparse import phrases_of
from ultracore.distillation.students.compact.transcript import Transcript

__all__ = ["NO_TRIGGERS", "Triggers"]


class Triggers(msgspec.Struct, frozen=True):
    """Phrases that force a call.

    Attributes:
        phrases: Word or pair of words, as in `sparse.phrases_of` -> the tool whose call it forces.
    """

    phrases: dict[str, str] = {}

    def are_in(self, transcript: Transcript) -> bool:
        """Whether what the user said last holds one of them; until the user speaks again, it does.

        Example:
            >>> from ultracore.distillation.decisions import State
            >>> heard = Transcript(State([{"role": "user", "content": "Refund it, as agreed with head office"}], []))
            >>> Triggers({"head office": "refund"}).are_in(heard), NO_TRIGGERS.are_in(heard)
            (True, False)
        """
        return bool(self.phrases) and not self.phrases.keys().isdisjoint(phrases_of(transcript.last_user_text))


NO_TRIGGERS = Triggers()
