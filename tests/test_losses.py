"""Losses and gradients in squares of logits against the definitions, written out whole in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from workbench.losses import clip_loss, sigmoid_loss
from workbench.losses import tiles as tiles_of
from workbench.memory.prediction import peak_bytes

B, D = 13, 5
SIDES = [None, 1, 2, 4, 5, 13, 50]


def features(batch=B, d=D, dtype=torch.float64, seed=0, count=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, d, generator=generator, dtype=dtype).mul_(3).requires_grad_() for _ in range(count)]


def numbers(*values, dtype=torch.float64):
    return [torch.tensor(value, dtype=dtype, requires_grad=True) for value in values]


def logits_of(image, text, scale, bias=0.0):
    image, text = (x / x.square().sum(1, keepdim=True).sqrt() for x in (image, text))
    return scale * image @ text.T + bias


def clip_reference(image, text, scale):
    logits = logits_of(image, text, scale)
    by_rows, by_columns = torch.logsumexp(logits, 1), torch.logsumexp(logits, 0)
    return ((by_rows + by_columns) / 2 - logits.diagonal()).mean()


def sigmoid_reference(image, text, scale, bias):
    """The mean over all pairs, label by label."""
    labels = 2 * torch.eye(len(image), dtype=torch.float64) - 1
    return torch.logaddexp(torch.zeros(()).double(), -labels * logits_of(image, text, scale, bias)).mean()


def gradients(loss, inputs):
    return torch.autograd.grad(loss, inputs)


def apart(ours, theirs) -> float:
    """The largest difference, relative to the largest number of each tensor."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((a.double() - b.double()).abs().max() / b.double().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("scale", [0.1, 7.0, 100.0, 2000.0])
@pytest.mark.parametrize("side", SIDES)
def test_clip_loss_and_its_gradients_are_the_definition(side, scale):
    inputs = [*features(count=2), *numbers(scale)]
    ours, reference = clip_loss(*inputs, chunk_size=side), clip_reference(*inputs)
    assert abs((ours - reference).item()) < 1e-9 * max(1, reference.item())
    assert apart(gradients(ours, inputs), gradients(reference, inputs)) < 1e-9


@pytest.mark.parametrize(("scale", "bias"), [(20.0, -10.0), (1.0, 0.0), (100.0, 10.0), (2000.0, -10.0)])
@pytest.mark.parametrize("side", SIDES)
def test_sigmoid_loss_and_its_gradients_are_the_definition(side, scale, bias):
    inputs = [*features(count=2), *numbers(scale, bias)]
    ours, reference = sigmoid_loss(*inputs, chunk_size=side), sigmoid_reference(*inputs)
    assert abs((ours - reference).item()) < 1e-9 * max(1, reference.item())
    assert apart(gradients(ours, inputs), gradients(reference, inputs)) < 1e-9


@pytest.mark.parametrize("side", [None, 4])
@pytest.mark.parametrize("form", ["sum", "half"])
def test_a_second_caption_set(form, side):
    image, text, extra, scale, bias = inputs = [*features(), *numbers(20.0, -10.0)]
    ours = sigmoid_loss(image, text, scale, bias, extra_text=extra, multi_positive=form, chunk_size=side)
    both = torch.cat([logits_of(image, text, scale, bias), logits_of(image, extra, scale, bias)], 1)
    labels = 2 * torch.eye(B, dtype=torch.float64).repeat(1, 2) - 1
    reference = F.softplus(-labels * both).mean() * (2 if form == "sum" else 1)
    assert abs((ours - reference).item()) < 1e-9
    assert apart(gradients(ours, inputs), gradients(reference, inputs)) < 1e-9


def test_sum_is_twice_half_and_two_losses():
    image, text, extra = features()
    of = {
        form: sigmoid_loss(image, text, 20.0, -10.0, extra_text=extra, multi_positive=form) for form in ("sum", "half")
    }
    assert of["sum"].item() == 2 * of["half"].item()
    apart_from = of["sum"] - sigmoid_loss(image, text, 20.0, -10.0) - sigmoid_loss(image, extra, 20.0, -10.0)
    assert abs(apart_from.item()) < 1e-15


