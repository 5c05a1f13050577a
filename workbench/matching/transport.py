"""Optimal transport between patches and words: who is matched with whom when a patch can be given away only once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.matching.blocks import MAX_BYTES, in_blocks
from workbench.matching.tokens import check_positive, check_width, checked_mask, unit


def transport_scores(
    image_tokens: Tensor,
    text_tokens: Tensor,
    text_mask: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    epsilon: float = 0.05,
    price: float = 0.0,
    capacity: float | None = None,
    balanced: bool = False,
    iterations: int = 2000,
    tolerance: float = 1e-4,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """Entropic partial optimal transport of words to patches: (N, P, d) and (M, T, d) → (N, M).

    score = Σ_ij Π_ij S_ij + price · (word mass that no patch takes), S the cosines and Π = `transport_plan`. Each word that
    counts has mass 1/T, each patch that counts has room for `capacity` words; None is one room for all, 1/P a patch. With
    dustbins a word may stay unmatched at `price`, a patch at nothing; `balanced=True` has none, so that everything must be
    matched (and then only capacity=None adds up). Entropic transport by Sinkhorn's iterations: Cuturi 2013, arXiv
    1306.0895; dustbins as in SuperGlue, arXiv 1911.11763. Blocks of at most `max_bytes`. No gradient flows through Π. Errors
    as for `late_interaction` and `transport_plan`.

    The traps: balanced transport is wrong here, as the background too must find a word, and the score tells how well the
    worst patches fit; CLIP's cosines lie in a narrow band, so take the price from it (say, the mean cosine of pairs that do
    not belong together), else nothing, or everything, is matched; with capacity=None a word about a small object runs out
    of patches there, capacity=1 lets one patch hold one word.
    """
    image_mask = checked_mask("image", image_tokens, image_mask)
    text_mask = checked_mask("text", text_tokens, text_mask)
    check_width(image_tokens, text_tokens)
    if capacity is not None:
        check_positive(capacity=capacity)
        if balanced:
            raise ValueError(f"capacity={capacity!r} with balanced=True: the masses would not add up; leave one out")
    images, texts = unit(image_tokens), unit(text_tokens)
    options = {"epsilon": epsilon, "iterations": iterations, "tolerance": tolerance}
    bin_price = None if balanced else price

    def scores(rows: slice, columns: slice) -> Tensor:
        cosines = torch.einsum("npd,mtd->nmpt", images[rows], texts[columns])
        words, patches = text_mask[columns].to(cosines.dtype), image_mask[rows].to(cosines.dtype)
        word_mass = (words / words.sum(-1, keepdim=True)).expand(len(patches), -1, -1)
        room = patches / patches.sum(-1, keepdim=True)
        patch_mass = room[:, None].expand(-1, len(words), -1)
        if capacity is not None:
            patch_mass = capacity * patches[:, None] / words.sum(-1)[:, None]
        plan = transport_plan(cosines, patch_mass, word_mass, price=bin_price, **options)
        matched = (plan * cosines).sum((-2, -1))
        return matched if balanced else matched + price * (1 - plan.sum((-2, -1)))

    cells = (images.shape[1] + 1) * (texts.shape[1] + 1)
    return in_blocks(scores, len(images), len(texts), images.element_size() * 8 * cells, max_bytes)


@torch.no_grad()
def transport_plan(
    similarity: Tensor,
    patch_mass: Tensor,
    word_mass: Tensor,
    *,
    epsilon: float = 0.05,
    price: float | None = None,
    iterations: int = 2000,
    tolerance: float = 1e-4,
) -> Tensor:
    """The plan Π that maximises ⟨Π, S⟩ + epsilon · H(Π): similarity (…, P, T), masses (…, P) and (…, T) → (…, P, T).

    price=None: Π has these row and column sums, which must add up to the same. A number: dustbins, one more row and column
    at that price, each with room for all that the other side has; of Π the real cells are returned, whose sums are at most
    the masses, and two are matched rather than left alone where their similarity is above the price. Log-domain Sinkhorn,
    so small epsilon does not underflow: v = log b - logsumexp_i(S/ε + u), u = log a - logsumexp_j(S/ε + v), each plan until its
    row sums are off by at most `tolerance` of its mass in all, whatever it is computed beside. What has no mass is in no
    pair. Raises ValueError for masses that are negative, none at all, or unequal without dustbins, and for plans that have
    not got there after `iterations`: a larger epsilon needs fewer, and so does a price that is not far below all of S.
    """
    check_positive(epsilon=epsilon, tolerance=tolerance)
    if not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations={iterations!r}; give a whole number from 1")
    _check_masses(similarity, patch_mass, word_mass, price)
    if price is None:
        return _sinkhorn(similarity / epsilon, patch_mass, word_mass, iterations, tolerance, epsilon)
    wide = torch.nn.functional.pad(similarity, (0, 1, 0, 1), value=price)
    rows = torch.cat([patch_mass, word_mass.sum(-1, keepdim=True)], -1)
    columns = torch.cat([word_mass, patch_mass.sum(-1, keepdim=True)], -1)
    return _sinkhorn(wide / epsilon, rows, columns, iterations, tolerance, epsilon)[..., :-1, :-1]


def _sinkhorn(logits: Tensor, a: Tensor, b: Tensor, iterations: int, tolerance: float, epsilon: float) -> Tensor:
    """Plans (…, P, T). Those that have converged are left alone, so that no plan depends on its neighbours."""
    shape = logits.shape
    logits, a, b = logits.reshape(-1, *shape[-2:]), a.reshape(-1, shape[-2]), b.reshape(-1, shape[-1])
    plans = torch.empty_like(logits)
    todo = torch.arange(len(logits), device=logits.device)
    log_a, log_b = a.log(), b.log()
    u = torch.where(a > 0, 0, log_a)
    for _ in range(iterations):
        v = log_b - (logits + u[:, :, None]).logsumexp(-2)
        fitting = (logits + v[:, None]).logsumexp(-1)
        off = ((u + fitting).exp() - a).abs().sum(-1) / a.sum(-1)
        done = off <= tolerance
        if done.any():
            plans[todo[done]] = (logits + u[:, :, None] + v[:, None])[done].exp()
            if done.all():
                return plans.reshape(shape)
            logits, a, log_a, log_b, fitting, todo = (x[~done] for x in (logits, a, log_a, log_b, fitting, todo))
        u = log_a - fitting
    raise ValueError(
        f"{len(todo)} of {len(plans)} transport plans have not converged after {iterations} iterations (the worst is off "
        f"by {float(off.max()):.1e} of its mass); give a larger epsilon than {epsilon:g}, more iterations or more tolerance"
    )


def _check_masses(similarity: Tensor, patch_mass: Tensor, word_mass: Tensor, price: float | None) -> None:
    shape = tuple(similarity.shape)
    if len(shape) < 2 or 0 in shape or tuple(patch_mass.shape) != shape[:-1]:
        raise ValueError(f"similarity {shape} with patch masses {tuple(patch_mass.shape)}; give (…, P, T) and (…, P)")
    if tuple(word_mass.shape) != (*shape[:-2], shape[-1]):
        raise ValueError(f"similarity {shape} with word masses {tuple(word_mass.shape)}; give (…, P, T) and (…, T)")
    if price is not None and not math.isfinite(price):
        raise ValueError(f"price={price!r}; give a finite number, or None for transport without dustbins")
    for name, mass in (("patch", patch_mass), ("word", word_mass)):
        if not torch.isfinite(mass).all() or (mass < 0).any() or (mass.sum(-1) <= 0).any():
            raise ValueError(f"{name} masses must be finite, not negative, and more than 0 in all")
    total, other = patch_mass.sum(-1), word_mass.sum(-1)
    if price is None and not torch.allclose(total, other, rtol=1e-4):
        raise ValueError(
            "without dustbins patch and word masses must add up to the same; scale one side, or give a price"
        )
