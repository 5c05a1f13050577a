"""What is trained on top of frozen towers: maps into the joint space, and transformers that score a picture beside a caption."""

from workbench.heads.binding import DenseMapCNN as DenseMapCNN
from workbench.heads.binding import LinearTextMap as LinearTextMap
from workbench.heads.maps import CLIP as CLIP
from workbench.heads.maps import ConseHead as ConseHead
from workbench.heads.maps import GatedHead as GatedHead
from workbench.heads.maps import Identity as Identity
from workbench.heads.maps import LinearHead as LinearHead
from workbench.heads.maps import MLPHead as MLPHead
from workbench.heads.pair_transformer import GlobalPairTransformer as GlobalPairTransformer
from workbench.heads.pair_transformer import PairTransformer as PairTransformer