def test_batch_is_the_mean_over_pairs_times_the_batch():
    image, text, scale, bias = inputs = [*features(count=2), *numbers(20.0, -10.0)]
    pairs, batch = (sigmoid_loss(image, text, scale, bias, reduction=each) for each in ("pairs", "batch"))
    assert abs((batch / pairs).item() - B) < 1e-12
    scaled = [B * g for g in gradients(pairs, inputs)]
    assert apart(gradients(batch, inputs), scaled) < 1e-12


@pytest.mark.parametrize("side", [None, 100])
def test_float32_keeps_five_digits(side):
    exact = [*features(300, 32), *numbers(20.0, -10.0)]
    coarse = [x.detach().float().requires_grad_() for x in exact]
    image, text, _, scale, bias = coarse
    image64, text64, _, scale64, bias64 = exact
    for ours, reference, mine, theirs in (
        (
            clip_loss(image, text, scale, chunk_size=side),
            clip_reference(image64, text64, scale64),
            [*coarse[:2], scale],
            [*exact[:2], scale64],
        ),
        (
            sigmoid_loss(image, text, scale, bias, chunk_size=side),
            sigmoid_reference(image64, text64, scale64, bias64),
            [*coarse[:2], scale, bias],
            [*exact[:2], scale64, bias64],
        ),
    ):
        assert ours.dtype == torch.float32
        assert abs(ours.item() / reference.item() - 1) < 1e-5
        assert apart(gradients(ours, mine), gradients(reference, theirs)) < 1e-5


def test_float32_of_a_loss_near_zero():
    """Where every pair is told apart, what is left of large logits must not be their rounding."""
    near = torch.eye(8) + torch.full((8, 8), 0.9)  # cosines of all but own pairs: the same, close to 1
    cosine = F.cosine_similarity(near[0], near[1], dim=0).item()
    expected = math.log1p(7 * math.exp(-100 * (1 - cosine)))
    assert expected < 0.01
    assert clip_loss(near, near, 100.0).item() == pytest.approx(expected, rel=1e-3)
    assert sigmoid_loss(torch.eye(8), torch.eye(8), 60.0, -30.0).item() == pytest.approx(math.exp(-30), rel=1e-5, abs=0)


def test_float32_survives_columns_far_below_every_row():
    """At t = 100 a column of opposites lies 200 below the rows' best: exp(-200) is 0 in float32, its log is not."""
    x = torch.eye(4).repeat(2, 1)
    y = x.clone()
    y[0] = -x.sum(0)
    found = clip_loss(x, y, 100.0, chunk_size=3)
    assert abs(found.item() - clip_reference(x.double(), y.double(), 100.0).item()) < 1e-4


@pytest.mark.parametrize("side", [None, 50])
def test_the_losses_of_open_clip(side):
    from open_clip.loss import ClipLoss, SigLipLoss

    image, text = features(120, 24, torch.float32, count=2)
    scale, bias = numbers(20.0, -10.0, dtype=torch.float32)

    def unit():
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)

    for ours, theirs, inputs in (
        (clip_loss(image, text, scale, chunk_size=side), ClipLoss()(*unit(), scale), [image, text, scale]),
        (
            sigmoid_loss(image, text, scale, bias, reduction="batch", chunk_size=side),
            SigLipLoss()(*unit(), scale, bias),
            [image, text, scale, bias],
        ),
    ):
        assert abs((ours / theirs).item() - 1) < 1e-5
        assert apart(gradients(ours, inputs), gradients(theirs, inputs)) < 1e-5


def test_slopes_of_every_input_by_finite_differences():
    image, text, scale, bias = [*features(5, 3, count=2), *numbers(3.0, -1.0)]
    extra = features(5, 3, seed=1, count=1)[0]
    assert torch.autograd.gradcheck(lambda i, t, s: clip_loss(i, t, s, chunk_size=2), (image, text, scale))
    assert torch.autograd.gradcheck(
        lambda i, t, e, s, b: sigmoid_loss(i, t, s, b, extra_text=e, chunk_size=2), (image, text, extra, scale, bias)
    )
    assert torch.autograd.gradcheck(lambda s: clip_loss(image.detach(), text.detach(), s), (scale.reshape(1),))
    assert torch.autograd.gradcheck(
        lambda s, b: sigmoid_loss(image.detach(), text.detach(), s, b),
        (scale.detach().reshape(1).requires_grad_(), bias),
    )


