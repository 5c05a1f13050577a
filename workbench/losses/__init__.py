"""Training losses. Features are normalised inside and scales come exponentiated; gradients are exact, logits never whole."""

from workbench.losses.contrastive import clip_loss as clip_loss
from workbench.losses.fsc import fsc_loss as fsc_loss
from workbench.losses.negatives import hard_negative_loss as hard_negative_loss
from workbench.losses.negatives import negclip_loss as negclip_loss
from workbench.losses.quads import quad_loss as quad_loss
from workbench.losses.sigmoid import sigmoid_loss as sigmoid_loss
