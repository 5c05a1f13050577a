"""The ledger of IsoCLIP: what its paper, its code and its critics say, beside what `measure_isoclip` found."""

from __future__ import annotations

import math

import torch

from workbench.claims import Claim, to_json
from workbench.evaluation import bootstrap
from workbench.intra_modal import CHOSEN, SHARES
from workbench.models.registry import load_model
from workbench.spectral import decompose

ISO, CTG, HERZOG = "arXiv 2603.19862", "arXiv 2502.04263", "arXiv 2603.16100"
BY_SHARES, BY_LABELS = f"IsoCLIP, {SHARES}", f"IsoCLIP, {CHOSEN}"
PICTURES = (*(f"pictures by {by}" for by in ("object", "colour", "shape", "surface")), "stamps by folder")
# A band chosen by shape is asked about shapes only.
BANDED = (*((by, SHARES) for by in ("object", "colour", "shape")), ("shape", "chosen by shape"))
CAPTIONS = (
    *(f"captions by {by}" for by in ("object", "colour", "shape")),
    "stamp captions by folder",
    "names and definitions",
)


def claims(rows: dict) -> list[dict]:
    found = [
        *exact(),
        planted(rows),
        *(
            against_plain(rows, "I6", "image–image", 4.2, task, name)
            for task in PICTURES
            for name in (BY_SHARES, BY_LABELS)
        ),
        *(
            against_plain(rows, "I7", "text–text", 4.2, task, name)
            for task in CAPTIONS
            for name in (BY_SHARES, BY_LABELS)
        ),
        *(middle(rows, task) for task in (*PICTURES, *CAPTIONS)),
        *against_inversion(rows),
        *cost(rows),
        *overlap(rows),
        *class_means(rows),
        across(rows),
        *(class_names(rows, task) for task in PICTURES),
        *(rival(rows, task, name) for name in ("one projector", "components") for task in (*PICTURES, *CAPTIONS)),
        *(variant(rows, task, name) for name in VARIANTS for task in (*PICTURES, *CAPTIONS)),
        text_and_pictures(rows),
        *needs_weights(),
    ]
    return [to_json(claim) for claim in found]


# Identities -------------------------------------------------------------------------------------------------------------


def exact() -> list[Claim]:
    """The paper's algebra on the projectors of scenes-clip, in float64; errors relative to the largest number."""
    model = load_model("scenes-clip", device="cpu")
    spectrum = decompose(model.image_projector.weight.double(), model.text_projector.weight.double())
    W_i, W_t = spectrum.image.matrix, spectrum.text.matrix
    gap, radial = gradient(W_i, W_t)
    banded = spectrum.band(10, 5)
    inside = (spectrum.U[:, 10:-5] * spectrum.S[10:-5]) @ spectrum.Vh[10:-5]
    kept = float((banded[0].T @ banded[1] - inside).abs().max() / inside.abs().max())
    added = sum(part.numel() for part in banded) - W_i.numel() - W_t.numel()
    one = lambda key, statement, value: claim(  # noqa: E731
        key, ISO, statement, 0.0, value, None, (value,), "scenes-clip's projectors", "exact", margin=1e-10, n=1
    )
    return [
        one("I1", "the gradient of the contrastive loss is built of Psi g and Psi_i f alone", gap),
        one("I2", "Psi_i only normalises: the gradient has no part along f", radial),
        one("I3", "filtering both sides gives the band of Psi", kept),
        one("I4", "no inference cost: parameters that a band adds", float(added)),
    ]


def gradient(W_i: torch.Tensor, W_t: torch.Tensor, temperature: float = 0.07) -> tuple[float, float]:
    """Largest error of the closed form against autograd, and the radial part, for one picture among 32 random captions."""
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(W_i.shape[1], generator=generator, dtype=torch.float64, requires_grad=True)
    g = torch.randn(32, W_t.shape[1], generator=generator, dtype=torch.float64)
    post, texts = W_i @ f, g @ W_t.T
    n, m = post.norm(), texts.norm(dim=1)
    s = texts @ post / (n * m)
    (-torch.log_softmax(s / temperature, 0)[0]).backward()
    with torch.no_grad():
        weights = torch.softmax(s / temperature, 0)
        weights[0] -= 1
        own = W_i.T @ (W_i @ f) / n**2
        each = (g / m[:, None]) @ (W_t.T @ W_i) / n - s[:, None] * own
        closed = (weights[:, None] / temperature * each).sum(0)
        scale = f.grad.abs().max()
        return float((closed - f.grad).abs().max() / scale), float(abs(f @ f.grad) / (f.norm() * f.grad.norm()))


