"""A prompt's reading is what the model's own questions answer; the spectrum of embeddings by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.models.tiny_lvlm import save_llava
from workbench.discriminative.prompts_read import (
    compared,
    effective_dimensions,
    explained_variance,
    read_prompt,
    read_prompts,
)
from workbench.evaluation import retrieval_ranks
from workbench.models.lvlm import PRESETS, Prompts
from workbench.models.registry import load_model

GREYS = Image.linear_gradient("L").convert("RGB"), Image.radial_gradient("L").convert("RGB")
PICTURES = [*GREYS, GREYS[0].rotate(90), Image.new("RGB", (60, 60), "red"), Image.new("RGB", (60, 60), "blue")]
CAPTIONS = ["a red cat", "a blue ball on the left", "a red cat", "cube", "the cat"]
ASKED = {"E5-V": "E5-V", "yours": Prompts("<image>\ndescribe this", "<sent>\ndescribe this", chat=False)}


@pytest.fixture(scope="module")
def read(llava):
    return read_prompts(llava, PICTURES, CAPTIONS, ASKED, k=4, batch_size=2)


@pytest.mark.parametrize("name", ASKED)
def test_next_tokens_are_those_of_the_model_asked_for_them(llava, read, name):
    asked = llava.with_prompts(ASKED[name])
    wanted = asked.next_tokens(PICTURES, k=4), asked.next_tokens(texts=CAPTIONS, k=4)
    row = read.rows[name]
    for side, found in zip((row.pictures, row.captions), wanted, strict=True):
        assert side.tokens == found.mean_tokens
        assert side.probabilities == pytest.approx(found.mean_probabilities, abs=1e-6)
        assert side.entropy.mean == pytest.approx(found.mean_entropy, abs=1e-5)
        assert 0 < side.entropy.mean <= math.log(llava.module.get_output_embeddings().weight.shape[0])
    both = np.add(wanted[0].entropy, wanted[1].entropy) / 2
    assert row.entropy.mean == pytest.approx(both.mean(), abs=1e-5)
    assert row.entropy.low <= row.entropy.mean <= row.entropy.high


@pytest.mark.parametrize("name", ASKED)
def test_pairs_are_found_by_the_models_own_embeddings(llava, read, name):
    asked = llava.with_prompts(ASKED[name])
    sides = asked.encode_image(PICTURES).post, asked.encode_text(CAPTIONS).post
    right = [[0, 2], [1], [0, 2], [3], [4]]
    row = read.rows[name]
    for side, pair in ((row.pictures, sides), (row.captions, sides[::-1])):
        assert side.recall.mean == (retrieval_ranks(*pair, right) == 1).double().mean()
        shares = explained_variance(F.normalize(pair[0].double(), dim=-1))
        assert side.variance == pytest.approx(shares, abs=1e-6)
        assert side.rank == pytest.approx(effective_dimensions(shares), abs=1e-4)
    assert read.chance == pytest.approx((2 + 1 + 2 + 1 + 1) / 25)
    assert read.n == 5


@pytest.mark.parametrize("name", ASKED)
def test_information_is_what_lies_between_inputs(llava, read, name):
    asked = llava.with_prompts(ASKED[name])
    vocabulary = llava.module.get_output_embeddings().weight.shape[0]
    for side, found in zip(
        (read.rows[name].pictures, read.rows[name].captions),
        (asked.next_tokens(PICTURES, k=vocabulary), asked.next_tokens(texts=CAPTIONS, k=vocabulary)),
        strict=True,
    ):
        together = -sum(p * math.log(p) for p in found.mean_probabilities)
        assert side.information == pytest.approx(together - found.mean_entropy, abs=1e-5)
        assert 0 <= side.information <= math.log(5)


def test_models_are_compared_as_they_are_asked(llava, read):
    other = llava.with_prompts(ASKED["yours"])
    found = compared({"one": llava, "other": other}, PICTURES, CAPTIONS, k=4)
    assert found.rows["one"].pictures.tokens == read.rows["E5-V"].pictures.tokens
    assert found.rows["other"].pictures.recall == read.rows["yours"].pictures.recall
    assert found.chance == pytest.approx(read.chance)
    with pytest.raises(ValueError, match="no models"):
        compared({}, PICTURES, CAPTIONS)


def test_the_model_stays_as_it_is_asked(llava, read):
    assert llava.prompts == PRESETS["E5-V"]
    again = read_prompt(llava, PICTURES, CAPTIONS, k=4, batch_size=5)
    assert again.pictures.entropy.mean == pytest.approx(read.rows["E5-V"].pictures.entropy.mean, abs=1e-5)
    assert again.captions.tokens == read.rows["E5-V"].captions.tokens


def test_soft_prompts_are_read_as_they_are(tmp_path):
    save_llava(tmp_path / "soft")
    soft = load_model(f"lvlm:{tmp_path / 'soft'}", device="cpu")
    before = read_prompt(soft, PICTURES, CAPTIONS)
    vectors = soft.soften()
    with torch.no_grad():
        vectors += torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    after = read_prompt(soft, PICTURES, CAPTIONS)
    assert after.pictures.entropy.mean == pytest.approx(soft.next_tokens(PICTURES).mean_entropy, abs=1e-5)
    assert abs(after.entropy.mean - before.entropy.mean) > 1e-3


def test_pictures_that_keep_their_shape_are_read_too(qwen):
    pictures = [PICTURES[0], PICTURES[1].crop((0, 0, 200, 120)), PICTURES[3]]
    found = read_prompt(qwen, pictures, CAPTIONS[:3], batch_size=2)
    assert found.pictures.entropy.mean == pytest.approx(qwen.next_tokens(pictures).mean_entropy, abs=1e-5)


def test_bad_input_is_named(llava):
    with pytest.raises(ValueError, match="no prompts"):
        read_prompts(llava, PICTURES, CAPTIONS, {})
    with pytest.raises(ValueError, match="5 pictures and 4 captions"):
        read_prompts(llava, PICTURES, CAPTIONS[:4], ASKED)
    with pytest.raises(ValueError, match="one picture has nothing"):
        read_prompts(llava, PICTURES[:1], CAPTIONS[:1], ASKED)
    with pytest.raises(ValueError, match="k=0; give 1 to"):
        read_prompts(llava, PICTURES, CAPTIONS, ASKED, k=0)
    with pytest.raises(ValueError, match="batch_size=0"):
        read_prompts(llava, PICTURES, CAPTIONS, ASKED, batch_size=0)
    with pytest.raises(ValueError, match="no prompts 'E6-V'"):
        read_prompts(llava, PICTURES, CAPTIONS, {"new": "E6-V"})
    with pytest.raises(ValueError, match="all 5 embeddings are the same"):
        read_prompts(llava, PICTURES, ["a red cat"] * 5, ASKED)
    with pytest.raises(TypeError, match="str has no prompt"):
        read_prompts("model", PICTURES, CAPTIONS, ASKED)


# The spectrum -----------------------------------------------------------------------------------------------------------


def test_equal_axes_count_fully_and_one_axis_once():
    cross = np.concatenate([np.eye(3), -np.eye(3)])
    assert explained_variance(cross) == pytest.approx([1 / 3, 2 / 3, 1])
    assert effective_dimensions(explained_variance(cross)) == pytest.approx(3)
    line = torch.outer(torch.arange(5.0), torch.tensor([1.0, 2, -1]))
    assert explained_variance(line) == pytest.approx([1, 1, 1])
    assert effective_dimensions(explained_variance(line)) == pytest.approx(1)


def test_shares_are_of_variance_not_of_singular_values():
    rows = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # variances 9 to 1
    assert explained_variance(rows) == pytest.approx([0.9, 1])
    wanted = math.exp(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))
    assert effective_dimensions([0.9, 1.0]) == pytest.approx(wanted)


@pytest.mark.parametrize("shape", [(40, 7), (6, 30)])
def test_where_the_mean_is_and_how_far_all_is_spread_changes_nothing(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = explained_variance(rows)
    assert found == pytest.approx(explained_variance(100 * rows + 5), abs=1e-9)
    assert found.shape == (min(shape),)
    assert (np.diff(found) >= 0).all()
    assert found[-1] == pytest.approx(1)
    assert 1 <= effective_dimensions(found) <= min(shape[0] - 1, shape[1])
    values = np.linalg.eigvalsh(np.cov(rows.numpy().T))[::-1][: min(shape)]
    assert found == pytest.approx(np.cumsum(values) / values.sum(), abs=1e-9)


@pytest.mark.parametrize("rows", [np.zeros(3), np.zeros((1, 3)), np.zeros((3, 0)), np.zeros((2, 2, 2))])
def test_what_are_no_rows_is_refused(rows):
    with pytest.raises(ValueError, match=r"give \(N, d\)"):
        explained_variance(rows)


def test_rows_without_variance_or_with_holes_are_refused():
    with pytest.raises(ValueError, match="all 4 embeddings are the same"):
        explained_variance(torch.full((4, 3), 0.1))
    with pytest.raises(ValueError, match="all 3 embeddings are the same"):
        explained_variance(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="NaN"):
        explained_variance([[0.0, math.nan], [1, 2]])
