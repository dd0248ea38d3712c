import pytest
import transformers


@pytest.fixture(scope="session")
def tokenizer(tiny_bert):
    return transformers.AutoTokenizer.from_pretrained(tiny_bert)


@pytest.fixture
def bert(tiny_bert):
    """The tiny BERT with a head: `bert("Token", 5)` or `bert("Sequence", 3, problem_type=...)`, in evaluation mode."""

    def load(task, size, **config):
        auto = getattr(transformers, f"AutoModelFor{task}Classification")
        return auto.from_pretrained(tiny_bert, num_labels=size, **config).eval()

    return load
