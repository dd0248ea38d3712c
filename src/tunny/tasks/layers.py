"""How deep a parameter lies, read off its name: embeddings 0, layers 1, 2, ..., head beyond them all."""

import re

_LAYER = re.compile(r"\.(?:layers?|h|blocks?|albert_layer_groups)\.(\d+)\.")
_HEAD = re.compile(r"^(?:classifier|score|pre_classifier|head|dropout|pooler|logits_proj|sequence_summary)\b|\.pooler\.")


def depth_of(name: str) -> int | None:
    """Return 0 for embeddings, n for the n-th layer from the input, None for what stands behind the layers."""
    layer = _LAYER.search(name)
    if layer:
        return int(layer[1]) + 1
    return None if _HEAD.search(name) or "embed" not in name else 0
