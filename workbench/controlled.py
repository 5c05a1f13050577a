"""A model on controlled scenes: swap quads per category, read out by several rules, beside scorers that do not look."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench import paths
from workbench.data.scenes.drawing import Cutter, draw
from workbench.data.scenes.quads import CATEGORIES, Quad, quads
from workbench.data.scenes.world import pixel_box
from workbench.evaluation.blind import blind_baselines
from workbench.evaluation.composition import Groups, group_scores, levelled
from workbench.evaluation.statistics import Interval, percent
from workbench.matching.crops import crop_features, segment_features
from workbench.matching.late import late_interaction
from workbench.models.dual_encoder import DualEncoder
from workbench.progress import bar
from workbench.records import Record, Table

MARGIN = 1 / 8  # around a true box, in parts of its side: a crop that touches its object is nothing training has shown
_AT_ONCE = 16  # quads


def quad_scores(
    model: DualEncoder,
    quads: Sequence[Quad],
    rule: str = "global",
    *,
    side: int | None = None,
    cutter: Cutter | None = None,
    grid: str = "grid",
    granularity: str = "mid",
) -> Tensor:
    """scores[item, picture, caption] (n, 2, 2) of every quad, drawn at `side` pixels (None: the model's own).

    Rules: "global" cosine; "late", patch–token late interaction; "crops", blind crops re-encoded × caption segments (grid and
    granularity as in `matching.crops`); "boxes", true boxes re-encoded × segments, an oracle. Raises ValueError for no quads
    or an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule={rule!r}; choose one of {', '.join(RULES)}")
    if not len(quads):
        raise ValueError("there are no quads; make some with data.scenes.quads(category, n, seed)")
    side = side or model.card.image_size
    options = {"grid": grid, "granularity": granularity}
    starts = bar(range(0, len(quads), _AT_ONCE), f"{len(quads)} quads by {rule}")
    return torch.cat([_some(model, quads[i : i + _AT_ONCE], RULES[rule], side, cutter, options) for i in starts])


def _some(model, quads: Sequence[Quad], rule: Callable, side: int, cutter: Cutter | None, options: dict) -> Tensor:
    return rule(model, *_drawn(quads, side, cutter), **options)


def _drawn(quads: Sequence[Quad], side: int, cutter: Cutter | None) -> tuple[list, list]:
    scenes = [scene for quad in quads for scene in quad.scenes]
    return scenes, [draw(scene, side, cutter=cutter) for scene in scenes]


def _global(model, scenes, pictures, **_) -> Tensor:
    image, text = _features(model, scenes, pictures)
    return F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).mT


def _features(model, scenes, pictures) -> tuple[Tensor, Tensor]:
    """Global features of pictures and captions by quad: (n, 2, d) each."""
    image = model.encode_image(pictures, batch_size=64).post
    return image.unflatten(0, (-1, 2)), _texts(model, scenes).post.unflatten(0, (-1, 2))


def _late(model, scenes, pictures, **_) -> Tensor:
    image, text = model.encode_image(pictures, tokens=True, batch_size=64), _texts(model, scenes, tokens=True)
    return _pairwise(image.tokens, None, text.tokens, text.mask)


def _crops(model, scenes, pictures, *, grid: str, granularity: str) -> Tensor:
    regions = crop_features(model, pictures, grid=grid)
    return _against_segments(model, scenes, regions, granularity)


def _boxes(model, scenes, pictures, *, granularity: str, **_) -> Tensor:
    side = len(pictures[0])
    regions = crop_features(model, pictures, boxes=[_with_margin(scene, side) for scene in scenes])
    return _against_segments(model, scenes, regions, granularity)


def _with_margin(scene, side: int) -> list[tuple[int, int, int, int]]:
    grown = []
    for box in scene.boxes:
        x0, y0, x1, y1 = pixel_box(box, side)
        margin = round((x1 - x0) * MARGIN)
        grown.append((x0 - margin, y0 - margin, x1 + margin, y1 + margin))
    return grown


