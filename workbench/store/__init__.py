"""Embeddings kept by content: a key says everything that the numbers depend on, and nothing is computed twice.

`plan_shards` cuts a long list of samples, `ShardKey` names one shard, `EmbeddingStore` keeps its rows, `Rows` joins
several shards again. The store knows bytes and keys, no model.
"""

from workbench.store.embedding_store import EmbeddingStore as EmbeddingStore
from workbench.store.keys import NUMBERS as NUMBERS
from workbench.store.keys import ShardKey as ShardKey
from workbench.store.keys import plan_shards as plan_shards
from workbench.store.keys import sample_digest as sample_digest
from workbench.store.report import StoreReport as StoreReport
from workbench.store.rows import Rows as Rows
from workbench.store.rows import Shard as Shard
