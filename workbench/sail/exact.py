"""What of SAIL can be checked to the last digit, without a tower: counts, bounds, the losses' identities, Lion's indifference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.aligning import AlignConfig, plan_alignment
from workbench.claims import Claim
from workbench.heads import LinearHead
from workbench.losses import sigmoid_loss
from workbench.optim import OPTIMISERS, drift_bound, optimiser, warm_cosine
from workbench.sail.published import PAPER

DINOV2_L, GTE_L, NV2 = 2048, 1024, 4096  # widths of what SAIL feeds its heads
PAIRS = 23_000_000


def loss_scales(
    factors: Sequence[float] = (1e-4, 1e-2, 0.25, 4.0, 1e2, 1e4), *, steps: int = 60, n: int = 64, seed: int = 0
) -> dict[str, dict[float, float]]:
    """How far a linear head ends from itself when the loss is multiplied: {optimiser: {factor: largest difference}}.

    Figure G7: Lion steps by signs, so "|B| → |B|²" and "sum or mean", which divide the loss, change nothing but roundings;
    AdamW's epsilon and decay see them. n random pairs, SAIL's loss, scale and bias learnt, in float32.
    """
    image, text = _pairs(n, 24, seed)

    def ended(name: str, factor: float) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            heads = torch.nn.ModuleList([LinearHead(24, 16, layer_norm=True) for _ in range(2)])
        scale, bias = (torch.tensor(value, requires_grad=True) for value in (3.0, -10.0))
        learnt = [*heads.parameters(), scale, bias]
        rule = optimiser(name, learnt, lr=1e-3, weight_decay=1e-4)
        with torch.enable_grad():
            for _ in range(steps):
                rule.zero_grad()
                (factor * sigmoid_loss(heads[0](image), heads[1](text), scale.exp(), bias)).backward()
                rule.step()
        return torch.cat([each.detach().flatten() for each in learnt])

    own = {name: ended(name, 1.0) for name in OPTIMISERS}
    return {name: {f: float((ended(name, f) - own[name]).abs().max()) for f in factors} for name in OPTIMISERS}


def exact_claims(scales: dict[str, dict[float, float]] | None = None) -> tuple[Claim, ...]:
    """The ledger of what needs no tower. `scales` is what `loss_scales` gave, computed here where it is not given."""
    scales = loss_scales() if scales is None else scales
    return (*_counts(), *_bounds(), *_losses(), *_lion(scales))


def _counts() -> list[Claim]:
    """Weights of both heads together, in millions, and what all embeddings take."""
    linear, wider = ({"head": "linear", "d": d} for d in (1024, 2048))
    told = (
        ("linear, d = 1,024, DINOv2-L and GTE-large", linear, GTE_L, 3.15),
        ("linear, d = 2,048, DINOv2-L and GTE-large", wider, GTE_L, 6.30),
        ("GLU × 4, DINOv2-L and GTE-large", {"width": 4}, GTE_L, 54.6),
        ("GLU × 8, DINOv2-L and GTE-large", {}, GTE_L, 109.1),
        ("GLU × 8, DINOv2-L (304) and NV-Embed-v2", {}, NV2, 386.0),
    )
    found = []
    for what, fields, d_t, millions in told:
        with torch.device("meta"):
            head = AlignConfig(**fields).build(DINOV2_L, d_t)
        layers = [*head.image.parameters(), *head.text.parameters()]
        n = sum(each.numel() for each in layers) / 1e6
        found.append(_exact("E1", f"weights in millions: {what}", millions, n, 0.05, "arithmetic"))
    plan = plan_alignment(PAIRS, DINOV2_L, NV2, AlignConfig(captions=2))
    statement = "GB in the host's memory for 23 M pairs with two captions, by the code"
    return [*found, _exact("E2", statement, 471, plan.embeddings / 1e9, 0.5, "arithmetic")]


def _bounds() -> list[Claim]:
    told = (("probing, 6,700 steps", 6700, 0.034), ("70,000 steps", 70_000, 0.35))
    return [
        _exact(
            "E3",
            f"how far log t and b can move at a rate of 1e-5: {what}",
            expected,
            drift_bound(1e-5, [warm_cosine(step, steps) for step in range(steps)]),
            expected / 50,
            "arithmetic, SAIL's schedule",
        )
        for what, steps, expected in told
    ]


def _losses() -> list[Claim]:
    """On random unit vectors, as at the start of a training."""
    image, text = _pairs(4096, 1024, 0)
    extra = _pairs(4096, 1024, 1)[1]
    one = float(sigmoid_loss(image, text, 20.0, -10.0))
    wrong = float(sigmoid_loss(image, text, 20.0, 10.0))
    both, half = (
        float(sigmoid_loss(image, text, 20.0, -10.0, extra_text=extra, multi_positive=how)) for how in ("sum", "half")
    )
    scale = "4,096 random unit vectors"
    return [
        _exact("E4", "sigmoid loss at the start, thousandths, bias -10 added", 2.5, 1e3 * one, 0.05, scale),
        _exact("E4", "the same, whole, with the printed formula's sign: bias +10", 10.0, wrong, 0.1, scale),
        _exact("E5", "two captions: what the code takes over what the paper writes", 0.5, half / both, 1e-6, scale),
    ]


def _lion(scales: dict[str, dict[float, float]]) -> list[Claim]:
    """By powers of two, which scale a loss without rounding; nobody says how far AdamW's weights end from each other."""
    worst = 1e6 * max(scales["lion"][factor] for factor in scales["lion"] if factor in (0.25, 4.0))
    told = "largest difference of a weight under Lion, millionths, loss × 4 or ¼"
    return [_exact("E6", told, 0.0, worst, 0.0, "60 steps, 64 random pairs")]


def _exact(key: str, statement: str, expected: float, measured: float, margin: float, scale: str) -> Claim:
    return Claim(key, PAPER, statement, "exact", expected, measured, 1, (measured,), None, scale, margin)


def _pairs(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(F.normalize(torch.randn(n, d, generator=generator), dim=1) for _ in range(2))
