"""What an entry is called: a digest over all that its numbers depend on; and where a long list of samples is cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FORMAT = 1  # how an entry lies on the disk
NUMBERS = 1  # raise it by hand when the same facts and samples give other numbers than they used to

_LENGTH, _HEX = 64, b"0123456789abcdef"  # of a sample's digest

Fact = str | int | None


def sample_digest(data: bytes) -> str:
    """sha256 of one sample's bytes (a picture's file, a caption in UTF-8), 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class ShardKey:
    """The content key of one entry: `facts` (name → str, int or None) and the ordered digests of its `samples`.

    Whatever changes the numbers belongs into the facts: digest of the weights, preprocessing, modality, kind, layer,
    dense variant, image size, dtype; a library's version only where it changes them. The store compares facts and does
    not read them. Raises TypeError for a fact of another type, ValueError for a digest that is not 64 lower-case hex
    digits.
    """

    facts: tuple[tuple[str, Fact], ...]
    samples: tuple[str, ...]

    def __post_init__(self):
        object.__setattr__(self, "facts", _checked_facts(self.facts))
        object.__setattr__(self, "samples", _checked_digests(self.samples))

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.facts)
        return f"ShardKey({self.hex[:12]}…: {facts}; {len(self.samples):,} samples)"

    @property
    def listing(self) -> bytes:
        """The samples as a text, one digest a line."""
        return "\n".join((*self.samples, "")).encode()

    @cached_property
    def samples_digest(self) -> str:
        return hashlib.sha256(self.listing).hexdigest()

    @cached_property
    def hex(self) -> str:
        """The name of the entry, 64 hex digits."""
        what = {"format": FORMAT, "numbers": NUMBERS, "facts": dict(self.facts), "samples": self.samples_digest}
        return hashlib.sha256(canonical_json(what)).hexdigest()


def canonical_json(value) -> bytes:
    """The one way to write a value that digests are taken over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def plan_shards(digests: Sequence[str], size: int = 1024) -> list[slice]:
    """Where to cut an ordered list of sample digests: slices of size/4 to 4·size rows (the last may be shorter).

    A shard ends after a digest whose first 32 bits are 0 modulo `size`, so the contents decide where it ends and not the
    count before it: one sample more or less changes the shard it falls into, seldom a few after it, and leaves the others
    with their keys.
    """
    if type(size) is not int or size < 1:
        raise ValueError(f"size is {size!r}; give a whole number of rows from 1, such as 1024")
    digests = _checked_digests(digests)
    leading = np.concatenate([np.zeros(0, ">u4"), *map(_leading, _blocks(digests))])
    ends = np.flatnonzero(leading % size == 0) + 1
    shards, start, least, most = [], 0, max(1, size // 4), 4 * size
    while start < len(digests):
        nearest = np.searchsorted(ends, start + least)
        stop = min(start + most, int(ends[nearest]) if nearest < len(ends) else len(digests), len(digests))
        shards.append(slice(start, stop))
        start = stop
    return shards


def _checked_facts(facts: Mapping[str, Fact] | Iterable[tuple[str, Fact]]) -> tuple[tuple[str, Fact], ...]:
    pairs = list(facts.items() if isinstance(facts, Mapping) else facts)
    for name, value in pairs:
        if not isinstance(name, str) or not name:
            raise TypeError(f"a fact is called {name!r}; names are text that is not empty")
        # Not isinstance: True equals 1 and a NumPy integer is written otherwise, yet each would have to be its own key.
        if type(value) not in (str, int, type(None)):
            raise TypeError(f"fact {name!r} is {value!r} ({type(value).__name__}); give a str, an int or None")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError(f"a fact is named twice in {sorted(name for name, _ in pairs)}; name each once")
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


def _checked_digests(digests: Iterable[str]) -> tuple[str, ...]:
    if isinstance(digests, (str, bytes)):
        raise TypeError(f"samples are {digests!r:.80}, one text; give a sequence of digests, one for each sample")
    digests = tuple(digests)
    for block in _blocks(digests):
        _check_block(block)
    return digests


def _blocks(digests: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Joined texts are quick to work on (a pattern for each digest is not), as long as they fit into the cache."""
    return (digests[start : start + 1024] for start in range(0, len(digests), 1024))


def _check_block(digests: tuple[str, ...]) -> None:
    try:
        text = "".join(digests)
    except TypeError as error:
        wrong = next(digest for digest in digests if not isinstance(digest, str))
        raise TypeError(f"a sample digest is {wrong!r:.80}; give hex text as sample_digest() returns it") from error
    odd = not text.isascii() or text.encode().translate(None, _HEX)
    if odd or {*map(len, digests)} != {_LENGTH}:
        wrong = next(digest for digest in digests if len(digest) != _LENGTH or set(digest) - set(_HEX.decode()))
        raise ValueError(
            f"{wrong!r:.80} is no sample digest; give {_LENGTH} lower-case hex digits, see sample_digest()"
        )


def _leading(digests: tuple[str, ...]) -> np.ndarray:
    """The first 32 bits of each digest."""
    letters = np.frombuffer("".join(digests).encode(), np.uint8).reshape(len(digests), _LENGTH)
    return np.frombuffer(bytes.fromhex(letters[:, :8].tobytes().decode()), ">u4")
