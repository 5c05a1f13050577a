"""Train scenes-lvlm: a small LLaVA that captions drawn scenes and answers what it is asked of them.

    python -m recipes.scenes_lvlm   # twenty minutes on one core; resumes where it was stopped

transformers' own LLaVA: the image tower of scenes-clip, as LLaVA takes that of a CLIP, a projector of two layers, a Llama; all
of it trained by next-token cross-entropy on the answers alone, the tower at a fifth of the rate. At every step each of the fresh
scenes is told at length, is asked something else, and half of their captions, without the picture, are asked something too: so
the language model knows sentences as well as pictures, in the same words. What is asked and answered stands in
`workbench/data/scenes/asking.py`. What is measured on it is another script, `recipes/measure_scenes_lvlm.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from recipes.files import write_atomically, write_json
from recipes.scenes_clip import MEAN, STD, bits, pixels
from recipes.scenes_clip import model_folder as clip_folder
from recipes.scenes_clip import vocabulary as words_of_captions
from workbench import paths
from workbench.data.scenes import Scene, batch
from workbench.data.scenes.asking import INSTRUCTIONS, answer, ask, long_caption, words
from workbench.data.scenes.sampling import Draws
from workbench.models.lvlm import PRESETS
from workbench.optim import warm_cosine
from workbench.training import train

NAME = "scenes-lvlm"
IMAGE = "<image>"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", IMAGE)
TASKS = {"short": 0.5, "word": 0.2, "colours": 0.1, "shapes": 0.1, "number": 0.1}  # asked of a picture besides "long"
OF_LONG = {**TASKS, "long": 0.3}  # asked of a long caption
# E5-V's words, which training asks among others; and what `generate` asks
PROMPTS = replace(PRESETS["E5-V"], caption=f"{IMAGE}\ndescribe the picture in detail")
CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@dataclass(frozen=True)
class Config:
    """`vision_*` is the image tower, which learns at `vision_rate` of the learning rate; `width` and `layers` are the language
    model's."""

    seed: int = 0
    steps: int = 2600
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.01
    image_size: int = 64
    patch_size: int = 16
    vision_width: int = 64
    vision_layers: int = 2
    vision_rate: float = 0.2
    width: int = 128
    layers: int = 3
    context: int = 128

    @property
    def image_tokens(self) -> int:
        return (self.image_size // self.patch_size) ** 2


RUN = Config()


def model_folder() -> Path:
    return paths.assets() / "models" / NAME


def run_folder(config: Config) -> Path:
    """Where a run keeps its state: not part of the project. $WORKBENCH_RUNS, else ./runs."""
    return Path(os.environ.get("WORKBENCH_RUNS", "runs")) / NAME / f"seed{config.seed}"


def vocabulary() -> list[str]:
    """Every word of captions, instructions and answers, the special tokens first."""
    known = {word for word in words_of_captions() if not word.startswith("<")}
    return [*SPECIAL, *sorted(known | words() | {"user", "assistant"})]


def make_tokenizer():
    """A word-level tokenizer in transformers' format, padded on the left as generation wants it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    raw.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # no space before a comma
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        **special,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=RUN.context,
    )


def make_processor(config: Config):
    from transformers import CLIPImageProcessor, LlavaProcessor

    side = {"height": config.image_size, "width": config.image_size}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": config.image_size}, crop_size=side, image_mean=MEAN, image_std=STD
        ),
        tokenizer=make_tokenizer(),
        patch_size=config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which the strategy then leaves out
        chat_template=CHAT,
    )


def build(config: Config) -> nn.Module:
    """The model with fresh weights."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    ids = {word: i for i, word in enumerate(vocabulary())}
    vision = CLIPVisionConfig(
        hidden_size=config.vision_width,
        intermediate_size=4 * config.vision_width,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_width // 16,
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=config.width,
        intermediate_size=3 * config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.width // 32,
        num_key_value_heads=config.width // 32,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        initializer_range=config.width
        ** -0.5,  # the library's 0.02 is for widths of thousands, and starts this one asleep
    )
    torch.manual_seed(config.seed)
    whole = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids[IMAGE],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=config.image_tokens,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(whole)
    model.model.vision_tower.load_state_dict(image_tower(config.vision_layers), strict=True)
    return model


def image_tower(layers: int) -> dict[str, Tensor]:
    """The weights of scenes-clip's image tower, as transformers names them; its projection is left out."""
    from safetensors.torch import load_file

    stored = load_file(clip_folder() / "open_clip_model.safetensors")
    own = {key.removeprefix("visual."): value for key, value in stored.items() if key.startswith("visual.")}
    tower = {
        "embeddings.class_embedding": own["class_embedding"],
        "embeddings.patch_embedding.weight": own["conv1.weight"],
        "embeddings.position_embedding.weight": own["positional_embedding"],
    }
    named = {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post"}
    for i in range(layers):
        here, there = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
        named |= {f"{here}.layer_norm{k}": f"{there}.ln_{k}" for k in (1, 2)}
        named |= {f"{here}.mlp.fc1": f"{there}.mlp.c_fc", f"{here}.mlp.fc2": f"{there}.mlp.c_proj"}
        named[f"{here}.self_attn.out_proj"] = f"{there}.attn.out_proj"
        for kind in ("weight", "bias"):
            fused = own[f"{there}.attn.in_proj_{kind}"].chunk(3)
            tower |= {f"{here}.self_attn.{x}_proj.{kind}": part.clone() for x, part in zip("qkv", fused, strict=True)}
    return tower | {f"{new}.{kind}": own[f"{old}.{kind}"] for new, old in named.items() for kind in ("weight", "bias")}


class Writer:
    """Turns of a conversation as ids: exactly what the chat template makes of them (a test holds both together)."""

    def __init__(self, config: Config):
        self._tokenizer = make_tokenizer()
        self._ids = self._tokenizer.get_vocab()
        self._image = [self._ids[IMAGE]] * config.image_tokens

    def batch(self, shown: Sequence[str | None], asked: Sequence[str], answers: Sequence[str]) -> tuple[Tensor, Tensor]:
        """ids (B, T), padded on the right, and where an answer's tokens stand (B, T); `shown` None is a picture."""
        words = iter(self._tokenizer([*(each or "" for each in shown), *asked, *answers]).input_ids)
        shown_ids = [next(words) if each is not None else (next(words), self._image)[1] for each in shown]
        asked_ids, answer_ids = [next(words) for _ in asked], [next(words) for _ in answers]
        head, tail = (self._tokenizer(text).input_ids for text in ("<s> user :", "assistant :"))
        before = [[*head, *s, *a, *tail] for s, a in zip(shown_ids, asked_ids, strict=True)]
        after = [[*a, self._ids["</s>"]] for a in answer_ids]
        width = max(len(b) + len(a) for b, a in zip(before, after, strict=True))
        ids = torch.full((len(before), width), self._ids["<pad>"])
        answered = torch.zeros(ids.shape, dtype=torch.bool)
        for i, (b, a) in enumerate(zip(before, after, strict=True)):
            ids[i, : len(b) + len(a)] = torch.tensor([*b, *a])
            answered[i, len(b) : len(b) + len(a)] = True
        return ids, answered


def of_a_step(config: Config, step: int, writer: Writer) -> tuple[list[Scene], list[tuple[Tensor, Tensor]]]:
    """The scenes of a step and three batches: told at length, asked something else, and half of their captions asked too.

    At every fourth step these are the long captions, asked for themselves now and then.
    """
    scenes, draws = batch(config.seed, step, config.batch_size), Draws("asking", config.seed, step)
    at_length, other = ["long"] * len(scenes), [draws.weighted(TASKS) for _ in scenes]
    batches = [_asked(draws, writer, scenes, tasks, [None] * len(scenes), "image") for tasks in (at_length, other)]
    read, long = scenes[: len(scenes) // 2], step % 4 == 3
    tasks = [draws.weighted(OF_LONG if long else TASKS) for _ in read]
    sentences = [long_caption(scene) if long else scene.caption for scene in read]
    return scenes, [*batches, _asked(draws, writer, read, tasks, sentences, "text")]


def _asked(draws, writer, scenes, tasks, shown, modality) -> tuple[Tensor, Tensor]:
    asked = [ask(draws, task, modality) for task in tasks]
    return writer.batch(shown, asked, [answer(draws, task, scene) for task, scene in zip(tasks, scenes, strict=True)])


def answers_loss(model: nn.Module, ids: Tensor, answered: Tensor, features: Tensor | None) -> Tensor:
    """Mean cross-entropy of the answers' tokens. Causal and padded on the right, so no mask is needed."""
    embedded = model.get_input_embeddings()(ids)
    if features is not None:
        slots = (ids == model.config.image_token_id)[..., None].expand_as(embedded)
        embedded = embedded.masked_scatter(slots, features)
    states = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    logits = model.lm_head(states[:, :-1][answered[:, 1:]])
    return nn.functional.cross_entropy(logits.float(), ids[:, 1:][answered[:, 1:]])


def train_run(config: Config, **options) -> tuple[nn.Module, list[float]]:
    """The run from its last checkpoint to its end: the model and its losses."""
    model, writer = build(config), Writer(config)

    def loss(step: int) -> Tensor:
        scenes, (told, *others, text) = of_a_step(config, step, writer)
        features = model.model.get_image_features(pixels(scenes, config.image_size)).pooler_output
        features = features if isinstance(features, Tensor) else torch.stack(tuple(features))
        of_pictures = [answers_loss(model, *each, features) for each in (told, *others)]
        return sum(of_pictures) + answers_loss(model, *text, None) / 2

    losses = train(
        model,
        loss,
        torch.optim.AdamW(_groups(model, config), weight_decay=config.weight_decay, betas=(0.9, 0.98)),
        steps=config.steps,
        factor=lambda step: warm_cosine(step, config.steps, config.warmup),
        folder=run_folder(config),
        run={**asdict(config), "vocabulary": vocabulary(), "scenes": bits(), "instructions": INSTRUCTIONS},
        title=NAME,
        **options,
    )
    return model.eval(), losses


def _groups(model: nn.Module, config: Config) -> list[dict]:
    tower = list(model.model.vision_tower.parameters())
    held = set(map(id, tower))
    others = [p for p in model.parameters() if id(p) not in held]
    return [
        {"params": tower, "lr": config.vision_rate * config.learning_rate},
        {"params": others, "lr": config.learning_rate},
    ]


def ship(config: Config, model: nn.Module, losses: list[float]) -> None:
    """Weights, configuration, processor, prompts and log into the assets."""
    folder = model_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as made:
        model.save_pretrained(made)
        make_processor(config).save_pretrained(made)
        for file in Path(made).iterdir():
            write_atomically(folder / file.name, file.read_bytes())
    write_json(folder / "prompts.json", asdict(PROMPTS))
    rows = [{"step": i + 100, "loss": round(sum(losses[i : i + 100]) / 100, 4)} for i in range(0, len(losses), 100)]
    write_atomically(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / "training.json", {**asdict(config), "recipe": "recipes/scenes_lvlm.py"})


def _told(step: int, losses: Sequence[float]) -> None:
    print(f"step {step}: mean loss of the last 100 steps {sum(losses[-100:]) / 100:.3f}", flush=True)


def main() -> None:
    torch.set_num_threads(1)  # so small a model is slower on two, and on one a run repeats itself bit by bit
    model, losses = train_run(RUN, at=range(100, RUN.steps + 1, 100), on_step=_told)
    ship(RUN, model, losses)


if __name__ == "__main__":
    main()
