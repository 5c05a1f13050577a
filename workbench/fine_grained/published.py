"""What was published of the diagnostic: group scores on BiSCoR-Ctrl, chance 16.7 percent."""

from __future__ import annotations

PAPER = "arXiv 2604.11496"

# Fractions. Crops are structure-guided inference; models are frozen.
CROPS = {"CLIP ViT-B/32": 0.249, "PE": 0.447, "SigLIP 2-Giant": 0.568}
SIGLIP_CROPS = {"Colour": 0.957, "Material": 0.917, "Size": 0.202, "Quantity": 0.194}
SIGLIP_GLOBAL = {"Colour": 0.060}
FINE_TUNED = 0.019
CROPS_PER_PICTURE = {"grid": 86, "overlap": 270}
WRONG_SEGMENTS = 0.59
"""Share of segments that the authors of arXiv 2506.09691 count wrong on natural captions."""
TRANSFORMER = 0.132
"""TFLocal of CLIP ViT-B/32 on BiSCoR-Ctrl, which it was not trained on; chance is 0.167."""
IN_DOMAIN = {"CLIP": 0.730, "fine-tuned": 0.855, "TFLocal": 0.863}
"""SugarCrepe, mean of its seven subsets."""
