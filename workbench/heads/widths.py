"""Widths as every head takes them."""

from __future__ import annotations

from numbers import Integral


def whole(**given: int) -> list[int]:
    """The widths as they are. Raises TypeError for one that is no whole number, ValueError for one below 1."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{name} is {type(value).__name__} {value!r}; give a whole number")
        if value < 1:
            raise ValueError(f"{name}={value}; give a whole number from 1 on")
    return [int(value) for value in given.values()]
