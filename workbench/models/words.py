"""Word pieces back to the words of a caption, for both kinds of tokenizer that open_clip has."""

from __future__ import annotations

import hashlib
import json
import re

from torch import Tensor

Words = tuple[list[list[str]], list[list[int | None]], tuple[int, ...]]


def special_ids(tokenizer) -> tuple[int, ...]:
    """Ids of start, end and padding, of a tokenizer of either library; none without one. An unknown word is a word."""
    inner = tokenizer if hasattr(tokenizer, "all_special_ids") else getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return ()
    roles = {getattr(inner, f"{role}_token_id", None) for role in ("bos", "eos", "pad", "cls", "sep", "mask")}
    unknown = getattr(inner, "unk_token_id", None)
    return tuple(each for each in inner.all_special_ids if each != unknown or each in roles)


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
        spelled, indices = words_of_encoding(full, full, 0, clean)
        words.append(spelled)
        kept = indices[: len(row)]
        if row[-1] in tokenizer.tokenizer.all_special_ids:  # cut: the end of the text took a piece's place
            kept = kept[:-1]
        word_ids.append(kept + [None] * (len(row) - len(kept)))
        lengths.append(len(indices))
    return words, word_ids, tuple(lengths)


def words_of_encoding(full, cut, m: int, text: str) -> tuple[list[str], list[int | None]]:
    """Caption m's words as typed, and the word of every token of its cut version (None for special ones).

    `full` and `cut` come from a fast tokenizer. The trap: SentencePiece that never splits at spaces (Gemma's, in SigLIP 2)
    calls a whole caption one word; there the spaces decide.
    """
    count = 1 + max((i for i in full.word_ids(m) if i is not None), default=-1)
    if count == 1 and len(text.split()) > 1:
        return _split_at_spaces(cut, m, text)
    spans = [full.word_to_chars(m, w) for w in range(count)]
    spelled = ["" if span is None else text[span.start : span.end].strip() for span in spans]
    index = {
        w: n for n, w in enumerate(w for w in range(count) if spelled[w])
    }  # byte-level ones count a space as a word
    return [word for word in spelled if word], [index.get(i) for i in cut.word_ids(m)]


def _split_at_spaces(cut, m: int, text: str) -> tuple[list[str], list[int | None]]:
    """The same at spaces, by where a token's characters stand; one that reaches over several words goes to the first."""
    found = list(re.finditer(r"\S+", text))

    def word_of(t: int) -> int | None:
        chars = cut.token_to_chars(m, t)
        if chars is None:
            return None
        return next((w for w, word in enumerate(found) if chars.start < word.end() and word.start() < chars.end), None)

    return [word.group() for word in found], [None if i is None else word_of(t) for t, i in enumerate(cut.word_ids(m))]
