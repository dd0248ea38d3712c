import numpy as np
import pytest

from tunny.data.inputs import Padding, pad
from tunny.data.store import Window

NONE = np.zeros(0, np.int32)


def window(ids, second):
    return Window(0, np.array(ids, np.int32), NONE, NONE, NONE, second, 1.0, 0.0)


WINDOWS = [window([2, 8, 3, 9, 3], 3), window([2, 7, 3], 3)]  # a pair, and a text alone


def test_rows_are_padded_to_the_longest_and_the_mask_says_where():
    inputs, lengths = pad(WINDOWS, Padding(5, token_types=True))
    assert lengths == (5, 3)
    assert {name: values.tolist() for name, values in inputs.items()} == {
        "input_ids": [[2, 8, 3, 9, 3], [2, 7, 3, 5, 5]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]],
        "token_type_ids": [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]],
    }
    assert all(values.dtype == np.int64 for values in inputs.values())


@pytest.mark.parametrize("types", [True, False])
def test_token_types_are_given_to_models_that_take_them(types):
    assert ("token_type_ids" in pad(WINDOWS, Padding(0, token_types=types))[0]) == types