@pytest.mark.parametrize("asked", [(0,), (1,), (2,), (3,), (0, 3), (1, 2), (2, 3)])
def test_any_part_of_the_inputs_may_want_a_gradient(asked):
    whole = [*features(count=2), *numbers(20.0, -10.0)]
    expected = gradients(sigmoid_reference(*whole), whole)
    inputs = [x.detach().clone().requires_grad_(n in asked) for n, x in enumerate(whole)]
    sigmoid_loss(*inputs, chunk_size=4).backward()
    assert [x.grad is not None for x in inputs] == [n in asked for n in range(4)]
    assert apart([inputs[n].grad for n in asked], [expected[n] for n in asked]) < 1e-9


@pytest.mark.parametrize("loss", [lambda i, t: clip_loss(i, t, 20.0), lambda i, t: sigmoid_loss(i, t, 20.0, -10.0)])
class TestBoth:
    def test_an_upstream_factor_goes_through(self, loss):
        image, text = features(count=2)
        once = gradients(loss(image, text), [image, text])
        assert apart(gradients(-3 * loss(image, text), [image, text]), [-3 * g for g in once]) < 1e-15

    def test_the_graph_can_be_kept(self, loss):
        image, text = features(count=2)
        value = loss(image, text)
        value.backward(retain_graph=True)
        first = image.grad.clone()
        value.backward()
        assert torch.equal(image.grad, 2 * first)

    def test_without_gradients_nothing_is_in_the_graph(self, loss):
        image, text = features(count=2)
        with torch.no_grad():
            still = loss(image, text)
        assert not still.requires_grad
        assert not loss(image.detach(), text.detach()).requires_grad
        assert torch.equal(still, loss(image, text).detach())

    def test_the_length_of_a_row_does_not_matter(self, loss):
        image, text = features(count=2)
        lengths = torch.linspace(0.001, 1000, B, dtype=torch.float64)[:, None]
        assert abs((loss(image * lengths, text) - loss(image, text)).item()) < 1e-12
        (slope,) = gradients(loss(image, text), [image])
        assert (slope * image).sum(1).abs().max().item() < 1e-12

    def test_the_order_of_the_pairs_does_not_matter(self, loss):
        image, text = features(count=2)
        order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
        assert abs((loss(image[order], text[order]) - loss(image, text)).item()) < 1e-12
        assert abs((loss(text, image) - loss(image, text)).item()) < 1e-12

    def test_the_right_pairing_is_known(self, loss):
        x = torch.eye(4)
        assert loss(x, x) < loss(x, x.roll(1, 0)) / 2

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_halves_are_computed_in_float32(self, loss, dtype):
        image, text = (x.detach().to(dtype).requires_grad_() for x in features(count=2))
        wide = [x.detach().float().requires_grad_() for x in (image, text)]
        ours, reference = loss(image, text), loss(*wide)
        assert ours.dtype == torch.float32
        assert torch.equal(ours, reference)
        slopes = gradients(ours, [image, text])
        expected = [g.to(dtype) for g in gradients(reference, wide)]
        assert all(a.dtype == dtype and torch.equal(a, b) for a, b in zip(slopes, expected, strict=True))

    def test_autocast_changes_nothing(self, loss):
        image, text = features(dtype=torch.float32, count=2)
        plain = loss(image, text)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = loss(image, text)
            slopes = gradients(cast, [image, text])
        assert torch.equal(cast, plain)
        assert all(map(torch.equal, slopes, gradients(plain, [image, text])))

    def test_shapes_alone_are_enough_on_the_meta_device(self, loss):
        image, text = (torch.empty(B, D, device="meta", requires_grad=True) for _ in range(2))
        value = loss(image, text)
        value.backward()
        assert value.shape == ()
        assert image.grad.shape == (B, D)

    def test_slopes_have_no_slopes(self, loss):
        image, text = features(count=2)
        with pytest.raises(RuntimeError, match="create_graph=True asks for gradients of this loss's gradients"):
            torch.autograd.grad(loss(image, text), image, create_graph=True)

    @pytest.mark.parametrize(
        ("image", "text", "message"),
        [
            (torch.ones(3, 4), torch.ones(2, 4), r"image \(3, 4\) and text \(2, 4\)"),
            (torch.ones(3, 4), torch.ones(3, 5), r"image \(3, 4\) and text \(3, 5\)"),
            (torch.ones(3), torch.ones(3), r"must both be \(B, d\)"),
            (torch.ones(1, 4), torch.ones(1, 4), "one pair has no negatives"),
            (torch.ones(0, 4), torch.ones(0, 4), "a batch of 0"),
            (
                torch.ones(3, 4).index_fill(0, torch.tensor(1), torch.nan),
                torch.ones(3, 4),
                "row 1 of image has norm nan",
            ),
            (torch.ones(3, 4), torch.tensor([[1.0] * 4, [1, 1, 1, math.inf], [1] * 4]), "row 1 of text has norm inf"),
            (torch.eye(4)[:, :3], torch.ones(4, 3), "row 3 of image has norm 0, 1 of 4 rows"),
            (torch.ones(3, 4), torch.ones(3, 4, device="meta"), "text on meta"),
        ],
    )
    def test_bad_features_are_refused(self, loss, image, text, message):
        with pytest.raises(ValueError, match=message):
            loss(image, text)

    @pytest.mark.parametrize(("image", "told"), [(torch.ones(3, 4, dtype=torch.long), "int64"), ([[1.0, 2.0]], "list")])
    def test_what_is_no_feature_is_refused(self, loss, image, told):
        with pytest.raises(TypeError, match=rf"image is .*{told}; give a floating-point tensor \(B, d\)"):
            loss(image, torch.ones(3, 4))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"logit_scale": 0.0}, ValueError, "logit_scale=0 must be positive and finite; give exp"),
        ({"logit_scale": torch.tensor(-1.0)}, ValueError, "logit_scale=-1 must be positive"),
        ({"logit_scale": math.inf}, ValueError, "logit_scale=inf must be positive and finite"),
        ({"logit_scale": math.nan}, ValueError, "logit_scale=nan must be positive and finite"),
        ({"logit_scale": torch.ones(2)}, ValueError, r"logit_scale is torch.float32 of shape \(2,\)"),
        ({"logit_scale": torch.tensor(3)}, ValueError, "logit_scale is torch.int64"),
        ({"logit_scale": "20"}, TypeError, "logit_scale is str '20'; give a float"),
        ({"logit_bias": math.nan}, ValueError, "logit_bias=nan must be finite"),
        ({"logit_bias": torch.tensor([-math.inf])}, ValueError, "logit_bias=-inf must be finite"),
        ({"logit_bias": None}, TypeError, "logit_bias is NoneType None"),
        ({"chunk_size": 0}, ValueError, "chunk_size=0; give 1 or more, or None"),
        ({"chunk_size": 2.0}, TypeError, "chunk_size is float 2.0; give a whole number"),
        ({"chunk_size": True}, TypeError, "chunk_size is bool True"),
        ({"reduction": "mean"}, ValueError, "reduction='mean'; choose 'pairs' or 'batch'"),
        ({"multi_positive": "double"}, ValueError, "multi_positive='double'; choose 'sum' or 'half'"),
        ({"extra_text": torch.ones(2, 4)}, ValueError, r"image \(3, 4\) and extra_text \(2, 4\)"),
        ({"extra_text": torch.zeros(3, 4)}, ValueError, "row 0 of extra_text has norm 0"),
    ],
)
def test_bad_settings_are_refused(options, error, message):
    x = torch.ones(3, 4)
    with pytest.raises(error, match=message):
        sigmoid_loss(x, x, **{"logit_scale": 20.0, "logit_bias": -10.0} | options)
    if options.keys() <= {"logit_scale", "chunk_size"}:
        with pytest.raises(error, match=message):
            clip_loss(x, x, **{"logit_scale": 20.0} | options)


