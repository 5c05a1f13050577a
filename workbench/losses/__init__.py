"""Training losses. Inputs are normalised inside; scales come exponentiated; gradients are exact, the logits never whole."""

from workbench.losses.contrastive import clip_loss as clip_loss
from workbench.losses.sigmoid import sigmoid_loss as sigmoid_loss
