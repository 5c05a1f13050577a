"""Pictures with a short caption to be told apart by, and a long one to be written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from workbench.fine_tuning.pairs import Pairs
from workbench.models.batches import check_caption
from workbench.models.lvlm import LvlmEncoder

SHORT_BELOW, LONGEST = 30, 500


class TwoCaptions(Pairs):
    """`Pairs` of pictures and short captions, and `long`: one for each picture, None where there is none.

    Raises as `Pairs`, and ValueError for another number of long captions than pictures, or an empty one.
    """

    def __init__(self, pictures: Sequence, captions: Sequence[str | Sequence[str]], long: Sequence[str | None] = ()):
        super().__init__(pictures, captions)
        self.long = tuple(long) or (None,) * len(self)
        if len(self.long) != len(self):
            raise ValueError(f"{len(self)} pictures and {len(self.long)} long captions; give one for each, or None")
        for row, caption in enumerate(self.long):
            if caption is not None:
                check_caption(caption, f"the long caption of picture {row}")

    @classmethod
    def by_length(cls, model: LvlmEncoder, pairs: Pairs, *, short_below: int = SHORT_BELOW, longest: int = LONGEST):
        """Captions sorted by how many of the model's tokens they have, as VladVA does (arXiv 2412.04378).

        Below `short_below` one is short; from there to `longest` it is long, the first of a picture counts. Longer ones are
        left out, and so are pictures without a short caption, for which the paper has another model write one. Raises
        ValueError where fewer than two pictures stay.
        """
        kept = []
        for picture, own in zip(pairs.pictures, pairs.captions, strict=True):
            counted = [(text, len(model.tokenizer(text, add_special_tokens=False)["input_ids"])) for text in own]
            short = [text for text, n in counted if n < short_below]
            long = next((text for text, n in counted if short_below <= n <= longest), None)
            if short:
                kept.append((picture, short, long))
        if len(kept) < 2:
            raise ValueError(
                f"{len(kept)} of {len(pairs)} pictures have a caption of fewer than {short_below} tokens; two are needed: give "
                "short captions too, or a larger short_below"
            )
        return cls(*zip(*kept, strict=True))

    def split(self, held: int, seed: int = 0) -> tuple[TwoCaptions, TwoCaptions]:
        """What stays and `held` pictures drawn by seed, never trained on. Raises ValueError where either would be fewer than two.

        The trap: two files of one picture may fall on both sides.
        """
        if not 2 <= held <= len(self) - 2:
            raise ValueError(f"held={held} of {len(self)} pictures; give 2 to {len(self) - 2}")
        order = np.random.default_rng(seed).permutation(len(self)).tolist()
        return self._only(order[held:]), self._only(order[:held])

    def _only(self, rows: Sequence[int]) -> TwoCaptions:
        sides = (self.pictures, self.captions, self.long)
        return TwoCaptions(*([side[row] for row in rows] for side in sides))

    def digest(self, model) -> str:
        whole = hashlib.sha256("\0".join(each or "" for each in self.long).encode())
        return f"{super().digest(model)}{whole.hexdigest()[:16]}"
