"""Measure IsoCLIP's bands, the baselines of a fair test and the inversion peers on the models that ship.

    apt-get install tuxpaint-stamps-default
    python -m recipes.measure_isoclip           # about 25 minutes on one core; resumes by row
    python -m recipes.measure_isoclip oti       # the rows whose names begin so

scenes-clip on drawn scenes: three draws of 1,000 items to choose on and 1,000 others to judge on, for each thing that the same
pictures (and captions) may be looked up by. lite2-minilm on stamps by folder and on names and definitions of ImageNet's
classes: one split, and three heads trained from three seeds. The same question along training and for two more seeds of
scenes-clip, from `recipes/scenes_clip.py`. OTI and OVI, cross-modal retrieval, nearest class means and overlap on scenes-clip.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recipes.align_prototypes import class_embeddings
from recipes.files import sha256, write_json
from recipes.isoclip_claims import claims
from recipes.measure_scenes import checkpoint
from recipes.measure_stamps import heads
from recipes.scenes_clip import RUNS, model_folder, run_folder
from workbench import paths
from workbench.data.labelled import Labelled, class_captions, scene_captions, scene_pictures, stamp_folders
from workbench.data.planted import planted
from workbench.data.prototypes import class_texts
from workbench.data.scenes import draw, scenes
from workbench.data.scenes.world import COLOURS, SHAPES, Thing, held_out
from workbench.evaluation import bootstrap, label_precisions, nearest_class_mean, paired_difference, retrieval_ranks
from workbench.intra_modal import CHOSEN, RESULT, SHARES, Features, IntraModal, encoded, measure_features, named_bands
from workbench.inversion import oti, ovi
from workbench.models.dual_encoder import DualEncoder
from workbench.models.folding import fold
from workbench.models.registry import load_model
from workbench.spectral import (
    NONE,
    Band,
    ProjectorSpectrum,
    band_sweep,
    decompose,
    overlap,
    pooled,
    stacked,
    three_bands,
    usual_band,
    windows,
)

N, SEEDS, QUERIES, ROUNDS = 1000, (0, 1, 2), 256, 7
CLASS_NAMES = [Thing(shape, colour).phrase for colour in COLOURS for shape in SHAPES if not held_out(colour, shape)]
SHAPE_BAND = (7, 3)  # what two of three choices by shape find; used where one band for all seeds is needed


def spectrum_of(model: DualEncoder) -> ProjectorSpectrum:
    return decompose(model.image_projector, model.text_projector)


# Tables ---------------------------------------------------------------------------------------------------------------


def on_scenes(make: Callable[..., Labelled], by: str, modality: str) -> dict:
    """Three draws of choosing and judging sets, pooled; and what each part of the spectrum carries."""
    model = load_model("scenes-clip", device="cpu")
    spectrum, anchors = spectrum_of(model), model.encode_text(CLASS_NAMES).post
    named, found, profile = named_bands(model.card.source, spectrum, modality), [], []
    named = {**named, "chosen by shape": Band(*SHAPE_BAND)}
    parts = {**three_bands(spectrum), **windows(spectrum)}
    for seed in SEEDS:
        sets = [make(N, 100 * (seed + 1) + part, by) for part in range(2)]
        sides = [Features(encoded(model, each, modality), each.labels, each.groups) for each in sets]
        title = f"scenes-clip, {sets[0].name}"
        found.append(measure_features(spectrum, *sides, named, modality=modality, anchors=anchors, title=title))
        profile.append(in_parts(spectrum, sides[1], modality, parts))
    return row(found, pooled([each.readouts for each in found])) | {"parts": of_parts(parts, profile)}


def on_pair(choosing: Labelled, judging: Labelled, modality: str) -> dict:
    """lite2-minilm with three heads; the towers, and so `pre`, are the same."""
    model = load_model("lite2-minilm", device="cpu")
    sides = [Features(encoded(model, each, modality), each.labels) for each in (choosing, judging)]
    names, found, profile = model.encode_text(class_texts()["name"]).pre, [], []
    for head in heads(model, list(class_embeddings().values())):
        spectrum = decompose(head.image.projector(), head.text.projector())
        with torch.no_grad():
            anchors = head.text(names)
        named, title = named_bands("", spectrum, modality), f"lite2-minilm, {judging.name}"
        found.append(measure_features(spectrum, *sides, named, modality=modality, anchors=anchors, title=title))
        parts = {**three_bands(spectrum), **windows(spectrum)}
        profile.append(in_parts(spectrum, sides[1], modality, parts))
    return row(found, stacked([each.readouts for each in found])) | {"parts": of_parts(parts, profile, same_items=True)}


def in_parts(spectrum: ProjectorSpectrum, side: Features, modality: str, parts: dict) -> np.ndarray:
    bands = tuple(parts.values())
    return band_sweep(spectrum, side.pre, side.labels, modality=modality, bands=bands).precisions


def row(found: list[IntraModal], table) -> dict:
    ours = f"IsoCLIP, {CHOSEN}"
    rivals = {
        "one projector": f"one projector, {CHOSEN}",
        "components": f"without top components, {CHOSEN}",
        "soft edges": f"{ours}, soft edges",
        "a tenth kept": f"{ours}, a tenth of the rest kept",
    }
    return {
        "table": table.summary().to_json(),
        "chosen": [list(each.choice.band) for each in found],
        "held_out": [interval(each.choice.held_out) for each in found],
        "against": {
            name: interval(table.difference(ours, rival)) | {"by_seed": list(table.by_seed(ours, rival))}
            for name, rival in rivals.items()
        },
    }


def of_parts(parts: dict, precisions: list[np.ndarray], *, same_items: bool = False) -> dict:
    """Of all draws together, or, where every seed saw the same items, of their mean."""
    together = np.mean(precisions, 0) if same_items else np.concatenate(precisions, 1)
    place = list(parts).index
    other = max(("top", "bottom"), key=lambda name: together[place(name)].mean())
    return {
        "mean": {name: interval(bootstrap(values)) for name, values in zip(parts, together, strict=True)},
        "middle_minus_best_other": interval(bootstrap(together[place("middle")] - together[place(other)])),
        "by_seed": [float((each[place("middle")] - each[place(other)]).mean()) for each in precisions],
        "other": other,
    }


def stamps(captions: bool) -> dict:
    modality = "text" if captions else "image"
    return on_pair(*stamp_folders(captions=captions).halves(), modality)


def definitions() -> dict:
    both, half = class_captions(), np.arange(2000) % 1000 < 500
    return on_pair(both[np.flatnonzero(half)], both[np.flatnonzero(~half)], "text")


# Along training ---------------------------------------------------------------------------------------------------------


def along(config, step: int) -> dict:
    """Where the best band lies after so many steps, by colour and by shape of the same pictures."""
    model = checkpoint(config, step)
    spectrum, found = spectrum_of(model), {}
    for by in ("colour", "shape"):
        sides = [
            (encoded(model, each, "image"), each.labels) for each in (scene_pictures(500, k, by) for k in (900, 901))
        ]
        choice = band_sweep(spectrum, *sides[0]).choose()
        none, chosen = band_sweep(spectrum, *sides[1], bands=(NONE, choice.band)).precisions
        found[by] = {
            "band": list(choice.band),
            "none": interval(bootstrap(none)),
            "gain": interval(paired_difference(chosen, none)),
        }
    return {"run": config.run, "step": step, "r": spectrum.r, "by": found}


# The other measures on scenes-clip ----------------------------------------------------------------------------------------


def inverted(method: str, by: str) -> dict:
    """A slow peer against plain cosines and the band, the same queries in the same gallery, per seed of scenes."""
    model = load_model("scenes-clip", device="cpu")
    spectrum, modality = spectrum_of(model), "image" if method == "OTI" else "text"
    make = scene_pictures if method == "OTI" else scene_captions
    means, seconds, cosines = [], [], []
    for seed in SEEDS:
        data = make(QUERIES, 500 + seed, by)
        pre, own = encoded(model, data, modality), np.arange(len(data))
        gallery = (model.image_projector if method == "OTI" else model.text_projector)(pre)
        run = oti(model, gallery, template="a picture of {}") if method == "OTI" else ovi(model, gallery)
        reader, aps = spectrum.read(pre, modality), {}
        for name, queries, among in (
            ("plain", gallery, gallery),
            (method, run.features, gallery),
            ("band", *(reader.band(*SHAPE_BAND),) * 2),
            (SHARES, *(reader.band(*usual_band(spectrum, modality)),) * 2),
        ):
            aps[name] = label_precisions(queries, among, data.labels, data.labels, own=own)
        means.append(aps)
        seconds.append(run.seconds_per_query)
        cosines.append(float(run.cosine.mean()))
    return {
        "method": method,
        "by": by,
        "steps": run.steps,
        "mean": {name: interval(bootstrap(np.concatenate([each[name] for each in means]))) for name in means[0]},
        "gain_of_inversion": difference([each[method] - each["plain"] for each in means]),
        "band_minus_inversion": difference([each["band"] - each[method] for each in means]),
        "shares_minus_inversion": difference([each[SHARES] - each[method] for each in means]),
        "cosine": cosines,
        "seconds_per_query": seconds,
    }


def latency() -> dict:
    """Seconds of encoding one picture, plain and with folded projectors in turn, and of OTI and OVI per query, batch 64."""
    model = load_model("scenes-clip", device="cpu")
    image, _ = spectrum_of(model).projectors(*SHAPE_BAND)
    folded = fold(model, image=image)
    pixels = [model.preprocess(draw(each, 64)) for each in scenes(64, 900)]
    captions = [each.caption for each in scenes(64, 900)]
    texts, pictures = model.encode_text(captions).post, model.encode_pixels(pixels).post
    ratios = {"OTI / encode": [], "OVI / encode": [], "folded / plain": []}
    for _ in range(
        ROUNDS
    ):  # a shared machine is fast and slow by turns: a ratio's two sides are measured next to each other
        times = [[seconds(partial(each.encode_pixels, pixels)) for each in (model, folded)] for _ in range(20)]
        plain, other = np.median(times, 0)
        ratios["folded / plain"].append(other / plain)
        ratios["OTI / encode"].append(oti(model, pictures, template="a picture of {}").seconds / plain)
        text = np.median([seconds(lambda: model.encode_text(captions, batch_size=64)) for _ in range(10)])
        ratios["OVI / encode"].append(ovi(model, texts, steps=100).seconds * 10 / text)  # linear: bench_inversion.py
    svd = [seconds(lambda: spectrum_of(model).projectors(*SHAPE_BAND)) for _ in range(ROUNDS)]
    return {
        **{name: interval(bootstrap(np.array(found))) for name, found in ratios.items()},
        "svd_seconds": float(np.median(svd)),
        "encode_seconds_per_picture": float(plain / 64),
    }


def seconds(work: Callable) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def across() -> dict:
    """Caption to picture among 500 scenes, R@1, both projectors in a band: what is lost between the modalities."""
    model = load_model("scenes-clip", device="cpu")
    spectrum, found = spectrum_of(model), {}
    for name, band in {SHARES: usual_band(spectrum), "chosen by shape": SHAPE_BAND}.items():
        minus = []
        for seed in SEEDS:
            shown = list({each.contents: each for each in scenes(1000, 700 + seed)}.values())[:500]
            sides = (
                spectrum.read(model.encode_image([draw(each, 64) for each in shown], batch_size=128).pre, "image"),
                spectrum.read(model.encode_text([each.caption for each in shown]).pre, "text"),
            )
            plain, banded = (hits(*(side.band(*each) for side in sides)) for each in (NONE, band))
            minus.append(banded - plain)
        found[name] = {"band": list(band), "difference": difference(minus)}
    return found


def hits(images: Tensor, texts: Tensor) -> np.ndarray:
    return (retrieval_ranks(texts, images, [[k] for k in range(len(texts))]) == 1).double().numpy()


def class_means(by: str) -> dict:
    """Nearest class mean, means of `pre` before the projection as the authors take them; paired over test pictures."""
    model = load_model("scenes-clip", device="cpu")
    spectrum, found = spectrum_of(model), {}
    named = {SHARES: usual_band(spectrum), "chosen by shape": SHAPE_BAND}
    right = {name: [] for name in ("plain", *named)}
    for seed in SEEDS:
        sets = [scene_pictures(N, 1300 + 10 * seed + part, by) for part in range(2)]
        readers = [spectrum.read(encoded(model, each, "image"), "image") for each in sets]
        for name, band in {"plain": NONE, **named}.items():
            train, test = (reader.band(*band) for reader in readers)
            right[name].append(nearest_class_mean(train, sets[0].labels, test, sets[1].labels).right.astype(float))
    for name in named:
        minus = [a - b for a, b in zip(right[name], right["plain"], strict=True)]
        found[name] = {"accuracy": interval(bootstrap(np.concatenate(right[name]))), "difference": difference(minus)}
    return {"by": by, "plain": interval(bootstrap(np.concatenate(right["plain"]))), "bands": found}


def overlaps(by: str) -> dict:
    """IoU of cosines of pairs with one label and with two; the difference over ten draws of 300 pictures."""
    model = load_model("scenes-clip", device="cpu")
    spectrum, found = spectrum_of(model), {}
    named = {"plain": NONE, SHARES: usual_band(spectrum), "chosen by shape": SHAPE_BAND}
    data = scene_pictures(3000, 77, by)
    reader = spectrum.read(encoded(model, data, "image"), "image")
    parts = [slice(start, start + 300) for start in range(0, len(data) - 299, 300)]
    iou = {
        name: [overlap(reader[part].band(*band), data.labels[part], resamples=2).iou for part in parts]
        for name, band in named.items()
    }
    for name in list(named)[1:]:
        found[name] = interval(paired_difference(iou[name], iou["plain"]))
    return {"by": by, "mean": {name: float(np.mean(each)) for name, each in iou.items()}, "difference": found}


def planted_bands() -> dict:
    """Where the method must win: mAP of top, middle and bottom, and of no filtering, over three seeds."""
    found = {name: [] for name in ("none", "top", "middle", "bottom")}
    for seed in SEEDS:
        made = planted(seed=seed)
        spectrum = decompose(made.W_i, made.W_t, rank="numerical")
        r = spectrum.r
        bands = (NONE, (0, r - made.k_top), (made.k_top, made.k_bottom), (r - made.k_bottom, 0))
        for name, values in zip(
            found, band_sweep(spectrum, made.pre, made.labels, bands=bands).precisions, strict=True
        ):
            found[name].append(values)
    best_other = [np.stack([found[name][k] for name in ("none", "top", "bottom")]) for k in range(len(SEEDS))]
    best_other = [each[each.mean(1).argmax()] for each in best_other]
    minus = [middle - other for middle, other in zip(found["middle"], best_other, strict=True)]
    return {
        "mean": {name: interval(bootstrap(np.concatenate(values))) for name, values in found.items()},
        "middle_minus_best_other": difference(minus),
    }


def interval(found) -> dict:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def difference(minus: list[np.ndarray]) -> dict:
    """Of all items together, and in every seed."""
    return interval(bootstrap(np.concatenate(minus))) | {"by_seed": [float(each.mean()) for each in minus]}


# Rows -------------------------------------------------------------------------------------------------------------------


SCENES, PAIR = ("scenes-clip",), ("lite2-minilm",)


def jobs() -> Iterator[tuple[str, tuple[str, ...], Callable[[], dict]]]:
    """Every row: its name, the shipped models it is about, and what makes it."""
    for by in ("object", "colour", "shape", "surface"):
        yield f"pictures by {by}", SCENES, partial(on_scenes, scene_pictures, by, "image")
    for by in ("object", "colour", "shape"):
        yield f"captions by {by}", SCENES, partial(on_scenes, scene_captions, by, "text")
    yield "stamps by folder", PAIR, partial(stamps, captions=False)
    yield "stamp captions by folder", PAIR, partial(stamps, captions=True)
    yield "names and definitions", PAIR, definitions
    for config in RUNS[:3]:
        for step in config.kept:
            yield f"along {config.run}@{step}", SCENES, partial(along, config, step)
    for method, by in (("OTI", "object"), ("OTI", "shape"), ("OVI", "shape")):
        yield f"{method.lower()} by {by}", SCENES, partial(inverted, method, by)
    yield "across", SCENES, across
    for by in ("object", "colour", "shape"):
        yield f"class means by {by}", SCENES, partial(class_means, by)
        yield f"overlap by {by}", SCENES, partial(overlaps, by)
    yield "planted", (), planted_bands
    yield "latency", SCENES, latency


def digests(models: tuple[str, ...] = (*SCENES, *PAIR)) -> dict[str, str]:
    """Of the script, and of the weights that a row is about: a head that is trained again leaves other rows alone."""
    pair = paths.assets() / "models" / "lite2-minilm" / "head.safetensors"
    files = {"scenes-clip": model_folder() / "open_clip_model.safetensors", "lite2-minilm": pair}
    script = Path(__file__)
    return {script.name: sha256(script), **{name: sha256(files[name]) for name in models}}


def main(names: list[str]) -> None:
    """Row by row, all or those whose names begin so; what is done already with these weights and this script stays."""
    torch.set_num_threads(1)
    place, rows = run_folder(RUNS[0]).parent.parent / "isoclip", {}
    for name, models, make in jobs():
        known = digests(models)
        file = place / f"{name.replace(' ', '_')}.json"
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if stored.get("digests") != known and (not names or name.startswith(tuple(names))):
            began = time.monotonic()
            stored = {"digests": known, "row": make()}
            write_json(file, stored)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if stored.get("digests") == known:
            rows[name] = stored["row"]
    missing = [name for name, *_ in jobs() if name not in rows]
    if missing:
        print(f"not assembled yet, to be measured: {', '.join(missing)}")
        return
    result = {
        "title": "IsoCLIP on the models that ship",
        "made_by": "recipes/measure_isoclip.py",
        "digests": {**digests(), "isoclip_claims.py": sha256(Path(__file__).parent / "isoclip_claims.py")},
        "rows": rows,
        "claims": claims(rows),
    }
    write_json(paths.assets() / "results" / RESULT, result)


if __name__ == "__main__":
    main(sys.argv[1:])