def _against_segments(model, scenes, regions, granularity: str) -> Tensor:
    segments = segment_features(model, [scene.segments(granularity) for scene in scenes])
    return _pairwise(regions.tokens, regions.mask, segments.tokens, segments.mask)


def _texts(model, scenes, **options):
    return model.encode_text([scene.caption for scene in scenes], batch_size=64, **options)


def _pairwise(image: Tensor, image_mask: Tensor | None, text: Tensor, text_mask: Tensor) -> Tensor:
    """Late interaction of each quad's two pictures with its own two captions: (2n, …) → (n, 2, 2)."""
    halves = [slice(i, i + 2) for i in range(0, len(image), 2)]
    masks = [None if image_mask is None else image_mask[two] for two in halves]
    return torch.stack(
        [
            late_interaction(image[two], text[two], text_mask[two], image_mask=mask)
            for two, mask in zip(halves, masks, strict=True)
        ]
    )


RULES = {"global": _global, "late": _late, "crops": _crops, "boxes": _boxes}


@dataclass(frozen=True)
class ControlledScores(Record):
    """Group scores: `groups[model, category, scorer]`, where a scorer is a rule or one that does not look."""

    groups: dict[tuple[str, str, str], Groups]

    def __add__(self, other: ControlledScores) -> ControlledScores:
        return ControlledScores({**self.groups, **other.groups})

    def panels(self, scorers: Sequence[str], score: str = "group") -> dict[str, dict[str, Interval]]:
        """By scorer, then by category, of one model: what `plots.intervals` draws. Raises ValueError for scores of several
        models, and a scorer or score that is not there."""
        models, there = ({key[k] for key in self.groups} for k in (0, 2))
        if len(models) != 1:
            raise ValueError(f"scores of {len(models)} models ({', '.join(sorted(models))}); take one at a time")
        if unknown := [name for name in scorers if name not in there]:
            raise ValueError(f"no scorer {unknown[0]!r}; there are {', '.join(sorted(there))}")
        found: dict = {name: {} for name in scorers}
        for (_, category, scorer), groups in self.groups.items():
            if scorer in found:
                found[scorer][category] = groups.interval(score)
        return found

    def table(self) -> Table:
        categories = list(dict.fromkeys(category for _, category, _ in self.groups))
        rows = []
        for model, scorer in dict.fromkeys((model, scorer) for model, _, scorer in self.groups):
            found = [self.groups.get((model, category, scorer)) for category in categories]
            rows.append((model, scorer, *map(_group, found)))
        n = "–".join(map(str, sorted({found.n for found in self.groups.values()})))
        caption = f"Group score of swap quads, percent [95 %], n = {n} per category, chance 16.7"
        return Table(caption, ("model", "scorer", *categories), tuple(rows))

    def details(self) -> Table:
        """Every score with its ties: picture to text, text to picture, group, and the sign of the interaction."""
        rows = [(*key, *(_percent(found, name) for name in found.chance)) for key, found in self.groups.items()]
        header = ("model", "category", "scorer", *(name.replace("_", " ") for name in Groups.chance))
        return Table("Swap quads, percent [95 %], chance 25, 25, 16.7, 50", header, tuple(rows))

    def to_json(self) -> list[dict]:
        return [
            {"model": model, "category": category, "scorer": scorer, **asdict(found)}
            for (model, category, scorer), found in self.groups.items()
        ]

    @classmethod
    def from_json(cls, rows: list[dict]) -> ControlledScores:
        """What `to_json` wrote."""
        return cls({_key(row): _restored(row) for row in rows})


def _key(row: dict) -> tuple[str, str, str]:
    return row["model"], row["category"], row["scorer"]


def _restored(row: dict) -> Groups:
    fields = {key: value for key, value in row.items() if key not in ("model", "category", "scorer")}
    return Groups(**{**fields, "intervals": {name: tuple(ends) for name, ends in fields["intervals"].items()}})


