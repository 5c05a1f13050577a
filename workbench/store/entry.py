"""One entry as a folder: the data, a manifest that says what they are, and the samples they are of.

`manifest.json` carries its own digest and that of the data; `data.safetensors` (rows of one number or one vector) or
`data.npy` (patch tokens) the numbers; `samples.txt` one digest a line, read only to explain a miss. `verified.json` is
a note of this machine's: the data were read in full when they had this size, time and inode.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from workbench.store.folders import sync_folder
from workbench.store.keys import FORMAT, NUMBERS, ShardKey, canonical_json
from workbench.store.rows import Shard

MANIFEST, SAMPLES, VERIFIED = "manifest.json", "samples.txt", "verified.json"
SAFETENSORS, NPY = "data.safetensors", "data.npy"
DTYPES = {"float32": "F32", "float16": "F16", "bool": "BOOL"}  # NumPy's name and that of safetensors
LIBRARIES = ("torch", "timm", "open_clip_torch", "transformers", "pillow", "numpy")
_LONGEST_HEADER = 10_000  # bytes; ours take about a hundred


class BrokenEntryError(ValueError):
    """What is wrong with an entry, as the end of a sentence."""


@dataclass(frozen=True)
class Entry:
    """An entry whose manifest, sizes and headers are right."""

    folder: Path
    manifest: dict
    offset: int
    stat: os.stat_result

    @property
    def file(self) -> Path:
        return self.folder / self.manifest["file"]

    @property
    def seal(self) -> str:
        """What `verified.json` says after the data were read in full.

        The inode tells a copy that kept its times, on another disk or machine, from the file that was read.
        """
        return json.dumps([self.manifest["sha256"], self.stat.st_size, self.stat.st_mtime_ns, self.stat.st_ino])

    def verify(self) -> None:
        """Read all data. Raises BrokenEntryError where they are not what was written."""
        with self.file.open("rb") as data:
            found = hashlib.file_digest(data, "sha256").hexdigest()
        if found != self.manifest["sha256"]:
            raise BrokenEntryError(f"{self.file.name} is not what was written (sha256 {found[:12]}…)")

    def shard(self, home: Path | None = None) -> Shard:
        """Its rows, mapped; `home` is the folder that this one will be renamed to."""
        manifest = self.manifest
        shard = Shard(
            file=self.file,
            offset=self.offset,
            shape=tuple(manifest["shape"]),
            dtype=np.dtype(manifest["dtype"]),
            samples=manifest["n"],
            failed={int(index): reason for index, reason in manifest["failed"].items()},
            versions=manifest["versions"],
            created=manifest["created"],
        ).opened()
        return shard if home is None else replace(shard, file=home / manifest["file"])


# Writing -----------------------------------------------------------------------------------------------------------


def write_entry(folder: Path, key: ShardKey, rows: np.ndarray, failed: Mapping[int, str]) -> None:
    """Write an entry into an empty folder and wait until it is on the disk."""
    file = NPY if rows.ndim > 2 else SAFETENSORS
    size, digest = _written(folder / file, _npy(rows) if file == NPY else _safetensors(rows))
    _written(folder / SAMPLES, [key.listing])
    manifest = {
        "format": FORMAT,
        "numbers": NUMBERS,
        "key": key.hex,
        "facts": dict(key.facts),
        "n": len(key.samples),
        "samples": key.samples_digest,
        "shape": rows.shape,
        "dtype": rows.dtype.name,
        "file": file,
        "size": size,
        "sha256": digest,
        "failed": {str(index): failed[index] for index in sorted(failed)},
        "versions": _versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    manifest["digest"] = _own_digest(manifest)
    _written(folder / MANIFEST, [json.dumps(manifest, indent=1).encode()])
    sync_folder(folder)


def _written(file: Path, parts: Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Write, wait for the disk, return size and sha256 of what was meant, not of what a reader would find."""
    size, digest = 0, hashlib.sha256()
    with file.open("xb") as out:
        for part in parts:
            out.write(part)
            digest.update(part)
            size += len(part)
        out.flush()
        os.fsync(out.fileno())
    return size, digest.hexdigest()


