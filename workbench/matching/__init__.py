"""Which patch answers to which word."""

from workbench.matching.class_maps import ClassMap as ClassMap
from workbench.matching.class_maps import class_map as class_map
from workbench.matching.crops import Regions as Regions
from workbench.matching.crops import Segments as Segments
from workbench.matching.crops import crop_boxes as crop_boxes
from workbench.matching.crops import crop_features as crop_features
from workbench.matching.crops import segment_features as segment_features
from workbench.matching.late import late_interaction as late_interaction
from workbench.matching.maps import centre as centre
from workbench.matching.maps import similarity_map as similarity_map
from workbench.matching.maps import without_redundant as without_redundant
from workbench.matching.polarity import Polarity as Polarity
from workbench.matching.polarity import map_polarity as map_polarity
from workbench.matching.words import WordMaps as WordMaps
from workbench.matching.words import word_maps as word_maps