def _group(found: Groups | None) -> str:
    return "–" if found is None else _percent(found, "group")


def _percent(found: Groups, name: str) -> str:
    return percent(getattr(found, name), found.intervals[name], digits=1)


def controlled(
    model: DualEncoder,
    n: int = 100,
    seed: int = 0,
    *,
    rules: Sequence[str] = ("global",),
    categories: Sequence[str] = CATEGORIES,
    blind: bool = True,
    make: Callable[..., list[Quad]] = quads,
    **options,
) -> ControlledScores:
    """`n` quads of every category by every rule, and beside the global cosine what the same model scores without looking.

    `make(category, n, seed)` draws the quads; `options` go to `quad_scores`. Blind scorers: the pictures of another quad, the
    captions alone, random and constant scores. Raises as `quad_scores`; ValueError for fewer than two quads beside blind
    scorers, no rules or no categories, TypeError for another option.
    """
    _check(n, rules, categories, blind, options)
    found = {}
    for category in categories:
        drawn = make(category, n, seed)
        judged = {
            rule: group_scores(levelled(quad_scores(model, drawn, rule, **options)))
            for rule in rules
            if rule != "global"
        }
        if blind or "global" in rules:
            rows = blind_baselines(*_all_features(model, drawn, options), seed=_seed(category, seed)).rows
            own = {"global": rows.pop("model")} if "global" in rules else {}
            judged = own | judged | (rows if blind else {})
        found |= {(model.name, category, scorer): each for scorer, each in judged.items()}
    return ControlledScores(found)


def _check(n: int, rules: Sequence[str], categories: Sequence[str], blind: bool, options: dict) -> None:
    if n < 2 and blind:
        raise ValueError(f"n={n}; give two or more, or blind=False: a blind scorer takes another quad's pictures")
    if not rules or not categories:
        raise ValueError(f"rules={rules!r}, categories={categories!r}; give at least one of each")
    unknown = [rule for rule in rules if rule not in RULES]
    if unknown:
        raise ValueError(f"rule {unknown[0]!r}; choose from {', '.join(RULES)}")
    surplus = options.keys() - {"side", "cutter", "grid", "granularity"}
    if surplus:
        raise TypeError(
            f"controlled() takes no {', '.join(sorted(surplus))}; options are side, cutter, grid, granularity"
        )


def _seed(category: str, seed: int) -> int:
    """One for every category, or the random scorer would be the same in all columns."""
    return zlib.crc32(f"{category}/{seed}".encode())


def _all_features(model: DualEncoder, drawn: Sequence[Quad], options: dict) -> tuple[Tensor, Tensor]:
    side = options.get("side") or model.card.image_size
    starts = bar(range(0, len(drawn), _AT_ONCE), f"{len(drawn)} quads")
    parts = [_features(model, *_drawn(drawn[i : i + _AT_ONCE], side, options.get("cutter"))) for i in starts]
    return torch.cat([image for image, _ in parts]), torch.cat([text for _, text in parts])


def measured(row: str) -> ControlledScores:
    """A stored row of `recipes/measure_scenes.py`, such as "lite2-minilm". Raises KeyError with the rows that there are."""
    rows = _measured_rows()
    if row not in rows:
        raise KeyError(f"no row {row!r}; there are {', '.join(rows)}")
    return ControlledScores.from_json(rows[row]["groups"])


def measured_curve(run: str) -> list[tuple[int, ControlledScores]]:
    """The stored rows of one training run: (steps, scores), in their order."""
    rows = [row for row in _measured_rows().values() if row.get("run") == run]
    return sorted(
        ((row["step"], ControlledScores.from_json(row["groups"])) for row in rows), key=lambda point: point[0]
    )


def _measured_rows() -> dict:
    return json.loads((paths.assets() / "results" / "scenes_clip.json").read_text(encoding="utf-8"))["rows"]
