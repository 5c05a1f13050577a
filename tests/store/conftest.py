"""Small keys and rows that any test can make again."""

import pytest

from workbench.store import EmbeddingStore


@pytest.fixture
def store(tmp_path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "store")
