"""Word pieces back to words, and what makes two tokenizers the same."""

import pytest

from workbench.models.words import tokenizer_digest, words_of_encoding


def gemma_like(pieces=("▁red", "▁cube", "▁cu", "be")):
    """A tokenizer as SigLIP 2's: spaces become ▁ before anything could split at them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<pad>", "<eos>", "<unk>", *"▁abcderu,", *pieces]
    merges = [("▁", "r"), ("▁r", "e"), ("▁re", "d")]
    vocabulary += [a + b for a, b in merges if a + b not in vocabulary]
    raw = Tokenizer(models.BPE({piece: i for i, piece in enumerate(vocabulary)}, merges, unk_token="<unk>"))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    raw.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@pytest.mark.parametrize("text", ["a red cube", "a  red cube,  ab"])
def test_a_tokenizer_that_never_splits_at_spaces_still_gives_words(text):
    encoding = gemma_like()([text])
    assert {i for i in encoding.word_ids(0) if i is not None} == {0}  # the trap
    words, indices = words_of_encoding(encoding, encoding, 0, text)
    assert words == text.split()
    assert {i for i in indices if i is not None} == set(range(len(words)))
    assert indices[-1] is None  # the end of the text
    assert [i for i in indices if i is not None] == sorted(i for i in indices if i is not None)


def test_a_digest_says_what_a_tokenizer_does_and_not_what_it_did_last():
    tokenizer = gemma_like()
    before = tokenizer_digest(tokenizer)
    tokenizer(["a red", "a"], padding=True, truncation=True, max_length=3)
    assert tokenizer_digest(tokenizer) == before
    assert tokenizer_digest(gemma_like()) == before
    assert tokenizer_digest(gemma_like(("▁blue",))) != before


def test_open_clips_own_tokenizer_has_a_digest_too():
    import open_clip

    sixteen, thirty = (open_clip.SimpleTokenizer(context_length=n) for n in (16, 30))
    assert tokenizer_digest(sixteen) == tokenizer_digest(open_clip.SimpleTokenizer(context_length=16))
    assert tokenizer_digest(sixteen) != tokenizer_digest(thirty)
    assert tokenizer_digest(sixteen) != tokenizer_digest(
        open_clip.SimpleTokenizer(context_length=16, clean="canonicalize")
    )
