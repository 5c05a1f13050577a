"""Cross entropy of a scorer on quads: of two pictures and two captions, who goes with whom?"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.losses.checks import working_dtype


def quad_loss(scores: Tensor, mismatches: Tensor | None = None, *, column_mismatches: Tensor | None = None) -> Tensor:
    """Cross entropy both ways of scores (n, 2, 2), scores[quad, picture, caption] with the right pairs on the diagonal → ().

    Row i of a quad is one choice: picture i's own caption against the quad's other and, in `mismatches` (n, 2, k), against k
    captions of other quads. Column j likewise, with k pictures of other quads in `column_mismatches` (n, 2, k). The mean over
    all rows and columns, so a scorer that says nothing pays log(2 + k). Scores are logits as they come: no scale, nothing
    normalised; halves are computed in float32.

    Ours: the loss of the local transformer of arXiv 2604.11496 is not published. It stands in for the full matrix that its
    fine-tuned rival is trained on (BiVLC, arXiv 2406.09952), which a scorer of single pairs cannot afford. The trap: rows
    alone leave alone what a picture scores on its own, and columns what a caption does; a group score asks for both. Raises
    TypeError or ValueError for what is no floating-point tensor of that shape.
    """
    _check("scores", scores, 2)
    for name, others in (("mismatches", mismatches), ("column_mismatches", column_mismatches)):
        if others is not None:
            _check(name, others)
            if len(others) != len(scores):
                raise ValueError(
                    f"{name} of {len(others)} quads beside scores of {len(scores)}; give those of the same"
                )
    return (_choices(scores, mismatches) + _choices(scores.mT, column_mismatches)) / 2


def _choices(scores: Tensor, others: Tensor | None) -> Tensor:
    """Mean over rows of -log softmax at the row's own pair."""
    parts = [scores] if others is None else [scores, others]
    logits = torch.cat([part.to(working_dtype(*parts)) for part in parts], 2)
    return (logits.logsumexp(2) - logits[:, :, :2].diagonal(dim1=1, dim2=2)).mean()


def _check(name: str, x: Tensor, last: int | None = None) -> None:
    if not (isinstance(x, Tensor) and x.is_floating_point()):
        told = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is {told}; give a floating-point tensor (n, 2, {last or 'k'})")
    if x.ndim != 3 or x.shape[1] != 2 or 0 in x.shape or last not in (None, x.shape[2]):
        raise ValueError(f"{name} of shape {tuple(x.shape)}; give (n, 2, {last or 'k'}), nothing empty")
