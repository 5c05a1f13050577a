"""Pictures with their captions on their way into training: opened once where they fit, drawn by seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from workbench.data.samples import read_samples
from workbench.models.batches import check_caption
from workbench.models.dual_encoder import DualEncoder

KEPT_BYTES = 1 << 30  # of preprocessed pixels


class Pairs:
    """Pictures as a model takes them, and the captions of each.

    `pictures`: what `encode_image` takes (paths, PIL pictures, arrays); `captions`: one text or several for each. Raises
    ValueError for unequal numbers, fewer than two pictures, one without a caption, or an empty caption.
    """

    def __init__(self, pictures: Sequence, captions: Sequence[str | Sequence[str]]):
        if isinstance(captions, str):  # whose letters would be captions
            raise TypeError(f"captions is one text, {captions!r:.80}; give one for each picture")
        self.pictures = pictures
        self.captions = tuple((each,) if isinstance(each, str) else tuple(each) for each in captions)
        if len(self.pictures) != len(self.captions) or len(self.captions) < 2:
            raise ValueError(
                f"{len(self.pictures)} pictures and captions for {len(self.captions)}; give two or more, of each as many"
            )
        for row, own in enumerate(self.captions):
            if not own:
                raise ValueError(f"picture {row} has no caption; give one, or leave the picture out")
            for caption in own:
                check_caption(caption, f"a caption of picture {row}")
        self._kept: dict[int, Tensor] = {}
        self._of: DualEncoder | None = None

    @classmethod
    def from_source(cls, source) -> Pairs:
        """Pictures that have captions, of a folder or table (`data.samples.read_samples`), or a mapping of paths to captions.

        Pictures without one are left out. Raises as that does, and ValueError where fewer than two are left, or pictures lie
        in a tar.
        """
        own: dict[str, list[str]] = {}
        for sample in read_samples(source, modality="text"):
            own.setdefault(sample.id.rpartition("#")[0], []).append(sample.text)
        shown = list(source) if isinstance(source, Mapping) else source
        found = [sample for sample in read_samples(shown, modality="image") if sample.id in own]
        if any(sample.place is not None for sample in found):
            raise ValueError(f"{source} is a tar; unpack it and give the folder: training opens pictures in any order")
        return cls([sample.path for sample in found], [own[sample.id] for sample in found])

    def __len__(self) -> int:
        return len(self.captions)

    def pixels(self, model: DualEncoder, rows: Sequence[int]) -> Tensor:
        """What the model's preprocessing makes of some pictures: (B, 3, H, W)."""
        return torch.stack(self.each(model, rows))

    def each(self, model: DualEncoder, rows: Sequence[int]) -> list[Tensor]:
        """The same one by one, (3, H, W), for models that leave pictures of several shapes."""
        if self._of is not model:
            self._kept, self._of = {}, model
        return [self._one(model, int(row)) for row in rows]

    def _one(self, model: DualEncoder, row: int) -> Tensor:
        found = self._kept.get(row)
        if found is None:
            found = model.preprocess(self.pictures[row])
            if (len(self._kept) + 1) * found.nbytes <= KEPT_BYTES:
                self._kept[row] = found
        return found

    def drawn(self, batch_size: int, seed: int, step: int) -> tuple[np.ndarray, list[str]]:
        """Rows (B,) and one caption of each at a step: whole epochs, each picture once in each, what is left over dropped."""
        size = min(batch_size, len(self))
        epoch, place = divmod(step, len(self) // size)
        rows = np.random.default_rng((seed, epoch)).permutation(len(self))[place * size : (place + 1) * size]
        chosen = np.random.default_rng((seed, epoch, place, 1)).random(size)  # (seed, epoch, 0) would be (seed, epoch)
        return rows, [self.captions[row][int(u * len(self.captions[row]))] for row, u in zip(rows, chosen, strict=True)]

    def steps_of(self, batch_size: int) -> int:
        """Steps of one epoch."""
        return len(self) // min(batch_size, len(self))

    def digest(self, model: DualEncoder) -> str:
        """Of all captions and a few pictures: enough to notice other data."""
        whole = hashlib.sha256("\0".join(text for own in self.captions for text in (*own, "")).encode())
        for row in np.unique(np.linspace(0, len(self) - 1, 8).astype(int)):
            whole.update(model.preprocess(self.pictures[row]).numpy().tobytes())
        return whole.hexdigest()[:16]
