"""A run from a configuration file: folders of embeddings in, a head out; alone or under torchrun."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from workbench.aligning.config import AlignConfig
from workbench.aligning.fit import Aligned, align
from workbench.aligning.pairs import matched
from workbench.aligning.plan import plan_alignment
from workbench.files import write_whole
from workbench.models.paired import AlignmentHead
from workbench.models.placement import pick_device

PLACES = ("images", "texts", "out", "kind", "validation", "device")
HEAD, DESCRIPTION = "head.safetensors", "head.json"


def run_job(file: str | Path, *, say: Callable = lambda said: None) -> Aligned:
    """Train what a JSON file describes, and keep the head in its `out` folder.

    `images` and `texts` are folders that `workbench extract --out` wrote (ids.json and one .npy per kind, read as memory
    maps), `kind` "pre" unless it says otherwise, `validation` the share of pictures held out (0.02), `out` the folder of
    checkpoint and head; the other fields are those of `AlignConfig`. `say` is told the memory plan before anything is
    trained, and the result. Under torchrun every process calls this, and the first of them speaks. Raises
    FileNotFoundError, or ValueError for a missing or unknown field, or as `align`.
    """
    stored = _read(Path(file))
    places = {key: stored.pop(key) for key in PLACES if key in stored}
    if missing := [key for key in ("images", "texts", "out") if key not in places]:
        raise ValueError(f"{file} has no {missing[0]!r}; give the folders images, texts and out")
    config = AlignConfig.from_json(stored)
    kind, device = places.get("kind", "pre"), places.get("device", "cpu")
    pairs = matched(
        _opened(places["images"], kind), _opened(places["texts"], kind), kind=kind, captions=config.captions
    )
    share = places.get("validation", 0.02)
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"validation={share!r} in {file}; give the share of pictures held out, such as 0.02")
    kept, held = pairs.split(share, config.seed)
    with _in_a_group(device) as (first, device):
        if first:
            say(plan_alignment(len(kept), *pairs.widths, config, itemsize=pairs.images.dtype.itemsize))
        found = align(kept, config, validation=held, folder=places["out"], device=device)
        if first:
            save_head(found, places["out"], pairs.widths)
            say(f"{found}\nhead in {places['out']}")
    return found


def save_head(found: Aligned, folder: str | Path, widths: tuple[int, int]) -> None:
    """head.safetensors and head.json, which `load_head` reads."""
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous() for key, value in found.head.state_dict().items()}
    write_whole(Path(folder) / HEAD, save(state))
    described = {"config": found.config.to_json(), "widths": list(widths), "recalls": found.recalls}
    write_whole(Path(folder) / DESCRIPTION, json.dumps(described, indent=1).encode())


def load_head(folder: str | Path) -> AlignmentHead:
    """A head that `save_head` wrote, for `pair(image_tower, text_tower, head)`. Raises FileNotFoundError, or ValueError for a
    folder whose two files do not belong together."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder).expanduser()
    described = _read(folder / DESCRIPTION)
    if missing := {"config", "widths"} - described.keys():
        raise ValueError(f"{folder / DESCRIPTION} has no {min(missing)!r}; give a folder that `save_head` wrote")
    head = AlignConfig.from_json(described["config"]).build(*described["widths"])
    try:
        head.load_state_dict(load_file(folder / HEAD))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / HEAD} does not fit {DESCRIPTION} beside it: {error}") from error
    return head


def _read(file: Path) -> dict:
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; give the path of a JSON file")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no text, too
        raise ValueError(f"{file} is no JSON ({error}); mend it there") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds a {type(found).__name__}; give an object of names and values")
    return found


def _opened(folder: str, kind: str):
    from workbench.extract.result import Embeddings

    place = Path(folder).expanduser()
    if not (place / "ids.json").is_file() or not (place / f"{kind}.npy").is_file():
        raise FileNotFoundError(
            f"{place} lacks ids.json or {kind}.npy; write it with `python -m workbench extract … --kinds {kind} --out {place}`"
        )
    ids = tuple(json.loads((place / "ids.json").read_text(encoding="utf-8")))
    rows = np.load(place / f"{kind}.npy", mmap_mode="r")
    if len(ids) != len(rows):
        raise ValueError(f"{place}: {len(ids)} ids but {kind}.npy has {len(rows)} rows; extract into the folder again")
    return Embeddings(ids, {kind: rows})


@contextmanager
def _in_a_group(device: str) -> Iterator[tuple[bool, str]]:
    """The processes of torchrun, where there are some: whether this is the first, and its device."""
    device = pick_device(device)
    if "RANK" not in os.environ:
        yield True, device
        return
    import torch.distributed as dist

    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield dist.get_rank() == 0, device
        dist.barrier()  # gloo aborts a process whose neighbour has gone while it takes leave
    finally:
        dist.destroy_process_group()
