"""Rows with pictures inside: Parquet files, and the Arrow files that `datasets` saves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

from workbench.data.samples import Sample

ENDINGS = (".parquet", ".arrow")
_ONE_AT_A_TIME = Lock()  # threads that read ahead want the same chunk
_ROWS = 16  # pictures of a Parquet file that are decoded together
_KEPT = 4  # such batches in memory: threads that read ahead come out of order


@dataclass(frozen=True)
class InTable(Sample):
    """The picture in a row of a table, by `chunk` (row group or batch) and place in it; read when it is asked for."""

    column: str = ""
    chunk: int = 0
    row: int = 0

    def read(self) -> bytes:
        """The picture's file. Raises OSError where the row holds none, or where the table is gone."""
        with _ONE_AT_A_TIME:
            found = _column(self.path, self.path.stat().st_mtime_ns, self.column, self.chunk)[self.row].as_py()
        found = found.get("bytes") if isinstance(found, dict) else found  # `datasets` keeps {bytes, path}
        if not isinstance(found, bytes) or not found:
            raise OSError(
                f"{self.id} holds no bytes; a table that only names its pictures has to come with their folder"
            )
        return found


def find_tables(folder: Path) -> list[Path]:
    """Every .parquet below a folder, or else every .arrow; not what `datasets` or a download keeps in a cache."""
    for ending in ENDINGS:
        found = [path for path in sorted(folder.rglob(f"*{ending}")) if not _cached(path.relative_to(folder))]
        if found:
            return found
    return []


def _cached(path: Path) -> bool:
    return path.name.startswith("cache-") or any(part.startswith(".") for part in path.parts)


def read_table(file: Path, pictures: tuple[str, ...]) -> list[dict]:
    """The rows of a table as dicts, with an InTable at the names of `pictures`.

    Raises ImportError without pyarrow, ValueError for what is no table or lacks one of `pictures`.
    """
    table = _opened(file)
    if lacking := [name for name in pictures if name not in table.names]:
        raise ValueError(f"it has the columns {', '.join(table.names)}, not {' and '.join(lacking)}")
    plain = [name for name in table.names if name not in pictures]
    rows = []
    for chunk, size in enumerate(table.sizes):
        columns = {name: table.values(name, chunk) for name in plain}
        for row in range(size):
            there = {
                name: InTable(f"{file}:{name}:{chunk}.{row}", file, column=name, chunk=chunk, row=row)
                for name in pictures
            }
            rows.append({name: values[row] for name, values in columns.items()} | there)
    return rows


class _Parquet:
    def __init__(self, file: Path):
        from pyarrow.parquet import ParquetFile

        self.file = ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)  # or a column would come whole
        self.names = self.file.schema_arrow.names
        self.sizes = [self.file.metadata.row_group(k).num_rows for k in range(self.file.num_row_groups)]

    def values(self, name: str, chunk: int) -> list:
        return self.file.read_row_group(chunk, columns=[name]).column(name).to_pylist()

    def column(self, name: str, chunk: int) -> _InOrder:
        return _InOrder(self.file, name, chunk)


class _InOrder:
    """A column of a Parquet chunk by row, with a few batches in memory: quick in order, and from the top where one goes back."""

    def __init__(self, file, name: str, chunk: int):
        self.file, self.asked = file, {"row_groups": [chunk], "columns": [name]}
        self._from_the_top()

    def _from_the_top(self) -> None:
        self.batches: Iterator = self.file.iter_batches(_ROWS, use_threads=False, **self.asked)
        self.kept, self.read = deque(maxlen=_KEPT), 0

    def __getitem__(self, row: int):
        if row < self.read - sum(map(len, self.kept)):
            self._from_the_top()
        while row >= self.read:
            batch = next(self.batches, None)
            if batch is None:  # what was wrong was said when it was met
                raise OSError(f"row {row} lies behind one that could not be read")
            self.kept.append(batch.column(0))
            self.read += len(batch)
        place = row - self.read
        for batch in reversed(self.kept):
            place += len(batch)
            if place >= 0:
                return batch[place]


class _Arrow:
    """Both of Arrow's own formats; the rows stay on disk."""

    def __init__(self, file: Path):
        import pyarrow

        mapped = pyarrow.memory_map(str(file))
        try:
            table = pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            table = pyarrow.ipc.open_file(mapped).read_all()
        self.batches = table.to_batches()
        self.names, self.sizes = table.schema.names, [len(batch) for batch in self.batches]

    def values(self, name: str, chunk: int) -> list:
        return self.column(name, chunk).to_pylist()

    def column(self, name: str, chunk: int):
        return self.batches[chunk].column(name)


def _opened(file: Path) -> _Parquet | _Arrow:
    try:
        return _Parquet(file) if file.suffix == ".parquet" else _Arrow(file)
    except ImportError as error:
        raise ImportError(f"reading {file.name} needs pyarrow: pip install pyarrow") from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise ValueError(f"it is cut short or no table: {error}") from error


@lru_cache(maxsize=4)
def _column(file: Path, changed: int, name: str, chunk: int):
    """A column of pictures in one chunk, row by row."""
    return _opened(file).column(name, chunk)
