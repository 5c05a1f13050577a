"""Word pieces back to the words of a caption, for both kinds of tokenizer that open_clip has."""

from __future__ import annotations

import hashlib
import json
import re

from torch import Tensor

Words = tuple[list[list[str]], list[list[int | None]], tuple[int, ...]]


def tokenizer_digest(tokenizer) -> str:
    """A digest of what a tokenizer does to a caption: where it is the same, so are the ids."""
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # open_clip wraps those of transformers
    clean = getattr(getattr(tokenizer, "clean_fn", None), "__name__", None)
    if hasattr(inner, "backend_tokenizer"):
        rules = json.loads(inner.backend_tokenizer.to_str())
        rules.pop("padding"), rules.pop("truncation")  # left over from the last call
    else:
        rules = inner.encoder  # open_clip's byte pairs: the vocabulary follows from the merges
    what = [clean, getattr(tokenizer, "context_length", None), rules]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


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
        spelled, indices = words_of_encoding(full, 0, clean)
        words.append(spelled)
        kept = indices[: len(row)]
        if row[-1] in tokenizer.tokenizer.all_special_ids:  # cut: the end of the text took a piece's place
            kept = kept[:-1]
        word_ids.append(kept + [None] * (len(row) - len(kept)))
        lengths.append(len(indices))
    return words, word_ids, tuple(lengths)


def words_of_encoding(encoding, m: int, text: str) -> tuple[list[str], list[int | None]]:
    """Caption m's words as typed, and the word of each of its tokens (None for special ones), from a fast tokenizer.

    The trap: SentencePiece tokenizers that never split at spaces (Gemma's, in SigLIP 2) call a whole caption one word;
    there the spaces decide.
    """
    indices = encoding.word_ids(m)
    n = 1 + max((i for i in indices if i is not None), default=-1)
    if n == 1 and len(text.split()) > 1:
        return _split_at_spaces(encoding, m, text)
    spans = [encoding.word_to_chars(m, w) for w in range(n)]
    return [text[span.start : span.end] for span in spans], indices


def _split_at_spaces(encoding, m: int, text: str) -> tuple[list[str], list[int | None]]:
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    one = encoding.encodings[m]
    indices: list[int | None] = []
    for (start, end), special in zip(one.offsets, one.special_tokens_mask, strict=True):
        # A piece may begin with the space in front of its word, so its last character decides.
        holds = [w for w, (first, last) in enumerate(spans) if first < end <= last and start < end]
        indices.append(holds[0] if holds and not special else None)
    return [text[first:last] for first, last in spans], indices
