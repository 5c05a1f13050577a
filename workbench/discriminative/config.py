"""What a discriminative fine-tuning is: every choice a field, with VladVA's values where they are known."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from workbench.fine_tuning.config import check_above_zero, check_counts, check_from_zero

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class DiscriminativeConfig:
    """One run of `discriminative.fine_tune`; the values are VladVA's for LLaVA-1.5-7B (arXiv 2412.04378) where it tells them.

    What learns: `soft_prompts` (both prompts' own words) and `lora` adapters of `rank` and `alpha` on every linear layer of the
    language model; image tower and projector never do (the paper does not say). The loss is `contrastive_weight` · L_c +
    `next_token_weight` · L_AR: L_c is InfoNCE of pictures and short captions, the *sum* of both directions; L_AR the mean over
    the tokens of long captions (the paper leaves mean or sum, and the weights, open). `temperature` None is the prompts' own
    (0.05, E5-V's), and it does not learn (the paper's is unknown).

    `batch_size` pictures contrast with each other, `micro_batch` of them are in memory at a time. `steps`, or else `epochs`;
    the rate rises for `warmup` steps and falls to 0 along half a cosine; soft prompts learn at `prompt_rate` (None: the same)
    and without decay. Decay and warm-up are ours. `precision` "bfloat16" is autocast. Raises ValueError for values outside what
    each allows.
    """

    soft_prompts: bool = True
    lora: bool = True
    rank: int = 16
    alpha: float = 16.0
    contrastive_weight: float = 1.0
    next_token_weight: float = 1.0
    temperature: float | None = None
    batch_size: int = 1024
    micro_batch: int | None = None
    epochs: int = 7
    steps: int | None = None
    learning_rate: float = 1e-4
    prompt_rate: float | None = None
    weight_decay: float = 0.01
    warmup: int = 100
    precision: str = "float32"
    seed: int = 0
    every: int = 200

    def __post_init__(self):
        if not self.soft_prompts and not self.lora:
            raise ValueError("soft_prompts and lora are both False, so nothing learns; let one of them")
        if not self.contrastive_weight and not self.next_token_weight:
            raise ValueError("contrastive_weight and next_token_weight are both 0; give one above 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        check_counts(self, "rank", "batch_size", "micro_batch", "epochs", "steps", "warmup", "seed", "every")
        check_above_zero(self, "learning_rate", "prompt_rate", "alpha", "temperature")
        check_from_zero(self, "contrastive_weight", "next_token_weight", "weight_decay")

    @property
    def learns(self) -> str:
        """What learns, in words."""
        return " + ".join(name for name, on in (("soft prompts", self.soft_prompts), ("LoRA", self.lora)) if on)

    def to_json(self) -> dict:
        return asdict(self)


VLADVA = DiscriminativeConfig()
LADDER: dict[str, DiscriminativeConfig] = {
    "soft prompts": replace(VLADVA, lora=False, next_token_weight=0.0),
    "LoRA": replace(VLADVA, soft_prompts=False, next_token_weight=0.0),
    "both": replace(VLADVA, next_token_weight=0.0),
    "both, next token": VLADVA,
}
"""Table 4 of VladVA, the row before any tuning left out."""
