"""Pictures with several captions, for retrieval: COCO and Flickr30k in two published formats, or a table of your own."""

from __future__ import annotations

from pathlib import Path

from workbench.data.benchmarks.items import Captioned
from workbench.data.benchmarks.reading import format_of, inside, looked_up, of_type, read_json, text
from workbench.data.benchmarks.record import Benchmark, Gathering
from workbench.data.samples import TABLES, read_samples

FILES = {"coco": "coco_karpathy_test.json", "flickr30k": "flickr30k_test.json"}
KARPATHY = {"coco": "dataset_coco.json", "flickr30k": "dataset_flickr30k.json"}
EMPTY_OF_SEVERAL = "empty caption, its picture kept with the others"


def read_captions(of: str, folder: Path, name: str, **facts) -> Benchmark:
    """Karpathy's test split of "coco" or "flickr30k"."""
    found = Gathering(name)
    for each, captions in test_split(of, folder):
        _add(found, each, folder / of / each, captions)
    return found.done("retrieval", **facts)


def test_split(of: str, folder: Path) -> list[tuple[str, list[str]]]:
    """Picture (its path below `folder`/`of`) and captions, from the short list of test pictures or from Karpathy's file."""
    short = folder / of / FILES[of]
    if short.is_file():
        with format_of(short, f"the {of} test split", "a list of image, caption[5]"):
            return [_listed(folder / of, entry) for entry in of_type(read_json(short), list, "it")]
    file = folder / of / KARPATHY[of]
    with format_of(file, f"the {of} split", "Karpathy's dict of images with filename, split, sentences"):
        entries = of_type(of_type(read_json(file), dict, "it")["images"], list, "images")
        return [_karpathy(of, folder, entry) for entry in entries if text(entry, "split") == "test"]


def _listed(folder: Path, entry: dict) -> tuple[str, list[str]]:
    captions = entry["caption"]
    captions = [captions] if isinstance(captions, str) else of_type(captions, list, "'caption'")
    return _name(folder, text(entry, "image")), [text(captions, k) for k in range(len(captions))]


def _karpathy(of: str, folder: Path, entry: dict) -> tuple[str, list[str]]:
    below = entry.get("filepath", "flickr30k-images" if of == "flickr30k" else ".")
    captions = [text(each, "raw") for each in of_type(entry["sentences"], list, "sentences")]
    return _name(folder / of, f"{below}/{text(entry, 'filename')}"), captions


def _name(folder: Path, picture: str) -> str:
    return inside(folder, picture).relative_to(folder).as_posix()


def read_own(file: Path, name: str) -> Benchmark:
    """A .csv, .tsv or .parquet with a column of pictures (paths relative to the table) and one of captions, a row each."""
    wanted = f"a table ({', '.join(TABLES)}) with the columns image and caption"
    if file.suffix.lower() not in TABLES:
        raise ValueError(f"{file.name} is none of {', '.join(TABLES)}; give {wanted}")
    if not looked_up(file.is_file):
        raise FileNotFoundError(f"there is no {file}; give csv: and the path of {wanted}")
    found = Gathering(name)
    captions: dict[str, list[str]] = {}
    try:
        texts, pictures = read_samples(file, modality="text"), read_samples(file)
    except ValueError as error:  # what it says before its advice, which is on arguments of read_samples
        raise ValueError(f"{str(error).partition(';')[0]}; give {wanted}, filled in in every row") from error
    for sample in texts:
        captions.setdefault(sample.id.rpartition("#")[0], []).append(sample.text)
    for sample in pictures:
        _add(found, sample.id, sample.path, captions[sample.id])
    return found.done("retrieval")


def _add(found: Gathering, name: str, picture: Path, captions: list[str]) -> None:
    whole = tuple(caption for caption in captions if caption.strip())
    if whole and len(whole) < len(captions):
        found.skipped[EMPTY_OF_SEVERAL] += len(captions) - len(whole)
    found.add(Captioned(name, picture, whole or ("",)))
