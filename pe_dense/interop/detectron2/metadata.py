"""Class names and ids to detectron2's ``Metadata`` and back."""

from __future__ import annotations

from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata

from pe_dense.structures import Categories


def to_metadata(categories: Categories, name: str) -> Metadata:
    """Write class names and ids into detectron2's metadata of a data set.

    Args:
        categories: such as ``dataset.categories``.
        name: under which ``MetadataCatalog`` has, or gets, the entry.

    Returns:
        the entry, with ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``.

    Raises:
        ValueError: if the entry has other classes already.
    """
    metadata = MetadataCatalog.get(name)
    wanted = {
        "thing_classes": list(categories.names),
        "thing_dataset_id_to_contiguous_id": dict(categories.contiguous),
    }
    for key, value in wanted.items():
        if metadata.get(key, value) != value:
            raise ValueError(f"detectron2's data set '{name}' has another {key} already; choose another name")
    return metadata.set(**wanted)


def from_metadata(metadata: Metadata) -> Categories:
    """Class names and the data set's own ids of a detectron2 data set.

    Without ``thing_dataset_id_to_contiguous_id`` the ids are the class indices, as for detectron2's own evaluators:
    from 0, or from 1 on LVIS.

    Raises:
        ValueError: if there are no class names, not one id for each, or ids in another order than the classes, which
            pe_dense numbers by ascending id.
    """
    name, names = metadata.name, metadata.get("thing_classes")
    if not names:
        raise ValueError(
            f"detectron2's data set '{name}' has no class names; set MetadataCatalog.get('{name}').thing_classes"
        )
    first = 1 if metadata.get("evaluator_type") == "lvis" else 0
    mapping = metadata.get("thing_dataset_id_to_contiguous_id") or {first + i: i for i in range(len(names))}
    ids = sorted(mapping, key=lambda i: mapping[i])
    if [mapping[i] for i in ids] != list(range(len(names))):
        raise ValueError(
            f"detectron2's data set '{name}' has {len(names)} thing_classes but its thing_dataset_id_to_contiguous_id "
            f"leads to {len(set(mapping.values()))}; give each class index one id"
        )
    if ids != sorted(ids):
        raise ValueError(
            f"detectron2's data set '{name}' has classes in another order than their ids {ids[:5]}...: pe_dense "
            "numbers them by ascending id; register it so, or without thing_dataset_id_to_contiguous_id"
        )
    return Categories(tuple(ids), tuple(names))
