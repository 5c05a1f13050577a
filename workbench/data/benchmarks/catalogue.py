"""Which benchmarks there are, what each needs in the data folder, who publishes it and on what terms."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.data.benchmarks import aro, captions, imagecode, order, quads, sugar, valse, whatsup
from workbench.data.benchmarks.reading import data_folder, lacking, must_be_there
from workbench.data.benchmarks.record import Benchmark
from workbench.records import Record, Table


@dataclass(frozen=True)
class Published:
    """One benchmark: `needs` below the data folder (see `reading.lacking`), what to `put` there, n items published."""

    name: str
    needs: tuple[str, ...]
    put: str
    licence: str
    n: int
    read: Callable[..., Benchmark]


_COCO = "pictures under Flickr's terms"
_DRIVE = "linked from github.com/mertyg/vision-language-models-are-bows"
_UP = "linked from github.com/amitakamath/whatsup_vlms"


def _aro(half: str, n: int) -> Published:
    needs = (f"aro/visual_genome_{half}.json", "aro/images/")
    put = f"visual_genome_{half}.json and the unpacked vgr_vga_images.zip, {_DRIVE},"
    return Published(f"aro-{half}", needs, put, "MIT, pictures CC BY 4.0", n, partial(aro.read_aro, half))


def _split(of: str) -> tuple[tuple[str, ...], str, str]:
    needs = (f"{of}/{captions.FILES[of]} | {of}/{captions.KARPATHY[of]}",)
    if of == "coco":
        where = "coco_karpathy_test.json or Karpathy's dataset_coco.json, and COCO's val2014 of cocodataset.org,"
        return (*needs, "coco/val2014/"), where, f"captions CC BY 4.0, {_COCO}"
    where = "flickr30k_test.json or Karpathy's dataset_flickr30k.json, and the pictures, on request from shannon.cs.illinois.edu,"
    return (*needs, "flickr30k/flickr30k-images/"), where, "research only, on request"


def _order(name: str, of: str, n: int) -> Published:
    return Published(name, *_split(of), n, partial(order.read_order, of))


def _captions(of: str, n: int) -> Published:
    return Published(of, *_split(of), n, partial(captions.read_captions, of))


def _controlled(of: str, n: int) -> Published:
    listed, pictures = whatsup.CONTROLLED[of]
    needs = (f"whatsup/{listed}", f"whatsup/{pictures}/")
    put = f"{listed} and the unpacked {pictures}.tar.gz, {_UP},"
    return Published(f"whatsup-{of}", needs, put, "MIT", n, partial(whatsup.read_controlled, of))


def _questions(of: str, n: int) -> Published:
    listed, places = whatsup.QUESTIONS[of]
    needs = (f"whatsup/{listed}", " | ".join(f"{place}/" for place in places))
    terms = _COCO if of.startswith("coco") else "pictures CC BY 4.0"
    return Published(
        f"whatsup-{of}",
        needs,
        f"{listed} and its pictures, {_UP},",
        f"MIT, {terms}",
        n,
        partial(whatsup.read_questions, of),
    )


def _quads(name: str, put: str, licence: str, n: int, read) -> Published:
    ways = ("**/*.parquet", "**/*.arrow", *quads.PLAIN)
    return Published(name, (" | ".join(f"{name}/{way}" for way in ways),), put, licence, n, read)


BENCHMARKS = {
    each.name: each
    for each in (
        Published("sugarcrepe", sugar.NEEDS, sugar.PUT, f"MIT, {_COCO}", 7511, sugar.read_sugarcrepe),
        Published(
            "sugarcrepe++",
            sugar.NEEDS_PP,
            "the five files of github.com/Sri-Harsha/scpp (data/) and the pictures of COCO val2017",
            f"MIT, {_COCO}",
            4757,
            sugar.read_sugarcrepe_pp,
        ),
        _aro("relation", 23937),
        _aro("attribution", 28748),
        _order("aro-coco-order", "coco", 25010),
        _order("aro-flickr-order", "flickr30k", 5000),
        _quads(
            "winoground",
            "examples.jsonl with the unpacked images.zip, or the saved data set, of huggingface.co/datasets/facebook/winoground",
            "research only, behind a form, not to be passed on",
            400,
            quads.read_winoground,
        ),
        _quads(
            "bivlc",
            "the Parquet files of huggingface.co/datasets/imirandam/BiVLC",
            f"MIT, {_COCO}",
            2933,
            quads.read_bivlc,
        ),
        _controlled("a", 412),
        _controlled("b", 408),
        _questions("coco-one", 2247),
        _questions("coco-two", 440),
        _questions("vg-one", 1160),
        _questions("vg-two", 291),
        Published(
            "valse",
            (*(f"valse/{piece}.json" for piece in valse.PIECES), "valse/images/ | coco/val2014/ | coco/val2017/"),
            "the eleven files of github.com/Heidelberg-NLP/VALSE (data/) and the pictures of the data sets they name",
            "MIT, pictures under their data sets' terms",
            7702,
            valse.read_valse,
        ),
        Published(
            "imagecode",
            ("imagecode/valid_data.json", " | ".join(f"imagecode/{each}/" for each in imagecode.FOLDERS)),
            "valid_data.json of github.com/McGill-NLP/imagecode (data/) and its unpacked image-sets.zip",
            "MIT, pictures under their data sets' terms",
            2302,
            imagecode.read_imagecode,
        ),
        _captions("coco", 5000),
        _captions("flickr30k", 1000),
    )
}


def load_benchmark(name: str, root: str | Path | None = None, *, seed: int = 0) -> Benchmark:
    """A published benchmark from a folder of the user's (`root` as in `data_folder`), or "csv:<table of your own>".

    Items go by their keys, pictures that are not there are counted. `seed` draws the shuffles of the two Order sets.
    Raises ValueError for an unknown name or a file of another format, FileNotFoundError that names what is missing, where
    it belongs and where it is published.
    """
    if not isinstance(name, str):
        raise TypeError(f"a benchmark's name is a string, not {type(name).__name__}; see list_benchmarks()")
    if name.startswith("csv:"):
        return captions.read_own(Path(name.removeprefix("csv:")).expanduser(), name)
    if name not in BENCHMARKS:
        near = difflib.get_close_matches(name.lower(), BENCHMARKS, n=3)
        meant = f", did you mean {' or '.join(near)}?" if near else ";"
        raise ValueError(f"no benchmark {name!r}{meant} there are {', '.join(BENCHMARKS)} and csv:<path>")
    published, folder = BENCHMARKS[name], data_folder(root)
    must_be_there(folder, name, published.needs, published.put)
    drawn = {"seed": seed} if name.endswith("-order") else {}
    return published.read(folder, name, expected=published.n, **drawn)


@dataclass(frozen=True)
class Benchmarks(Record):
    """Every known benchmark, and what `root` lacks of it (nothing: ready)."""

    root: str
    lacking: dict[str, tuple[str, ...]]

    @property
    def ready(self) -> tuple[str, ...]:
        return tuple(name for name, missing in self.lacking.items() if not missing)

    def table(self) -> Table:
        header = ("name", "items", "ready", "needs", "terms")
        rows = [
            (name, f"{each.n:,}", _ready(self.lacking[name]), _short(each.needs), each.licence)
            for name, each in BENCHMARKS.items()
        ]
        rows.append(("csv:<path>", "", "", "a table with the columns image and caption", "yours"))
        return Table(f"Benchmarks, looked for in {self.root}", header, tuple(rows))


def _ready(missing: tuple[str, ...]) -> str:
    return f"no, lacks {len(missing)}" if missing else "yes"


def _short(needs: tuple[str, ...]) -> str:
    """Many files of one folder by their number."""
    files = [need for need in needs if need.endswith(".json")]
    if len(files) < 3:
        return ", ".join(need.partition(" | ")[0] for need in needs)
    rest = [need.partition(" | ")[0] for need in needs if need not in files]
    return ", ".join([f"{len(files)} files in {files[0].partition('/')[0]}/", *rest])


def list_benchmarks(root: str | Path | None = None) -> Benchmarks:
    """What is known, what each benchmark needs and whether `root` has it; no file is opened."""
    folder = data_folder(root)
    return Benchmarks(str(folder), {name: tuple(lacking(folder, each.needs)) for name, each in BENCHMARKS.items()})
