"""What a vision–language model's own processor makes of pictures and prompts, as tensors of plain shapes.

Two families of processors: "plain" ones give one picture (3, S, S) of a fixed size (LLaVA), "packed" ones a row of patches
and the grid that they came from (Qwen2-VL), where a picture keeps its shape.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor

from workbench.models.lvlm.prompts import IMAGE, SENTENCE, Prompts

_HERE = "\0"  # in no caption and in no prompt
_KNOWN = {"input_ids", "attention_mask", "pixel_values", "token_type_ids", "mm_token_type_ids", "image_grid_thw"}


class Inputs:
    """One processor: `packed` tells its family, `image_token` and `image_token_id` how a picture's places are written."""

    def __init__(self, name: str, processor):
        self.name, self.processor = name, processor
        self._asked: dict[tuple, dict[str, Tensor]] = {}  # by prompt and size of the picture
        self.tokenizer = processor.tokenizer
        self.image_token = getattr(processor, "image_token", None)
        self.image_token_id = getattr(processor, "image_token_id", None)
        if self.image_token is None or self.image_token_id is None:
            raise ValueError(
                f"the processor of {name} ({type(processor).__name__}) has no image token, so a prompt has no place for a "
                "picture; take a model of the LLaVA or the Qwen2-VL family"
            )
        made = self._tried()
        self.packed = "image_grid_thw" in made
        if set(made) - _KNOWN or (not self.packed and made["pixel_values"].shape[:2] != (1, 3)):
            shape = tuple(made["pixel_values"].shape)
            raise ValueError(
                f"the processor of {name} ({type(processor).__name__}) gives {', '.join(made)}, pixels {shape}; read so far are "
                "one picture of fixed size (LLaVA) and rows of patches with their grid (Qwen2-VL)"
            )

    def _made(self, picture: Image.Image, prompt: str | None = None):
        written = prompt or self.image_token
        special = {"add_special_tokens": not self.begins(written)}
        return self.processor(images=[picture], text=[written], return_tensors="pt", **special)

    def _tried(self):
        """What comes of a grey picture. Raises ValueError where the processor cannot even do that."""
        try:
            return self._made(Image.new("RGB", (48, 40), "grey"))
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ValueError(
                f"the processor of {self.name} ({type(self.processor).__name__}) cannot read a picture "
                f"({type(error).__name__}: {error}); put the processor that the model was trained with beside the weights"
            ) from error

    def begins(self, written: str) -> bool:
        """Whether a chat template has written the start of the text already, which the tokenizer would write again."""
        start = self.tokenizer.bos_token
        return start is not None and written.startswith(start)

    @cached_property
    def patch(self) -> int:
        """A packed family's patch size in pixels."""
        return self.processor.image_processor.patch_size

    @cached_property
    def merge(self) -> int:
        """How many patches, each way, become one token of a packed family."""
        return self.processor.image_processor.merge_size

    @cached_property
    def frames(self) -> int:
        """How often a packed family repeats a picture, as the frames of a film."""
        return self.processor.image_processor.temporal_patch_size

    @property
    def native_size(self) -> int:
        """The side that a square picture comes out with: of a plain processor always, of a packed one at that size."""
        return self.pixels(Image.new("RGB", (224, 224))).shape[-1]

    def pixels(self, image: Image.Image) -> Tensor:
        """One RGB picture as (3, H, W): resized and scaled by the processor."""
        made = self.processor.image_processor(images=[image], return_tensors="pt")
        return self._unpacked(made) if self.packed else made["pixel_values"][0]

    def _unpacked(self, made) -> Tensor:
        """A row of patches (in blocks of merge × merge, frames repeated) as the picture that they came from."""
        t, h, w = made["image_grid_thw"][0].tolist()
        rows = made["pixel_values"].reshape(
            t, h // self.merge, w // self.merge, self.merge, self.merge, 3, -1, *[self.patch] * 2
        )
        frame = rows[0, ..., 0, :, :]  # (H, W, m, m, 3, p, p)
        return frame.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, h * self.patch, w * self.patch)

    def of_pixels(self, pixels: Tensor) -> dict[str, Tensor]:
        """Pixels (B, 3, H, W) as the model takes them: the inverse of `pixels`, differentiable."""
        if not self.packed:
            return {"pixel_values": pixels}
        (b, _, height, width), p, m = pixels.shape, self.patch, self.merge
        h, w = height // p, width // p
        rows = pixels.reshape(b, 3, h // m, m, p, w // m, m, p).permute(0, 2, 5, 3, 6, 1, 4, 7)[..., None, :, :]
        rows = rows.expand(*rows.shape[:-3], self.frames, p, p)
        grid = torch.tensor([[1, h, w]]).expand(b, 3)
        return {"pixel_values": rows.reshape(b * h * w, -1), "image_grid_thw": grid}

    def grid(self, pixels: Tensor) -> tuple[int, int] | None:
        """Rows and columns of the image tokens of pixels (…, H, W), None where they lie on none."""
        h, w = pixels.shape[-2:]
        if self.packed:
            return h // (self.patch * self.merge), w // (self.patch * self.merge)
        places = int((self.picture_prompt(IMAGE, (h, w), chat=False)["input_ids"] == self.image_token_id).sum())
        side = round(places**0.5)
        return (side, side) if side * side == places else None

    def picture_prompt(
        self, prompt: str, size: tuple[int, int], *, chat: bool = True, ending: str = ""
    ) -> dict[str, Tensor]:
        """ids (1, T) of a prompt about a picture of (H, W) pixels, its places for the picture written out, and what goes with
        them."""
        key = (prompt, size, chat, ending)
        if key not in self._asked:
            self._asked[key] = self._picture_prompt(*key)
        return dict(self._asked[key])

    def _picture_prompt(self, prompt: str, size: tuple[int, int], chat: bool, ending: str) -> dict[str, Tensor]:
        blank = Image.new("RGB", (size[1], size[0]))
        made = self._made(blank, self.about_picture(prompt, chat, ending))
        return {key: made[key] for key in made if key in ("input_ids", "token_type_ids", "mm_token_type_ids")}

    def about_picture(self, prompt: str, chat: bool, ending: str) -> str:
        """A prompt as it is written before a picture's places are: the image token stands once in it."""
        before, after = prompt.split(IMAGE)
        written = self._written([("text", before), ("image", None), ("text", after)], chat) + ending
        if (times := written.count(self.image_token)) != 1:
            raise ValueError(
                f"the chat template of {self.name} writes {self.image_token!r} {times} times for one picture; give "
                "Prompts(chat=False, …)"
            )
        return written

    def around(self, prompts: Prompts) -> tuple[str, str]:
        """What is written before and after a caption."""
        written = self._written([("text", prompts.text.replace(SENTENCE, _HERE))], prompts.chat) + prompts.ending
        before, here, after = written.partition(_HERE)
        if not here:
            raise ValueError(f"the chat template of {self.name} leaves text out of a turn; give Prompts(chat=False, …)")
        return before, after

    def encoded(self, written: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """ids and character spans of texts that all begin alike."""
        special = not self.begins(written[0])
        out = self.tokenizer(written, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        return list(zip(out["input_ids"], out["offset_mapping"], strict=True))

    def checked(self, caption: str) -> str:
        """The caption as it is. Raises ValueError for one that holds what stands for a picture, or for an end."""
        for token in (self.image_token, IMAGE, *self.tokenizer.all_special_tokens):
            if token in caption:
                raise ValueError(
                    f"the caption {caption!r:.80} holds {token!r}, which the tokenizer takes for more than text (for a picture, "
                    "or an end); take it out, and give pictures to encode_image"
                )
        return caption

    def _written(self, parts: list[tuple[str, str | None]], chat: bool) -> str:
        parts = [part for part in parts if part[1] != ""]
        if not chat or not getattr(self.processor, "chat_template", None):
            return "".join(self.image_token if kind == "image" else text for kind, text in parts)
        # A template breaks the line between a picture and text by itself.
        content = [{"type": kind} if text is None else {"type": kind, "text": text.strip("\n")} for kind, text in parts]
        turn = [{"role": "user", "content": content}]
        try:
            return self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        except (TemplateError, TypeError) as error:
            raise ValueError(
                f"the chat template of {self.name} takes no pictures and texts as parts of a turn ({error}); give "
                "Prompts(chat=False, …) with the words that it would write"
            ) from error