def _safetensors(rows: np.ndarray) -> list[bytes]:
    from safetensors.numpy import save

    return [save({"rows": rows})]


def _npy(rows: np.ndarray) -> list[bytes | memoryview]:
    # Not np.save(): on a full disk it raises an error without a number, and it cannot be asked for a digest.
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(rows))
    return [head.getvalue(), rows.reshape(-1).view(np.uint8).data]


@cache
def _versions() -> dict[str, str | None]:
    return {library: _version(library) for library in LIBRARIES}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


# Reading -----------------------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict:
    """The manifest of an entry. Raises BrokenEntryError where it is missing, cut short or changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        right = manifest["digest"] == _own_digest(manifest) and manifest["file"] in (SAFETENSORS, NPY)
    except FileNotFoundError as error:
        raise BrokenEntryError(f"{MANIFEST} is missing") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenEntryError(f"{MANIFEST} is cut short or damaged") from error
    if not right:
        raise BrokenEntryError(f"{MANIFEST} was changed after it was written")
    return manifest


def read_entry(folder: Path, key: ShardKey | None = None) -> Entry:
    """An entry, and whether it is the one that `key` names; the data's digest is left to `Entry.verify`.

    Raises BrokenEntryError that says what is wrong.
    """
    manifest = read_manifest(folder)
    if key is not None and (manifest["key"], manifest["samples"]) != (key.hex, key.samples_digest):
        raise BrokenEntryError("it belongs to another key; its folder was renamed or copied")
    header = _npy_header if manifest["file"] == NPY else _safetensors_header
    try:
        with (folder / manifest["file"]).open("rb") as data:
            stat = os.fstat(data.fileno())
            dtype, shape, offset = header(data)
    except FileNotFoundError as error:
        raise BrokenEntryError(f"{manifest['file']} is missing") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BrokenEntryError(f"{manifest['file']} has a damaged header") from error
    if stat.st_size != manifest["size"]:
        raise BrokenEntryError(f"{manifest['file']} has {stat.st_size:,} bytes instead of {manifest['size']:,}")
    whole = offset + math.prod(shape) * np.dtype(dtype).itemsize
    if (dtype, list(shape), whole) != (manifest["dtype"], manifest["shape"], manifest["size"]):
        raise BrokenEntryError(f"{manifest['file']} has the header of other data: {dtype} {tuple(shape)}")
    return Entry(folder, manifest, offset, stat)


def read_samples(folder: Path, manifest: dict) -> list[str]:
    """The sample digests of an entry; none where their file is not what was written."""
    try:
        listing = (folder / SAMPLES).read_bytes()
    except OSError:
        return []
    return listing.decode().split() if hashlib.sha256(listing).hexdigest() == manifest["samples"] else []


def _own_digest(manifest: dict) -> str:
    return hashlib.sha256(canonical_json({k: v for k, v in manifest.items() if k != "digest"})).hexdigest()


def _safetensors_header(data) -> tuple[str, list[int], int]:
    length = int.from_bytes(data.read(8), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    rows = json.loads(data.read(length))["rows"]
    names = {theirs: ours for ours, theirs in DTYPES.items()}
    if rows["data_offsets"][0] != 0:
        raise ValueError("rows that do not start at once")
    return names[rows["dtype"]], rows["shape"], 8 + length


def _npy_header(data) -> tuple[str, tuple[int, ...], int]:
    if np.lib.format.read_magic(data) != (1, 0):
        raise ValueError("another version of npy")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(data, max_header_size=_LONGEST_HEADER)
    if by_columns:
        raise ValueError("columns first")
    return dtype.name, shape, data.tell()
