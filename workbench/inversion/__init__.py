"""Modality inversion: the slow peers of a projector that is changed once."""

from workbench.inversion.run import INITIAL_SPREAD as INITIAL_SPREAD
from workbench.inversion.run import Inverted as Inverted
from workbench.inversion.run import oti as oti
from workbench.inversion.run import ovi as ovi
