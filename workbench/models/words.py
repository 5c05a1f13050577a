"""Word pieces back to the words of a caption, for both kinds of tokenizer that open_clip has."""

from __future__ import annotations

from torch import Tensor

Words = tuple[list[list[str]], list[list[int | None]], tuple[int, ...]]


def words_of(tokenizer, texts: list[str], ids: Tensor) -> Words:
    """Words per caption, the word of every token of ids (M, T) (None for special tokens), and the uncut lengths.

    Words come as the tokenizer reads them: cleaned, and lower case where it lowers them.
    """
    if hasattr(tokenizer, "byte_decoder"):
        return _of_bpe(tokenizer, texts, ids)
    return _of_transformers(tokenizer, texts, ids)


def _of_bpe(tokenizer, texts: list[str], ids: Tensor) -> Words:
    """open_clip's own byte-pair tokenizer: the last piece of a word ends in </w>."""
    words, word_ids, lengths = [], [], []
    for text, row in zip(texts, ids.tolist(), strict=True):
        pieces = tokenizer.encode(text)
        lengths.append(len(pieces) + 2)  # start and end of text
        spelled, index_of = _group(tokenizer, pieces)
        words.append(spelled)
        kept = row.index(tokenizer.eot_token_id) - 1 if tokenizer.eot_token_id in row else len(row) - 1
        word_ids.append([None, *index_of[:kept], *[None] * (len(row) - 1 - len(index_of[:kept]))])
    return words, word_ids, tuple(lengths)


def _group(tokenizer, pieces: list[int]) -> tuple[list[str], list[int]]:
    words, index_of, open_word = [], [], []
    for piece in pieces:
        index_of.append(len(words))
        open_word.append(piece)
        if tokenizer.decoder[piece].endswith("</w>"):
            words.append(tokenizer.decode(open_word).strip())
            open_word = []
    return words, index_of


def _of_transformers(tokenizer, texts: list[str], ids: Tensor) -> Words:
    """A fast tokenizer of transformers behind open_clip's cleaning."""
    words, word_ids, lengths = [], [], []
    for text, row in zip(texts, ids.tolist(), strict=True):
        clean = tokenizer.clean_fn(text)
        full = tokenizer.tokenizer([clean], truncation=False, verbose=False)
        indices = full.word_ids(0)
        n = 1 + max((i for i in indices if i is not None), default=-1)
        spans = [full.word_to_chars(0, w) for w in range(n)]
        words.append([clean[span.start : span.end] for span in spans])
        padded = indices[: len(row)] + [None] * (len(row) - len(indices))
        word_ids.append(padded)
        lengths.append(len(indices))
    return words, word_ids, tuple(lengths)
