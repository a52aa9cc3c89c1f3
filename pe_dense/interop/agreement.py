"""Where pe_dense and another library must agree: classes, by their names, and the sizes of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

from pe_dense.structures import Categories
from pe_dense.structures.wording import few


def names_of(classes: Tensor, categories: Categories) -> list[str]:
    """The name of each contiguous class index.

    Raises:
        TypeError: for other categories than :class:`Categories`.
        ValueError: for a class that the categories do not have.
    """
    check_classes(classes, categories)
    return [categories.names[index] for index in classes.tolist()]


def classes_of(names: Iterable[str], categories: Categories) -> Tensor:
    """N int64 contiguous class indices.

    Raises:
        TypeError: for other categories than :class:`Categories`.
        ValueError: for names that are no category's; the message has the nearest ones.
    """
    check_categories(categories)
    known = {name: index for index, name in reversed(list(enumerate(categories.names)))}
    wanted = [str(name) for name in names]
    unknown = [name for name in dict.fromkeys(wanted) if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], categories.names, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"no category is called {few([repr(name) for name in unknown])}{hint} Rename the class, leave its objects "
            f"out, or give the categories that the names are of"
        )
    return torch.tensor([known[name] for name in wanted], dtype=torch.int64)


def check_classes(classes: Tensor, categories: Categories) -> None:
    """Refuse class indices that the categories do not have.

    Raises:
        TypeError: for other categories than :class:`Categories`.
        ValueError: naming them.
    """
    check_categories(categories)
    outside = sorted({i for i in classes.tolist() if not 0 <= i < len(categories)})
    if outside:
        raise ValueError(
            f"there are {len(categories)} categories, and no class {few([str(i) for i in outside])}, counted from "
            f"0; give the categories that the objects are of"
        )


def check_categories(categories: object) -> None:
    """Refuse a plain list of names.

    Raises:
        TypeError: for anything but :class:`Categories`.
    """
    if not isinstance(categories, Categories):
        raise TypeError(
            f"categories must be Categories, e.g. predictor.categories or Categories(ids, names), not "
            f"{type(categories).__name__}"
        )


def agreed_size(given: Sequence[int] | None, found: Sequence[int] | None) -> tuple[int, int]:
    """(height, width) of an image, as the caller or the masks have it.

    Raises:
        ValueError: if neither or both have it, and differ.
    """
    sizes = [(int(size[0]), int(size[1])) for size in (given, found) if size is not None]
    if not sizes:
        raise ValueError("image_size is needed: there are no masks that tell it; give (height, width)")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"image_size is {sizes[0]}, but the masks are of {sizes[1]}; give (height, width) of the image"
        )
    return sizes[0]
