"""Which layer a parameter belongs to, read off its name: embeddings 0, layers 1, 2, ..., head beyond them all."""

import re
from collections.abc import Mapping

_LAYER = re.compile(r"\.(?:layers?|h|blocks?|albert_layer_groups)\.(\d+)\.")


def depth_of(name: str) -> int | None:
    """Return 0 for embeddings, n for the n-th layer from the input, None for what stands behind the layers."""
    layer = _LAYER.search(name)
    if layer:
        return int(layer[1]) + 1
    return 0 if "embed" in name else None


def renumbered(name: str, places: Mapping[int, int]) -> str | None:
    """Return the name of a parameter when layers, counted from 0, get new places; None where its layer has none."""
    layer = _LAYER.search(name)
    if layer is None or "albert_layer_groups" in name:  # ALBERT's layers share their weights
        return name
    place = places.get(int(layer[1]))
    return None if place is None else f"{name[: layer.start(1)]}{place}{name[layer.end(1) :]}"
