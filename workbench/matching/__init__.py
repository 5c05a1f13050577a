"""Which patch answers to which word."""

from workbench.matching.maps import centre as centre
from workbench.matching.maps import similarity_map as similarity_map
from workbench.matching.maps import without_redundant as without_redundant
from workbench.matching.polarity import Polarity as Polarity
from workbench.matching.polarity import map_polarity as map_polarity
from workbench.matching.words import WordMaps as WordMaps
from workbench.matching.words import word_maps as word_maps
