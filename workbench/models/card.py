"""The card of a model: what it is, where it came from, what it does to a picture before looking at it."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.records import Record, Table


@dataclass(frozen=True)
class ModelCard(Record):
    """What a reader must know before believing a number. Widths: d_i, d_t before the projection, d joint.

    `preprocess` is the resolved pipeline in words; `digest` the sha256 of the weights (first 16 hex digits),
    `activation` that of the image tower (the wrong one gives wrong numbers without an error).
    """

    name: str
    source: str
    parameters: int
    d_i: int
    d_t: int
    d: int
    image_size: int
    grid: tuple[int, int] | None
    context_length: int
    preprocess: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str
    licence: str = "unknown"
    activation: str = "unknown"
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        grid = "none" if self.grid is None else f"{self.grid[0]} × {self.grid[1]}"
        rows = [
            ("source", self.source),
            ("parameters", f"{self.parameters / 1e6:.2f} M"),
            ("widths", f"image {self.d_i}, text {self.d_t} → joint {self.d}"),
            ("input", f"{self.image_size} px, patch grid {grid}, {self.context_length} text tokens"),
            ("preprocessing", self.preprocess),
            ("weights", f"sha256 {self.digest}…" if self.digest else "not loaded"),
            ("activation", self.activation),
            ("licence", self.licence),
            *(("note", note) for note in self.notes),
        ]
        return Table(f"Model card: {self.name}", ("what", "value"), tuple(rows))
