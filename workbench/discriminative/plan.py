"""Will it fit? The memory of reading and of tuning a vision–language model, by the precision of its weights, before it loads."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.discriminative.config import DiscriminativeConfig
from workbench.discriminative.learning import prepare
from workbench.discriminative.rehearsed import Rehearsed, activations
from workbench.hardware import available_memory
from workbench.memory.plan import MARGIN
from workbench.memory.prediction import on_meta
from workbench.memory.rehearsal import Task, assumptions
from workbench.models.batches import whole
from workbench.models.lvlm import LvlmEncoder
from workbench.models.lvlm.quantized import COMPUTE, in_four_bits, language_layers, plain_on_meta, weights_bytes
from workbench.models.placement import FOUR_BIT, pick_device
from workbench.records import Record, Table, human_bytes

READ = 32  # pictures in a batch of encode_image, where nothing else is said
LONG = 256  # tokens of a long caption: VladVA's have 30 to 500
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HEADER = (
    *("weights in", "weights", "reading", "what learns", "activations", "logits", "a step"),
    *("folding in", "free", "micro batch", "what to do"),
)


@dataclass(frozen=True)
class Tuning:
    """Of one step, in bytes: `learns` (float32 weights, gradients, AdamW's two states), `activations` of a micro batch and
    `logits` of its long captions; `step` all of these and the weights, `folding` what is held when adapters become weights at
    the end. `largest`: the largest micro batch within 0.8 of what is free, 0 for none."""

    learns: int
    activations: int
    logits: int
    step: int
    folding: int
    largest: int


@dataclass(frozen=True)
class PrecisionPlan:
    """Bytes of the `weights` in a precision, and of `reading` a batch of pictures and captions (weights and activations), the
    largest such batch, and what `tuning` takes, None where it is refused."""

    precision: str
    weights: int
    reading: int
    largest_reading: int
    tuning: Tuning | None


@dataclass(frozen=True)
class TuningPlan(Record):
    """By precision of the frozen weights, what reading and a step of tuning take; `micro_batch` pictures at a time, each with a
    long caption of `long_tokens`; `available` bytes on `device`."""

    name: str
    device: str
    micro_batch: int
    long_tokens: int
    available: int
    rows: tuple[PrecisionPlan, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, precision: str) -> PrecisionPlan:
        """The row of "float32", "bfloat16" or "4bit"."""
        return {row.precision: row for row in self.rows}[precision]

    def advice(self, precision: str) -> str:
        """What to do in a precision."""
        row = self[precision]
        if not row.largest_reading:
            return "too large: fewer bits, a smaller model or another device"
        reads = "reads" if row.largest_reading >= READ else f"reads with batch_size={row.largest_reading}"
        if row.tuning is None:
            return f"{reads}; tune in bfloat16, adapters need plain layers"
        if row.tuning.folding > MARGIN * self.available:
            return f"{reads}; to tune, no room for tuned layers beside the model's"
        if not row.tuning.largest:
            return f"{reads}; to tune, no room for one picture"
        return (
            "fits" if row.tuning.largest >= self.micro_batch else f"{reads}; tune with micro_batch={row.tuning.largest}"
        )

    def table(self) -> Table:
        what = f"reading {READ} pictures, tuning {self.micro_batch} at a time with long captions of {self.long_tokens} tokens"
        notes = (("note", *[""] * (len(HEADER) - 2), note) for note in self.notes)
        rows = (*map(self._cells, self.rows), *notes)
        return Table(f"Memory of {self.name} on {self.device}: {what}", HEADER, rows)

    def _cells(self, row: PrecisionPlan) -> tuple[str, ...]:
        parts, most = ["refused"] * 5, "refused"
        if row.tuning is not None:
            *sizes, largest = vars(row.tuning).values()
            parts, most = map(human_bytes, sizes), f"≤ {largest}" if largest else "none"
        read = (row.precision, human_bytes(row.weights), human_bytes(row.reading))
        return (*read, *parts, human_bytes(self.available), most, self.advice(row.precision))


def plan(
    model_or_name: str | LvlmEncoder,
    config: DiscriminativeConfig | None = None,
    *,
    long_tokens: int = LONG,
    device: str = "auto",
) -> TuningPlan:
    """What reading with a vision–language model and a step of `fine_tune` take, in float32, bfloat16 and 4 bits.

    A name is planned from its shapes, before anything is loaded; what a loaded model holds counts as free, since another
    precision takes its place. Tensors are counted as `memory.plan_memory` counts them, on a copy with adapters and soft prompts
    on the meta device. `long_tokens` is cut to what a picture's prompt leaves of the context; without a next-token loss there
    are none. `device` "auto" is the model's own, for a name that of `load_model`.

    The traps: 4 bits are computed, not measured; workspaces of kernels are not counted; nor is autocast (`config.precision`),
    which keeps about half of float32's activations. Raises TypeError for another kind of model, ValueError for fewer than 0
    tokens; else as `load_model` for a name, and as `learning.prepare`.
    """
    config = config or DiscriminativeConfig()
    if whole("long_tokens", long_tokens) < 0:
        raise ValueError(f"long_tokens={long_tokens}; give 0 or more")
    bare, home = _bare(model_or_name)
    device = home if device == "auto" and home else pick_device(device)
    held = sum(each.nbytes for each in model_or_name.module.parameters()) if device == home else 0
    available = available_memory(device) + held
    size = max(2, min(config.micro_batch or config.batch_size, config.batch_size))  # one picture has no contrast
    long = min(long_tokens, _room(bare)) if config.next_token_weight else 0
    plain = tuple(_row(bare, each, config, size, long, MARGIN * available) for each in PRECISIONS)
    rows = (*plain, _four_bit(bare, plain[-1], MARGIN * available))
    return TuningPlan(bare.name, device, size, long, available, rows, _notes(bare, config, size, long, long_tokens))


def _bare(model_or_name: str | LvlmEncoder) -> tuple[LvlmEncoder, str | None]:
    """The model with plain layers on the meta device, and the device that it is loaded on, None for a name."""
    if isinstance(model_or_name, LvlmEncoder) and in_four_bits(model_or_name.module):
        loaded, placement = model_or_name, {"device": "meta", "dtype": COMPUTE}
        parts = (plain_on_meta(loaded.module), loaded._inputs, loaded.prompts, loaded.card)
        return LvlmEncoder(*parts, **placement), str(loaded.device)
    bare, home = on_meta(model_or_name)
    if not isinstance(bare, LvlmEncoder):
        raise TypeError(
            f"{bare.name} is a {type(bare).__name__}; a generative vision–language model is planned here ('scenes-lvlm', "
            "'lvlm:…'), a CLIP by workbench.fine_tuning.plan"
        )
    return bare, home


def _room(model: LvlmEncoder) -> int:
    """How many tokens a picture's prompt leaves of the context."""
    side = torch.empty(3, model.card.image_size, model.card.image_size, device="meta")
    return model.card.context_length - model._asked(model.prompts.image, side)["input_ids"].shape[1]


def _row(
    bare: LvlmEncoder, precision: str, config: DiscriminativeConfig, size: int, long: int, budget: float
) -> PrecisionPlan:
    model = Rehearsed.of(bare, PRECISIONS[precision], long)
    weights, read = weights_bytes(model.module, model.dtype), activations(model, Task(READ))
    reading = (weights + read, _largest(READ, weights + read, read / READ, budget))
    folded = sum(part.weight.nbytes for part in language_layers(model.module).values()) if config.lora else 0
    with torch.random.fork_rng(devices=[]):  # adapters are drawn
        learns = sum(4 * each.nbytes for each in prepare(model, config).parameters.values())
    here, twice = (activations(model, Task(n, training=True)) for n in (size, 2 * size))
    logits = _logits(model, size)
    step, folding = weights + learns + here + logits, weights + learns // 2 + folded
    largest = min(_largest(size, step, (twice - here + logits) / size, budget), config.batch_size)
    tuning = Tuning(learns, here, logits, step, folding, largest if folding <= budget else 0)
    return PrecisionPlan(precision, weights, *reading, tuning)


def _four_bit(bare: LvlmEncoder, plain: PrecisionPlan, budget: float) -> PrecisionPlan:
    """As bfloat16 computes, and one layer at a time written out in it."""
    weights, read = weights_bytes(bare.module, FOUR_BIT), plain.reading - plain.weights
    written = max((part.weight.numel() for part in language_layers(bare.module).values()), default=0) * COMPUTE.itemsize
    reading = weights + written + read
    return PrecisionPlan(FOUR_BIT, weights, reading, _largest(READ, reading, read / READ, budget), None)


def _largest(size: int, total: int, growth: float, budget: float) -> int:
    """The largest batch within a budget, where `size` take `total` and each one more `growth`; 0 for none."""
    return max(0, size + int((budget - total) // max(growth, 1)))


def _logits(model: Rehearsed, size: int) -> int:
    """Log-probabilities and, at the start of the way back, two gradients of them: float32 whatever the weights are."""
    return 3 * 4 * size * model.long * model.module.get_output_embeddings().weight.shape[0]


def _notes(bare: LvlmEncoder, config: DiscriminativeConfig, size: int, long: int, asked: int) -> tuple[str, ...]:
    notes = [
        *assumptions(bare),
        "4bit is computed, not measured: half a byte a number and a float32 scale for every 64",
    ]
    if config.next_token_weight and long < asked:
        notes.append(f"a picture's prompt leaves {long} tokens of the context, so no caption is longer")
    if size < config.batch_size:
        kept = config.batch_size * (2 * 4 * bare.embed_dim + 4 * long)
        notes.append(f"features and losses of all {config.batch_size} pictures stay: {human_bytes(kept)} more")
    if config.precision == "bfloat16":
        notes.append("autocast is not counted: it keeps about half of float32's activations")
    if bare._inputs.packed:
        notes.append("activations of the image tower are left out: it looks at numbers, which shapes have not")
    return tuple(notes)
