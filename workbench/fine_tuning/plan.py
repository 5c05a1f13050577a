"""Will it fit? The memory of one fine-tuning step, before the first."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import prod

from workbench.fine_tuning.adapters import prepare
from workbench.fine_tuning.config import FineTuneConfig
from workbench.memory import MemoryPlan, plan_memory
from workbench.models.dual_encoder import DualEncoder
from workbench.records import human_bytes


def plan(model: DualEncoder, config: FineTuneConfig | None = None, *, measure: bool = False) -> MemoryPlan:
    """`memory.plan_memory` of a step of `fine_tune`: a micro batch of pictures with 1 + K captions each, what learns with AdamW.

    The model stays as it is: a copy is prepared (`adapters.prepare`), of which with LoRA only the adapters have gradients and
    states. `measure` runs it in a child process where the model loads by its name, which an adapted one does not.

    The traps: beside a micro batch the features of the whole batch stay, (2 + K) · d numbers a picture; the maps of the local
    score are not rehearsed, a note says what they take; a plan counts float32, bfloat16 keeps about half of the activations.
    Raises as `plan_memory` and `prepare`.
    """
    config = config or FineTuneConfig()
    trained = prepare(copy.deepcopy(model), config.parts, rank=config.rank, alpha=config.alpha)
    size = min(config.micro_batch or config.batch_size, config.batch_size)
    found = plan_memory(
        trained.model,
        max(size, 2),  # a part may be one picture, a step of CLIP's loss is two
        tokens=config.local,
        training=True,
        captions=1 + config.negatives,
        measure=measure,
    )
    return replace(found, notes=(*found.notes, *_beside(model, config, size)))


def _beside(model: DualEncoder, config: FineTuneConfig, size: int) -> tuple[str, ...]:
    captions, notes = 1 + config.negatives, []
    if size < config.batch_size:
        kept = 4 * config.batch_size * (1 + captions) * model.embed_dim
        notes.append(f"features of all {config.batch_size} pictures and their captions stay: {human_bytes(kept)} more")
    if config.local:
        patches, words = prod(model.grid()), model.card.context_length
        maps = 4 * size * captions * words * (4 * patches + 2 * model.embed_dim)
        notes.append(f"the local score's maps take up to about {human_bytes(maps)} more")
    return tuple(notes)
