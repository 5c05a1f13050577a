"""Pairs to align two towers with, and heads fitted to them in closed form.

Image side: rows of the ImageNet classifier (centred over classes, unit norm) and pooled features of drawings (centred by
the expected feature, scaled to a mean norm of 1). Text side: MiniLM's unit vectors, averaged over the ways to call a thing,
centred for each source on its own, partly whitened (St^-power). Both heads are ridge regressions from image to text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.heads import ConseHead, LinearHead
from workbench.models.ensemble_head import EnsembleHead
from workbench.models.landmarks import LandmarkHead
from workbench.models.paired import AlignmentHead

SHRINKAGE = 0.1  # of the text covariance towards a multiple of the identity, before it is whitened by


@dataclass(frozen=True)
class Pairs:
    """Prototypes (C, d_i) with texts (S, C, d_t) of S kinds; pictures (n, d_i) with texts (K, n, d_t) and groups (n,).

    Pictures are plain pooled features; texts are as MiniLM gives them. Pictures of one title share a group. `centre` (d_i,)
    is the expected pooled feature, `classifier` the tower's weight and bias for all classes.
    """

    prototypes: Tensor
    class_texts: Tensor
    pictures: Tensor
    picture_texts: Tensor
    groups: Tensor
    centre: Tensor
    classifier: tuple[Tensor, Tensor]

    def part(self, classes: Tensor, pictures: Tensor) -> Pairs:
        return replace(
            self,
            prototypes=self.prototypes[classes],
            class_texts=self.class_texts[:, classes],
            pictures=self.pictures[pictures],
            picture_texts=self.picture_texts[:, pictures],
            groups=self.groups[pictures],
        )

    @property
    def scale(self) -> Tensor:
        """Mean norm of a centred picture: a prototype times this is as long as a picture."""
        return (self.pictures - self.centre).norm(dim=-1).mean()


@dataclass(frozen=True)
class Fit:
    """`weight` of a picture against a class (divided by the root of its group's size), `ridge` in units of the mean diagonal
    of the linear map's Gram matrix (in plain units for landmarks), `power` of the text covariance."""

    weight: float = 1.0
    ridge: float = 1.0
    power: float = 0.25


@dataclass(frozen=True)
class LandmarkFit(Fit):
    """`landmarks` pictures beside the classes, and the Gaussian's `spread`."""

    ridge: float = 0.3
    landmarks: int = 800
    spread: float = 0.64


@dataclass(frozen=True)
class Targets:
    """The text map (d_t, d_t), where it puts zero (d_t,), and the mapped texts of classes and pictures."""

    weight: Tensor
    zero: Tensor
    classes: Tensor
    pictures: Tensor

    def head(self) -> LinearHead:
        return _filled(LinearHead(*self.weight.shape), self.weight, -self.weight @ self.zero)


def targets(pairs: Pairs, power: float) -> Targets:
    """Texts to regress on, and the affine map that sends a caption to the same space."""
    classes, pictures = (F.normalize(each, dim=-1).mean(0) for each in (pairs.class_texts, pairs.picture_texts))
    classes, pictures = (F.normalize(each, dim=-1) for each in (classes, pictures))
    classes, pictures = classes - classes.mean(0), pictures - pictures.mean(0)
    weight = whitening(classes, pictures, power)
    zero = (pairs.class_texts.mean((0, 1)) + pairs.picture_texts.mean((0, 1))) / 2
    return Targets(weight, zero, classes @ weight, pictures @ weight)


def whitening(classes: Tensor, pictures: Tensor, power: float) -> Tensor:
    """Symmetric (d_t, d_t): the mean of both covariances, shrunk, to the power of -`power`; mean length is kept."""
    covariance = (classes.T @ classes / len(classes) + pictures.T @ pictures / len(pictures)) / 2
    identity = torch.eye(len(covariance))
    values, vectors = torch.linalg.eigh(
        (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().mean() * identity
    )
    weight = (vectors * values**-power) @ vectors.T
    return weight / (pictures @ weight).norm(dim=-1).mean()


def fit_linear(pairs: Pairs, fit: Fit) -> AlignmentHead:
    """W = Y^T X (X^T X + ridge)^-1 over classes and pictures, centring folded into the bias; plain features at use."""
    wanted = targets(pairs, fit.power)
    rows, texts = _weighted(pairs, wanted, fit.weight, (pairs.pictures - pairs.centre) / pairs.scale)
    gram = rows.T @ rows
    weight = torch.linalg.solve(gram + fit.ridge * gram.diagonal().mean() * torch.eye(len(gram)), rows.T @ texts).T
    weight = weight / pairs.scale
    image = _filled(LinearHead(*reversed(weight.shape)), weight, -weight @ pairs.centre)
    return AlignmentHead(image, wanted.head())


def fit_landmarks(pairs: Pairs, fit: LandmarkFit, seed: int = 0) -> AlignmentHead:
    """Kernel ridge regression on all classes and `landmarks` pictures drawn by `seed` (Nyström)."""
    wanted = targets(pairs, fit.power)
    order = torch.randperm(len(pairs.pictures), generator=torch.Generator().manual_seed(seed))[: fit.landmarks]
    own = pairs.pictures[order] - pairs.centre
    texts = torch.zeros(len(pairs.prototypes) + len(own), len(wanted.zero))
    head = LandmarkHead(pairs.centre, pairs.prototypes, own, texts, fit.spread)
    near = head.nearness(pairs.pictures)
    among = head.nearness(head.landmarks + head.centre)  # (C + m, C + m)
    rows, texts = _weighted(pairs, wanted, fit.weight, near, among[: len(pairs.prototypes)])
    jitter = 1e-4 * torch.eye(len(among))
    head.texts.copy_(torch.linalg.solve(rows.T @ rows + fit.ridge * among + jitter, rows.T @ texts))
    return AlignmentHead(head, wanted.head())


def ensemble(pairs: Pairs, learned: AlignmentHead, share: float, k: int) -> AlignmentHead:
    """ConSE with centred texts, of `share`, beside a learned head."""
    names = F.normalize(F.normalize(pairs.class_texts, dim=-1).mean(0), dim=-1)
    conse = ConseHead(*pairs.classifier, names - names.mean(0), k=k)
    zero = _zero(learned.text)
    text = _filled(LinearHead(len(zero), len(zero)), torch.eye(len(zero)), -zero)
    shares = (share, 1 - share)
    return AlignmentHead(EnsembleHead((conse, learned.image), shares), EnsembleHead((text, learned.text), shares))


def _zero(text: LinearHead) -> Tensor:
    """The caption that a learned text map sends to zero."""
    return torch.linalg.solve(text.weight.detach(), -text.bias.detach())


def _weighted(pairs: Pairs, wanted: Targets, weight: float, pictures: Tensor, classes: Tensor | None = None):
    """Rows and texts of both sources, a picture's times weight / sqrt(size of its group)."""
    _, group, sizes = torch.unique(pairs.groups, return_inverse=True, return_counts=True)
    each = (weight / sizes[group].sqrt())[:, None]
    rows = torch.cat([pairs.prototypes if classes is None else classes, each * pictures])
    return rows, torch.cat([wanted.classes, each * wanted.pictures])


def _filled(head: LinearHead, weight: Tensor, bias: Tensor) -> LinearHead:
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return head
