"""A mapping whose values are made when they are looked at: a million need not fit into memory."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lazy(Mapping[K, V]):
    """Every value is `make(places[key])`, made afresh each time; `places` may still grow."""

    def __init__(self, places: Mapping[K, Any], make: Callable[[Any], V]) -> None:
        self._places = places
        self._make = make

    def __getitem__(self, key: K) -> V:
        return self._make(self._places[key])

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[K]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