# Directions -------------------------------------------------------------------------------------------------------------


def claim(
    key, paper, statement, expected, measured, interval, seeds, scale, kind="direction", margin=0.0, n=0
) -> Claim:
    return Claim(key, paper, statement, kind, expected, measured, n, tuple(seeds), interval, scale, margin)


def direction(key: str, paper: str, statement: str, expected: float, found: dict, scale: str, seeds=None) -> Claim:
    """A claim about the sign of a difference, given as stored: in fractions."""
    seeds = found["by_seed"] if seeds is None else seeds
    ends = (found["low"], found["high"])
    return claim(key, paper, statement, expected, found["mean"], ends, seeds, scale, n=found["n"])


def of_readout(rows: dict, task: str, name: str) -> dict:
    for row in rows[task]["table"]["rows"]:
        if row["name"] == name:
            return {**row["difference"], "by_seed": row["by_seed"]}
    raise KeyError(f"{task} has no readout {name}")


def planted(rows: dict) -> Claim:
    found = rows["planted"]["middle_minus_best_other"]
    return direction(
        "I5", ISO, "planted middle band: mAP above no filtering, top and bottom", 0.65, found, "planted, d 32"
    )


def middle(rows: dict, task: str) -> Claim:
    parts = rows[task]["parts"]
    found = {**parts["middle_minus_best_other"], "by_seed": parts["by_seed"]}
    return direction(
        "I8", ISO, f"the middle band has the highest mAP (here against {parts['other']})", 0.2, found, task
    )


def against_plain(rows: dict, key: str, what: str, expected: float, task: str, name: str) -> Claim:
    statement = f"{what} mAP: a band ({name.removeprefix('IsoCLIP, ')}) minus plain"
    return direction(key, ISO, statement, expected / 100, of_readout(rows, task, name), task)


def against_inversion(rows: dict) -> list[Claim]:
    found = []
    for row, paper in (("oti by object", 2.1), ("oti by shape", 2.1), ("ovi by shape", 1.3)):
        method = rows[row]["method"]
        bands = ((SHARES, "shares_minus_inversion"), ("chosen by shape", "band_minus_inversion"))
        for name, stored in bands if row.endswith("by shape") else bands[:1]:
            statement = f"mAP: a band ({name}) minus {method}, {rows[row]['steps']} steps"
            found.append(direction("I9", ISO, statement, paper / 100, rows[row][stored], row))
        statement = f"mAP: {method} minus plain"
        found.append(direction("I10", CTG, statement, 0.021, rows[row]["gain_of_inversion"], row))
    return found


def cost(rows: dict) -> list[Claim]:
    """Ratios of the peers as natural logarithms, so that "slower" is a sign."""
    stored = rows["latency"]["folded / plain"]
    ends, scale = (stored["low"], stored["high"]), "scenes-clip, one core"
    statement = "no inference cost: time with a band folded in over time without"
    same = claim(
        "I4", ISO, statement, 1.0, stored["mean"], ends, (stored["mean"],), scale, "equivalence", 0.05, stored["n"]
    )
    found = [same]
    for key, method, over in (("I11", "OTI", "OTI / encode"), ("I12", "OVI", "OVI / encode")):
        stored = rows["latency"][over]
        logs = {key: math.log(stored[key]) for key in ("mean", "low", "high")}
        how = "" if method == "OTI" else ", 100 steps timed, times ten"
        statement = f"{method} costs {stored['mean']:.0f} times what encoding costs, per query{how}: ln of that"
        found.append(direction(key, ISO, statement, 1.0, {**logs, "n": stored["n"]}, scale, [logs["mean"]]))
    return found


VARIANTS = {
    "soft edges": (
        "I22",
        -0.0009,
        "soft edges gain a little: hard band minus soft",
    ),
    "a tenth kept": ("I23", 1.0, "a tenth of the rest cancels the gain: band minus that"),
}