def test_the_start_of_training_on_random_directions():
    """4,096 random unit vectors at t = 20, b = -10: the pairs' mean is tiny, and the positives make up nearly all of it."""
    image, text = (F.normalize(x.detach(), dim=-1) for x in features(4096, 256, torch.float32, count=2))
    assert round(sigmoid_loss(image, text, 20.0, -10.0).item(), 4) == 0.0025
    positives = F.softplus(10 - 20 * (image * text).sum(1)).mean().item()
    negatives = sigmoid_loss(image, text, 20.0, -10.0, reduction="batch").item() - positives
    assert abs(positives - 9.98) < 0.03  # its standard deviation over draws is 0.02
    assert round(negatives, 2) == 0.41


def test_the_bias_is_added():
    """As printed in the paper the bias has the other sign: with it every negative pair starts on the wrong side."""
    image, text = features(64, 32, count=2)
    assert sigmoid_loss(image, text, 20.0, 10.0) > 50 * sigmoid_loss(image, text, 20.0, -10.0)


def test_the_bias_alone_sets_both_slopes():
    """Two orthogonal pairs: every logit is known, so is every term."""
    x = torch.eye(2, dtype=torch.float64)
    expected = (2 * math.log1p(math.exp(-10)) + 2 * math.log1p(math.exp(-10))) / 4
    assert abs(sigmoid_loss(x, x, 20.0, -10.0).item() - expected) < 1e-15


