"""Look inside scenes-lvlm before and after `recipes/tune_scenes_lvlm.py` tuned it, and put its whole result together.

    python -m recipes.look_into_lvlm   # a few minutes on one core, where the tuned models are in the run folder

500 scenes of a seed of their own, no two with the same contents: the entropy of the next token at the summary, the spectrum of
the embeddings, and how widely each head of the last layer looks at the picture (VladVA, arXiv 2412.04378, figures 3, 4 and 6).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import torch

from recipes import tune_scenes_lvlm as tuning
from recipes.discriminative_claims import BEHIND, claims, summary
from recipes.files import sha256, write_json
from recipes.measure_prompts import stored
from recipes.measure_scenes_lvlm import f1
from recipes.rows import Rows
from workbench import paths
from workbench.data.scenes import draw
from workbench.data.scenes.asking import things_in
from workbench.discriminative.looking import effective_support
from workbench.discriminative.prompts_read import read_prompt
from workbench.models.lvlm import LvlmEncoder
from workbench.models.registry import load_model

RESULT = "discriminative.json"
SEED, PAIRS, SHOWN = "look-lvlm", 500, 4
DRAWN = ("before", "both", "both, next token")  # whose attention maps of SHOWN pictures are kept, seed 0


@cache
def pairs() -> tuple[list, list[str]]:
    shown = tuning.distinct(PAIRS, SEED)
    return [draw(each, 64) for each in shown], [each.caption for each in shown]


def look(model: LvlmEncoder) -> dict:
    """The reading under its own prompts; of every picture the mean support over heads and the share of attention that pictures
    get; of the first pictures the maps themselves; and the F1 of what it writes behind the prompt that it was tuned with."""
    pictures, texts = pairs()
    there, drawn = tuning.to_tell()
    behind = model.generate(drawn, model.prompts.image)
    weights = model.summary_attention(pictures).weights
    support = effective_support(weights)
    return stored(
        {
            "reading": asdict(read_prompt(model, pictures, texts)),
            "entropy of pictures": model.next_tokens(pictures).entropy,
            "entropy of captions": model.next_tokens(texts=texts).entropy,
            "support": tuple(support.mean(1).tolist()),
            "support by head": tuple(support.mean(0).tolist()),
            BEHIND: tuple(f1(things_in(text), each.things) for text, each in zip(behind, there, strict=True)),
            "share": tuple(weights.sum(-1).mean(1).tolist()),
            "maps": tuple(tuple(tuple(head.tolist()) for head in each) for each in weights[:SHOWN]),
        }
    )


def looked(name: str) -> dict:
    start, _, rest = name.partition(": ")
    model = tuning.base(start) if rest == "before" else load_model(f"lvlm:{tuning.model_of(name)}", device="cpu")
    return look(model)


@cache
def rows() -> Rows:
    names = [name for name in tuning.rows().make if not name.startswith("rate")]
    make = {f"look into {name}": partial(looked, name) for name in names}
    return Rows(tuning.folder(), make, {**tuning.digests(), Path(__file__).name: sha256(Path(__file__))})


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    if (inside := rows().all(names)) is None or (found := tuning.rows().all([])) is None:
        return
    inside = {name.removeprefix("look into "): row for name, row in inside.items()}
    told = summary(found, inside)
    here = Path(__file__).parent
    digests = {**rows().digests, "discriminative_claims.py": sha256(here / "discriminative_claims.py")}
    result = {
        "title": "What tuning a captioner to tell pictures apart teaches, and what it pays, by every row of VladVA's Table 4",
        "made_by": "recipes/look_into_lvlm.py",
        "digests": digests,
        "rows": told,
        "claims": claims(told),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
