"""A picture read word by word: one map per word or phrase, and the words that answer a patch best."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.features import ImageFeatures, TextFeatures
from workbench.matching.maps import centre, similarity_map
from workbench.records import Record, Table, rounded


@dataclass(frozen=True)
class WordMaps(Record):
    """Maps of T readings over the P patches of one picture: values (T, P), scores (T,) cosines with the whole picture.

    `exact`: under normalize="whole" a row's mean is its score (the image embedding is the mean patch). Rows and columns
    of `grid` (h, w) are counted from 1, from the top left.
    """

    readings: tuple[str, ...]
    values: Tensor
    scores: Tensor
    grid: tuple[int, int]
    normalize: str
    centred: bool
    exact: bool

    @property
    def kind(self) -> str:
        view = "cosine per patch" if self.normalize == "each" else "share of the score"
        return f"{view}, centred" if self.centred else view

    @property
    def limit(self) -> float:
        """The largest absolute value of any map: one colour scale for all readings."""
        return float(self.values.abs().max()) or 1.0

    def best_cell(self, reading: int) -> tuple[int, int]:
        return self.cell(int(self.values[reading].argmax()))

    def cell(self, patch: int) -> tuple[int, int]:
        return patch // self.grid[1] + 1, patch % self.grid[1] + 1

    def best_readings(self, row: int, column: int, k: int = 5) -> list[tuple[str, float]]:
        """The k readings that answer one patch best, strongest first. Raises ValueError for a patch outside the grid."""
        h, w = self.grid
        if not (1 <= row <= h and 1 <= column <= w):
            raise ValueError(f"patch row {row}, column {column} is outside the grid of {h} rows and {w} columns")
        column_values = self.values[:, (row - 1) * w + column - 1]
        strongest = column_values.argsort(descending=True, stable=True)[:k]
        return [(self.readings[t], float(column_values[t])) for t in strongest.tolist()]

    def summary(self, reading: int) -> str:
        """One sentence that says what the map shows."""
        row, column = self.best_cell(reading)
        values = self.values[reading]
        return (
            f"“{self.readings[reading]}” answers strongest at row {row}, column {column} ({rounded(values.max())}) and "
            f"weakest with {rounded(values.min())}; its cosine with the whole picture is {rounded(self.scores[reading])}."
        )

    def table(self) -> Table:
        rows = []
        for t, reading in enumerate(self.readings):
            row, column = self.best_cell(t)
            low, high = float(self.values[t].min()), float(self.values[t].max())
            rows.append((reading, rounded(self.scores[t]), f"row {row}, column {column}", rounded(high), rounded(low)))
        header = ("word or phrase", "whole picture", "strongest patch", "there", "weakest")
        return Table(f"{self.grid[0]} × {self.grid[1]} patches, {self.kind}", header, tuple(rows))


def word_maps(
    image: ImageFeatures,
    readings: list[str],
    vectors: Tensor,
    *,
    normalize: str = "each",
    reference: Tensor | None = None,
) -> WordMaps:
    """One map per reading: image of one picture with tokens (1, P, d), vectors (T, d) of the readings.

    `reference` (R, d), if given, centres the maps on the mean map of these neutral texts. Raises ValueError for more
    than one picture, missing patch tokens, or vectors that do not fit.
    """
    if image.tokens is None or len(image) != 1:
        raise ValueError(
            f"{len(image)} pictures, tokens {'missing' if image.tokens is None else 'given'}; encode one with tokens=True"
        )
    if len(readings) != len(vectors):
        raise ValueError(f"{len(readings)} readings but {len(vectors)} vectors; give one vector per reading")
    patches = image.tokens[0]
    values = similarity_map(patches, vectors, normalize=normalize)
    if reference is not None:
        values = centre(values, similarity_map(patches, reference, normalize=normalize))
    scores = similarity_map(image.post, vectors)[:, 0]
    return WordMaps(
        tuple(readings), values, scores, image.grid, normalize, reference is not None, averages_to_image(image)
    )


def averages_to_image(image: ImageFeatures, tolerance: float = 1e-5) -> bool:
    """Whether the mean of the patch tokens is the image embedding, to `tolerance` of its length."""
    gap = (image.tokens.mean(1) - image.post).norm(dim=-1)
    return bool((gap <= tolerance * image.post.norm(dim=-1)).all())


def vectors_in_context(text: TextFeatures, readings: list[str]) -> Tensor:
    """Readings as the caption's own tokens say them: text of one caption with tokens, → (T, d), means of word pieces.

    Raises ValueError for a reading whose words are not in the caption in this order, or were cut off behind the context.
    """
    if len(text) != 1 or text.words is None:
        raise ValueError("this model maps no tokens to words; read the words on their own instead")
    pieces, words = text.word_vectors(0), [_letters(word) for word in text.words[0]]
    vectors = torch.stack([pieces[_span(words, reading)].mean(0) for reading in readings])
    for reading, vector in zip(readings, vectors, strict=True):
        if torch.isnan(vector).any():
            read = text.tokens.shape[1]
            raise ValueError(f"{reading!r} stands behind the {read} tokens that the model read; shorten the caption")
    return vectors


def _letters(text: str) -> str:
    """What every tokenizer keeps: no case, no spaces, no marks on letters, nothing invisible, ligatures taken apart."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not (char.isspace() or unicodedata.category(char) in ("Mn", "Cf")))


def _span(words: list[str], reading: str) -> slice:
    """Where the reading stands in the caption's words, as letters; tokenizers split what people write as one word."""
    target = _letters(reading)
    for start in range(len(words)):
        joined = ""
        for end in range(start, len(words)):
            joined += words[end]
            if joined == target:
                return slice(start, end + 1)
            if not target.startswith(joined):
                break
    raise ValueError(
        f"{reading!r} does not stand in the caption as the tokenizer reads it; read the words on their own"
    )
