"""What to encode, from where people keep it: a folder, a table of paths and captions, WebDataset tars, lists.

Every sample has an id, so that pictures and captions are paired by it and never by position. A caption's id is its
picture's id, "#" and a number: "cats/1.jpg#0".
"""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp")
PATH_COLUMNS = ("path", "filepath", "image", "image_path", "file_name", "filename")
CAPTION_COLUMNS = ("caption", "text", "title", "sentence")
TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Sample:
    """A picture in a file (or at `place` = (offset, bytes) of a tar), or a caption. Nothing is read before `read()`."""

    id: str
    path: Path | None = None
    place: tuple[int, int] | None = None
    text: str | None = None

    def read(self) -> bytes:
        """A picture's file as it is stored, or a caption in UTF-8. Raises OSError, or UnicodeError for half a character."""
        if self.text is not None:
            return self.text.encode()
        if self.path.exists() and not self.path.is_file():  # a device or a pipe has no end
            raise OSError(f"{self.path} is no regular file; give the path of a picture")
        if self.place is None:
            return self.path.read_bytes()
        with self.path.open("rb") as tar:
            tar.seek(self.place[0])
            return tar.read(self.place[1])


def read_samples(
    source, *, modality: str = "image", image_column: str | None = None, caption_column: str | None = None
) -> list[Sample]:
    """The pictures ("image") or captions ("text") of a source, in its order.

    `source`: a folder (pictures at any depth, sorted; a caption in a .txt of the same name), a .csv, .tsv or .parquet with a
    column of paths and one of captions (paths relative to the table), a WebDataset .tar (or a pattern such as
    "shards/*.tar"), a list of paths or captions, or a mapping of ids to them (to lists of captions, too). Raises
    FileNotFoundError, TypeError for another source, ValueError for an empty one, a missing column, or an id that comes
    twice.
    """
    if modality not in ("image", "text"):
        raise ValueError(f"modality={modality!r}; choose 'image' or 'text'")
    if isinstance(source, (str, Path)):
        found = _from_place(Path(source).expanduser(), modality, image_column, caption_column)
    elif isinstance(source, Mapping):
        found = _from_mapping(source, modality)
    elif isinstance(source, Iterable):
        found = [_listed(i, item, modality) for i, item in enumerate(source)]
    else:
        raise TypeError(f"{type(source).__name__} is no source; give a folder, a table, a tar, a list or a mapping")
    if not found:
        what = "pictures" if modality == "image" else "captions"
        raise ValueError(f"no {what} in {str(source)[:200]!r}; check the place, or the other modality")
    return _each_once(found)


def _from_place(path: Path, modality: str, image_column: str | None, caption_column: str | None) -> list[Sample]:
    if path.is_dir():
        return _from_folder(path, modality)
    if "*" in path.name:  # keys may begin anew in each shard
        tars = sorted(path.parent.glob(path.name))
        return [replace(each, id=f"{tar.stem}/{each.id}") for tar in tars for each in _from_tar(tar, modality)]
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}; give a folder, a .csv, .tsv or .parquet, or a .tar")
    if path.suffix.lower() in TABLES:
        return _from_table(path, modality, image_column, caption_column)
    if path.suffix.lower() == ".tar":
        return _from_tar(path, modality)
    raise ValueError(
        f"{path.name} is none of {', '.join(TABLES)}, .tar; give one of those, a folder, or a list of paths "
        "(unpack a compressed tar first: its members have no fixed place)"
    )


def _from_folder(folder: Path, modality: str) -> list[Sample]:
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS and path.is_file())
    named = [(path.relative_to(folder).as_posix(), path) for path in pictures]
    if modality == "image":
        return [Sample(name, path) for name, path in named]
    beside = [(name, path.with_suffix(".txt")) for name, path in named]
    return [Sample(f"{name}#0", text=_text(txt.read_bytes(), txt.name)) for name, txt in beside if txt.is_file()]


def _from_mapping(source: Mapping, modality: str) -> list[Sample]:
    if modality == "image":
        return [Sample(str(name), _as_path(path)) for name, path in source.items()]
    listed = {str(name): texts if isinstance(texts, (list, tuple)) else [texts] for name, texts in source.items()}
    return [
        Sample(f"{name}#{k}", text=_as_text(text)) for name, texts in listed.items() for k, text in enumerate(texts)
    ]


def _listed(i: int, item, modality: str) -> Sample:
    if isinstance(item, Sample):
        return item
    if modality == "image":
        return Sample(str(item), _as_path(item))
    return Sample(str(i), text=_as_text(item))


