"""The one place where a data set's own category ids and the contiguous 0..K-1 ids meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

SEARCHED_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")
"""Of an image of LVIS (arXiv 1908.03195, section 2): classes looked for and not found; classes labelled in part."""


@dataclass(frozen=True)
class Categories:
    """Class names and the mapping between a data set's ids and contiguous class indices.

    Attributes:
        ids: the data set's category ids in ascending order; position = contiguous class index.
        names: one class name per id.

    Raises:
        ValueError: if ids repeat or the two lengths differ.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.names):
            raise ValueError(f"{len(self.ids)} category ids but {len(self.names)} names")
        if len(set(self.ids)) != len(self.ids):
            repeated = sorted({i for i in self.ids if self.ids.count(i) > 1})
            raise ValueError(f"category ids {repeated} appear more than once; give each category its own id")

    @classmethod
    def from_json(cls, categories: Iterable[Mapping[str, Any]]) -> Categories:
        """Build from the ``categories`` list of a COCO-format json (ids may have gaps and any order)."""
        rows = sorted(((int(c["id"]), str(c.get("name", c["id"]))) for c in categories), key=lambda r: r[0])
        return cls(tuple(i for i, _ in rows), tuple(n for _, n in rows))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def contiguous(self) -> dict[int, int]:
        """Mapping from the data set's id to the contiguous class index."""
        return {json_id: index for index, json_id in enumerate(self.ids)}

    def to_json(self) -> list[dict[str, Any]]:
        """The ``categories`` list of a COCO-format json; ``from_json`` of it gives an equal object."""
        return [{"id": i, "name": n} for i, n in zip(self.ids, self.names)]

    def unknown(self, ids: Iterable[Any]) -> list[Any]:
        """Those that are no category's id."""
        return [i for i in ids if not isinstance(i, int) or i not in self.contiguous]
