"""Windows as a model takes them: rows padded to the longest among them, in numpy. Torch and ONNX Runtime take the same arrays.

Letters: B rows (windows), T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunny.data.store import Window

Inputs = dict[str, NDArray[np.int64]]  # by transformers' names: input_ids, attention_mask, token_type_ids


@dataclass(frozen=True)
class Padding:
    """What the model wants of its inputs."""

    pad_id: int
    token_types: bool
    positions: int | None = None  # most tokens the model takes


def pad(windows: Sequence[Window], padding: Padding) -> tuple[Inputs, tuple[int, ...]]:
    """Return the inputs of a model ((B, T) each, the attention mask 0 at padding), and the number of tokens of each row."""
    lengths = tuple(len(window.ids) for window in windows)
    ids = np.full((len(windows), max(lengths)), padding.pad_id, dtype=np.int64)
    mask, types = np.zeros((2, *ids.shape), dtype=np.int64)
    for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
        ids[row, :length] = window.ids
        mask[row, :length] = 1
        types[row, window.second : length] = 1
    found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return found if padding.token_types else {name: found[name] for name in ("input_ids", "attention_mask")}, lengths
