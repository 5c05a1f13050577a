"""Six small pictures with a short and a long caption each, in the words of the tiny models."""

import numpy as np
from PIL import Image

COLOURS = ((200, 30, 30), (30, 30, 200), (90, 20, 150))
PICTURES = [
    Image.fromarray(
        np.roll(np.full((32, 32, 3), colour, np.uint8) * np.arange(32, dtype=np.uint8)[:, None, None], k, 0)
    )
    for colour in COLOURS
    for k in (0, 9)
]
SHORT = ["a red cube", "a red ball", "a blue cube", "a blue ball", "a cat", "one cat on the left"]
LONG = [f"{text} on the left of a {other} ." for text, other in zip(SHORT, ["cat", "red cube"] * 3, strict=True)]
