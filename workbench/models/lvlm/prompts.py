"""What a vision–language model is told before its next token is read as an embedding: one prompt per modality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

FAMILIES = (
    "llava",
    "qwen2_vl",
    "qwen2_5_vl",
)  # read and tested here; others load where their processor is of the same kind
PROMPTS = "prompts.json"  # in a folder: the prompts that it is read with, the fields of Prompts
IMAGE, SENTENCE = "<image>", "<sent>"  # where the picture and the caption stand, as E5-V writes them


@dataclass(frozen=True)
class Prompts:
    """The prompts of both modalities, and the temperature of the cosine.

    `image` holds "<image>" once and `text` "<sent>" once; `caption` is what `generate` asks of a picture. Each is wrapped
    as a user's turn in the processor's own chat template, where it has one (`chat` False: taken as it stands), and `ending`
    follows the wrapped prompt: the summary is read at the last token of all. `source` says whose words they are. Raises
    ValueError for a prompt without its place, or a temperature that is not positive.
    """

    image: str
    text: str
    caption: str = f"{IMAGE}\nDescribe this image."
    temperature: float = 0.05
    chat: bool = True
    ending: str = ""
    source: str = "yours"

    def __post_init__(self):
        for name, prompt, place in (("image", self.image, IMAGE), ("text", self.text, SENTENCE)):
            _check_place(name, prompt, place)
        _check_place("caption", self.caption, IMAGE)
        if not isinstance(self.ending, str) or IMAGE in self.ending or SENTENCE in self.ending:
            raise ValueError(f"ending={self.ending!r}; give words that follow the prompt, without a place")
        if not isinstance(self.temperature, Real) or not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature!r}; give a positive number, E5-V and CAFe train with 0.05")


def _check_place(name: str, prompt: str, place: str) -> None:
    if not isinstance(prompt, str):
        raise TypeError(f"the {name} prompt is {type(prompt).__name__} {prompt!r}; give a string with {place!r} in it")
    if prompt.count(place) != 1:
        raise ValueError(f"the {name} prompt {prompt!r} holds {place!r} {prompt.count(place)} times; put it in once")
    other = SENTENCE if place == IMAGE else IMAGE
    if other in prompt:
        raise ValueError(f"the {name} prompt {prompt!r} holds {other!r}; one prompt is of one modality")


# VladVA's own wording (arXiv 2412.04378) is not published: these are the two public ones nearest to it. CAFe's code reads the
# end-of-turn token behind the prompt (for its model: ending="<|im_end|>"), E5-V's the prompt's own last token.
PRESETS = {
    "E5-V": Prompts(
        image=f"{IMAGE}\nSummary above image in one word: ",
        text=f"{SENTENCE}\nSummary above sentence in one word: ",
        source="E5-V (arXiv 2407.12580)",
    ),
    "CAFe": Prompts(
        image=f"{IMAGE}\nCompress this image in one word:",
        text=f"{SENTENCE}\nCompress this sentence in one word:",
        source="CAFe (arXiv 2503.19900)",
    ),
}


def prompts_of(given: Prompts | str) -> Prompts:
    """A preset by name, or prompts as they are. Raises ValueError for a name that is not known, TypeError for neither."""
    if isinstance(given, Prompts):
        return given
    if not isinstance(given, str):
        raise TypeError(f"prompts are Prompts or the name of a preset, not {type(given).__name__} {given!r}")
    if given not in PRESETS:
        raise ValueError(f"no prompts {given!r}; choose one of {', '.join(PRESETS)}, or give Prompts(image=…, text=…)")
    return PRESETS[given]
