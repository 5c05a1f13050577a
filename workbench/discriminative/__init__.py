"""VladVA (arXiv 2412.04378): a generative vision–language model tuned to tell pictures and captions apart."""

from workbench.discriminative.config import LADDER as LADDER
from workbench.discriminative.config import DiscriminativeConfig as DiscriminativeConfig
from workbench.discriminative.pairs import TwoCaptions as TwoCaptions
from workbench.discriminative.run import Tuned as Tuned
from workbench.discriminative.run import fine_tune as fine_tune
from workbench.discriminative.writing import Perplexity as Perplexity
from workbench.discriminative.writing import perplexity as perplexity
