"""How deep a parameter lies, read off its name: embeddings 0, layers 1, 2, ..., head beyond them all."""

import re

_LAYER = re.compile(r"\.(?:layers?|h|blocks?|albert_layer_groups)\.(\d+)\.")


def depth_of(name: str) -> int | None:
    """Return 0 for embeddings, n for the n-th layer from the input, None for what stands behind the layers."""
    layer = _LAYER.search(name)
    if layer:
        return int(layer[1]) + 1
    return 0 if "embed" in name else None