def _as_path(item) -> Path:
    if not isinstance(item, (str, Path)):
        raise TypeError(f"{type(item).__name__} is no path; save the picture and give its file's path")
    return Path(item).expanduser()


def _as_text(item) -> str:
    if not isinstance(item, str):
        raise TypeError(f"a caption is text, not {type(item).__name__} {item!r:.80}")
    return item


# Tables ----------------------------------------------------------------------------------------------------------------


def _from_table(path: Path, modality: str, image_column: str | None, caption_column: str | None) -> list[Sample]:
    table = _Parquet(path) if path.suffix.lower() == ".parquet" else _Csv(path)
    names = table.read(_column(path, table.columns, image_column, PATH_COLUMNS, "image_column"))
    for row, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise ValueError(
                f"row {row + 1} of {path.name} names no picture, but {name!r}; fill it in, or leave the row out"
            )
    if modality == "image":
        return [Sample(name, path.parent / name) for name in dict.fromkeys(names)]
    texts = table.read(_column(path, table.columns, caption_column, CAPTION_COLUMNS, "caption_column"))
    seen, found = {}, []
    for name, text in zip(names, texts, strict=True):
        k = seen[name] = seen.get(name, -1) + 1
        found.append(Sample(f"{name}#{k}", text=text if isinstance(text, str) else ""))  # an empty one is reported
    return found


class _Csv:
    """A .csv or .tsv with a header: `columns`, and one of them at a time."""

    def __init__(self, path: Path):
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, delimiter=delimiter, strict=True)
                self.rows, self.columns = list(reader), tuple(reader.fieldnames or ())
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} is no table that can be read ({error}); save it as UTF-8 CSV") from error
        short = next((i for i, row in enumerate(self.rows) if None in row or None in row.values()), None)
        if short is not None:
            raise ValueError(
                f"row {short + 2} of {path.name} has another number of fields than the header; mend or quote it"
            )

    def read(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]


class _Parquet:
    """A .parquet: `columns`, and one of them at a time, for the others may hold whole pictures."""

    def __init__(self, path: Path):
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise ImportError(
                "reading Parquet needs pyarrow: pip install pyarrow (or save the table as CSV)"
            ) from error
        try:
            self.file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are both
            raise ValueError(f"{path.name} is no Parquet file that can be read ({error}); write it again") from error
        self.columns = tuple(self.file.schema_arrow.names)

    def read(self, column: str) -> list:
        return self.file.read(columns=[column]).column(0).to_pylist()


def _column(path: Path, columns: tuple[str, ...], wanted: str | None, usual: tuple[str, ...], option: str) -> str:
    name = wanted if wanted is not None else next((name for name in usual if name in columns), None)
    if name not in columns:
        raise ValueError(
            f"{path.name} has the columns {', '.join(columns) or 'none'}; name one with read_samples(…, {option}=) "
            f"(looked for: {wanted or ', '.join(usual)})"
        )
    return name


# WebDataset ------------------------------------------------------------------------------------------------------------


def _from_tar(path: Path, modality: str) -> list[Sample]:
    """Members that share a name up to its first dot belong together: 0001.jpg, 0001.txt or 0001.json with a "caption"."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = [(member, *_key(member.name)) for member in tar if member.isfile()]
            if modality == "image":
                found = [(member, key) for member, key, ending in members if ending in PICTURE_ENDINGS]
                return [Sample(key, path, (member.offset_data, member.size)) for member, key in found]
            texts = [
                (key, _caption(tar.extractfile(member).read(), member.name, ending))
                for member, key, ending in members
                if ending in (".txt", ".json")
            ]
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no whole, uncompressed tar ({error}); copy it again, or unpack it") from error
    return [Sample(f"{key}#0", text=text) for key, text in dict(each for each in texts if each[1] is not None).items()]


def _key(name: str) -> tuple[str, str]:
    folder, _, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    return f"{folder}/{stem}".removeprefix("./").lstrip("/"), f"{dot}{ending}".lower()


def _caption(raw: bytes, name: str, ending: str) -> str | None:
    text = _text(raw, name)
    if ending == ".txt":
        return text
    try:
        caption = json.loads(text).get("caption")
        return caption if isinstance(caption, str | None) else ""  # an empty one is reported
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{name} is no JSON object ({error}); WebDataset keeps a 'caption' in one") from error


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 ({error}); save it again") from error


def _each_once(samples: list[Sample]) -> list[Sample]:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise ValueError(f"the id {sample.id!r} comes twice; give each sample its own, or leave one out")
        seen.add(sample.id)
    return samples
