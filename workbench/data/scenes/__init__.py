"""Controlled scenes: pictures of a few shapes whose boxes, attributes, relations and captions are known."""

from workbench.data.scenes.drawing import draw as draw
from workbench.data.scenes.quads import CATEGORIES as CATEGORIES
from workbench.data.scenes.quads import Quad as Quad
from workbench.data.scenes.quads import quads as quads
from workbench.data.scenes.sampling import batch as batch
from workbench.data.scenes.sampling import scene as scene
from workbench.data.scenes.sampling import scenes as scenes
from workbench.data.scenes.world import Scene as Scene
from workbench.data.scenes.world import Thing as Thing
