"""What a model offers, found by trying: the same questions for every adapter, and the table of the README."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from workbench.models.dense import VARIANTS
from workbench.models.dual_encoder import DualEncoder
from workbench.records import Record, Table

HEADER = ("pre, post", "patch tokens", "word tokens", "layers", "dense variants", "projectors", "trains")


@dataclass(frozen=True)
class Offers(Record):
    """One model's answers; `cells` stand under HEADER, a refusal with its reason in `reasons`."""

    model: str
    cells: tuple[str, ...]
    reasons: tuple[str, ...] = ()

    def table(self) -> Table:
        rows = [*zip(HEADER, self.cells, strict=True), *(("why not", reason) for reason in self.reasons)]
        return Table(f"What {self.model} offers", ("feature", "here"), tuple(rows))


def offers(model: DualEncoder) -> Offers:
    """Try every feature of the interface on a grey picture and a short caption, and say what came, with the reasons of
    what did not."""
    picture, reasons = Image.new("RGB", (64, 64), "grey"), []
    image, text = model.encode_image(picture), model.encode_text("a grey square")
    cells = (
        f"{image.pre.shape[1]} and {text.pre.shape[1]} → {image.post.shape[1]}",
        _tried(lambda: _grid(model, picture), reasons),
        _tried(lambda: _words(model), reasons),
        f"image {_layers(model.image_layers)}, text {_layers(model.text_layers)}",
        "all" if len(model.dense_variants) == len(VARIANTS) else ", ".join(model.dense_variants),
        " and ".join(_projector(projector, reasons) for projector in (model.image_projector, model.text_projector)),
        _trained(model),
    )
    return Offers(model.name, cells, tuple(reasons))


def _tried(attempt, reasons: list[str]) -> str:
    try:
        return attempt()
    except ValueError as error:
        reasons.append(str(error))
        return "no"


def _grid(model: DualEncoder, picture: Image.Image) -> str:
    h, w = model.encode_image(picture, tokens=True).grid
    return f"{h} × {w}"


def _words(model: DualEncoder) -> str:
    return "yes" if model.encode_text("a grey square", tokens=True).mask.any() else "no"


def _layers(n: int) -> str:
    return f"any of {n}" if n > 1 else "last"


def _projector(projector, reasons: list[str]) -> str:
    if projector.kind != "exact":
        reasons.append(f"a projector is {projector.kind!r}: {projector.reason}")
    return projector.kind


def _trained(model: DualEncoder) -> str:
    """Which parts a step would move: gradients are taken on both sides and thrown away."""
    pixels = model.preprocess(Image.new("RGB", (64, 64), "grey"))[None].to(model.device, model.dtype)
    tokenized = model._tokenize(["a grey square"])
    ids, mask = tokenized.ids.to(model.device), tokenized.mask.to(model.device)
    sides = {"image": model.forward_image(pixels).post, "text": model.forward_text(ids, mask).post}
    learned = [side for side, post in sides.items() if post.requires_grad]
    return "both sides" if len(learned) == 2 else f"{learned[0]} side" if learned else "nothing"