def variant(rows: dict, task: str, name: str) -> Claim:
    """Of an independent rerun that a machine wrote up."""
    key, expected, statement = VARIANTS[name]
    return direction(
        key, "a rerun of arXiv 2603.19862", f"mAP: {statement}", expected, rows[task]["against"][name], task
    )


def text_and_pictures(rows: dict) -> Claim:
    """The authors leave out 20 to 50 % of the directions at the top for pictures, and at most 4 % for text."""
    minus = [
        (text[0] - picture[0]) / 64
        for by in ("object", "colour", "shape")
        for text, picture in zip(rows[f"captions by {by}"]["chosen"], rows[f"pictures by {by}"]["chosen"], strict=True)
    ]
    found = bootstrap(minus)
    stored = {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n, "by_seed": minus}
    statement = "text needs a smaller k_top than pictures: difference of the chosen shares of r"
    return direction("I24", ISO, statement, -0.25, stored, "scenes-clip, 3 labels × 3 draws")


def overlap(rows: dict) -> list[Claim]:
    statement = "overlap of pairs of one and of two labels: band ({}) minus plain"
    found = {(by, name): rows[f"overlap by {by}"]["difference"][name] for by, name in BANDED}
    return banded("I13", statement, -0.169, {key: {**each, "by_seed": [each["mean"]]} for key, each in found.items()})


def class_means(rows: dict) -> list[Claim]:
    statement = "nearest class mean: band ({}) minus plain"
    found = {(by, name): rows[f"class means by {by}"]["bands"][name]["difference"] for by, name in BANDED}
    return banded("I14", statement, 1.0, found)


def banded(key: str, statement: str, expected: float, found: dict[tuple[str, str], dict]) -> list[Claim]:
    return [
        direction(key, ISO, statement.format(name), expected, each, f"pictures by {by}")
        for (by, name), each in found.items()
    ]


def across(rows: dict) -> Claim:
    """Secondary abstracts say "slightly": within two points of one point lost."""
    found = rows["across"][SHARES]["difference"]
    statement, ends = (
        f"caption to picture R@1 drops slightly: both sides banded ({SHARES}) minus plain",
        (found["low"], found["high"]),
    )
    return claim(
        "I15",
        ISO,
        statement,
        -0.01,
        found["mean"],
        ends,
        found["by_seed"],
        "500 scenes",
        "equivalence",
        0.02,
        found["n"],
    )


def class_names(rows: dict, task: str) -> Claim:
    found = of_readout(rows, task, "class-name PCA")
    return direction("I16", HERZOG, "image–image mAP: class-name PCA minus plain", 0.074, found, task)


def rival(rows: dict, task: str, name: str) -> Claim:
    """Our own question: does it take both projectors, and a band, where a simpler rival has the same labels to choose by?"""
    found = rows[task]["against"][name]
    what = {"one projector": "one projector's best band", "components": "components taken out"}[name]
    statement = f"mAP: chosen band minus {what}, by the same labels"
    return direction("I17", "this workbench", statement, 1.0, found, task)


# What only real weights can say -----------------------------------------------------------------------------------------

BACKBONES = {
    "image–image, 13 sets": {
        "OpenAI B/32": 45.1,
        "OpenAI B/16": 52.8,
        "OpenAI L/14": 60.7,
        "OpenCLIP B/16": 58.6,
        "PE-Core B/16": 62.8,
    },
    "text–text, 3 sets": {"OpenAI B/32": 41.9, "OpenAI B/16": 41.2, "OpenAI L/14": 43.0, "OpenCLIP B/16": 45.3},
}


def needs_weights() -> list[Claim]:
    """Averages over the paper's data sets, which are not here."""
    missing = lambda key, statement, expected, scale: claim(  # noqa: E731
        key, ISO, statement, expected, None, None, (), scale, "equivalence", margin=0.005
    )
    averages = [
        missing("I19", f"mean mAP with the authors' band, {task}", value / 100, name)
        for task, values in BACKBONES.items()
        for name, value in values.items()
    ]
    flat = claim(
        "I18",
        ISO,
        "a flat middle: σ at index 150 over σ at 400, read off a plot",
        1.31,
        None,
        None,
        (),
        "OpenAI B/32",
        "exact",
        margin=0.1,
    )
    dogs = missing("I20", "overlap IoU of dog–dog and dog–cat pairs with the band (plain: 0.454)", 0.285, "OpenAI CLIP")
    return [*averages, flat, dogs]
