"""Features of many pictures or captions: kept once, resumed where they stopped, in this process or on Ray Data."""

from workbench.extract.result import Embeddings as Embeddings
from workbench.extract.result import match as match
from workbench.extract.run import embeddings as embeddings