def test_the_same_bits_for_the_same_chunk_size():
    inputs = [*features(300, 16, torch.float32, count=2), *numbers(20.0, -10.0, dtype=torch.float32)]
    for loss, given in ((sigmoid_loss, inputs), (clip_loss, inputs[:3])):
        runs = [(value, *gradients(value, given)) for value in (loss(*given, chunk_size=70) for _ in range(3))]
        assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("loss", [clip_loss, sigmoid_loss])
def test_memory_is_a_few_squares_and_copies_of_the_features(loss, monkeypatch):
    batch, d, side = 256, 4, 32
    image, text, *scalars = [*features(batch, d, torch.float32, count=2), *numbers(20.0, -10.0, dtype=torch.float32)]
    given = [image, text, *scalars][: 4 if loss is sigmoid_loss else 3]
    copies, square, logits = 6 * image.nbytes + 40 * 4 * batch, 3 * 4 * side**2, 4 * batch**2

    def peak(**options) -> int:
        return peak_bytes(lambda: loss(*given, **options).backward(), given)

    assert peak(chunk_size=side) < copies + square < logits / 3
    assert peak(chunk_size=batch) > logits
    monkeypatch.setitem(tiles_of.TILE_BYTES, "cpu", square // 3)
    monkeypatch.setattr(tiles_of, "KEEP_BYTES", logits - 1)
    assert peak() < copies + square
    monkeypatch.setattr(tiles_of, "KEEP_BYTES", logits)
    assert (peak() > logits) == (loss is clip_loss)


class Products(TorchDispatchMode):
    """Counts multiplications of two matrices."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.__name__.startswith(("addmm", "mm"))
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(
    ("options", "clip", "sigmoid"),
    [({}, 3, 3), ({"chunk_size": B}, 3, 3), ({"chunk_size": B // 2 + 1}, 4 * 4, 3 * 4)],
)
def test_products_are_as_many_as_needed(options, clip, sigmoid):
    image, text = features(count=2)
    squares = sigmoid // 3
    for loss, numbers_of, expected in ((clip_loss, (20.0,), clip), (sigmoid_loss, (20.0, -10.0), sigmoid)):
        with Products() as products:
            loss(image.detach(), text.detach(), *numbers_of, **options)
        assert products.count == squares
        with Products() as products:
            loss(image, text, *numbers_of, **options).backward()
        assert products.count == expected


def test_kept_logits_change_no_bit(monkeypatch):
    inputs = [*features(90, 8, torch.float32, count=2), *numbers(20.0, dtype=torch.float32)]
    monkeypatch.setitem(tiles_of.TILE_BYTES, "cpu", 4 * 30**2)
    kept = clip_loss(*inputs)
    computed_twice = clip_loss(*inputs, chunk_size=30)
    assert torch.equal(kept, computed_twice)
    assert all(map(torch.equal, gradients(kept, inputs), gradients(computed_twice, inputs)))


def test_a_batch_is_cut_into_equal_parts_within_the_budget():
    like = torch.empty(1)
    most = math.isqrt(tiles_of.TILE_BYTES["cpu"] // 4)
    assert tiles_of.tile_side(None, most, like) == most
    assert tiles_of.tile_side(None, most + 1, like) == most // 2 + 1
    assert tiles_of.tile_side(None, 2, like) == 2
    assert tiles_of.tile_side(7, 5, like) == 5
    assert tiles_of.tile_side(None, 10**6, like.double()) <= most / math.sqrt(2)
