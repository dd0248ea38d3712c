import pytest

from tests.training.runs import steady


@pytest.fixture(scope="session")
def steady_bert(tiny_bert, tmp_path_factory):
    """The tiny BERT without dropout."""
    return steady(tiny_bert, tmp_path_factory.mktemp("models") / "steady")
