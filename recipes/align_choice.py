"""What a fit is worth on classes and drawings that it has not seen, and a search over fits by it.

Five folds. Titles and classes are dealt out, so that no title stands on both sides. Three numbers, each the mean of R@1, R@5
and R@10 in both directions: **classes**, prototypes of unseen classes against their names and against their definitions;
**drawings**, one picture per unseen title against its title; **sure**, those of them (the surest quarter of all) of whose
class the classifier is surest, ranked among all. It is surer of photos than of drawings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recipes.align_pairs import Fit, Pairs
from workbench.evaluation import retrieval_ranks
from workbench.models.paired import AlignmentHead
from workbench.progress import bar

FOLDS, KS = 5, (1, 5, 10)
ASKED = (0, 2)  # kinds of class text: name and definition


@dataclass(frozen=True)
class Ground:
    """All pairs, one view (n, d_i) and the title (n, d_t) of every picture to ask with."""

    pairs: Pairs
    queries: Tensor
    titles: Tensor

    def folds(self) -> list[tuple[Pairs, Tensor, Tensor]]:
        """(what may be learned from, unseen classes, one unseen picture per title) of every fold."""
        classes, groups = _dealt(len(self.pairs.prototypes)), _dealt(int(self.pairs.groups.max()) + 1)
        found = []
        for fold in range(FOLDS):
            unseen = groups[self.pairs.groups] == fold
            known = self.pairs.part((classes != fold).nonzero().flatten(), (~unseen).nonzero().flatten())
            found.append((known, (classes == fold).nonzero().flatten(), _first_of_each(self.pairs.groups, unseen)))
        return found


def worth(ground: Ground, make: Callable[[Pairs], AlignmentHead], *, classes: bool = True) -> dict[str, float]:
    """ "drawings", "sure" and, where asked for, "classes" of the heads that `make` makes from each fold's known pairs."""
    drawn, sure, among = [], [], []
    for known, unseen, pictures in ground.folds():
        head = make(known)
        drawn.append(_ranks(head, ground.queries[pictures], ground.titles[pictures]))
        sure.append(certainty(ground.pairs, ground.queries[pictures]))
        if classes:
            x = ground.pairs.prototypes[unseen] * known.scale + known.centre
            among += [_ranks(head, x, ground.pairs.class_texts[kind, unseen]) for kind in ASKED]
    ranks, sureness = torch.cat(drawn, 1), torch.cat(sure)
    found = {"drawings": _recall(ranks), "sure": _recall(ranks[:, sureness >= sureness.quantile(0.75)])}
    return found | ({"classes": _recall(torch.cat(among, 1))} if classes else {})


def certainty(pairs: Pairs, x: Tensor) -> Tensor:
    """The largest class posterior (n,)."""
    weight, bias = pairs.classifier
    return (x @ weight.T + bias).softmax(-1).amax(-1)


def search(ground: Ground, make, start: Fit, grid: dict[str, tuple], log: list[dict], name: str) -> Fit:
    """The best fit by the mean of drawings and classes, one setting after another in the order of `grid`."""
    best, tried = start, {}
    for setting, values in grid.items():
        for value in bar(values, f"{name}: {setting}"):
            fit = replace(best, **{setting: value})
            if fit not in tried:
                tried[fit] = worth(ground, lambda pairs, fit=fit: make(pairs, fit))
                log.append({"tried": name, **vars(fit), **{key: round(v, 4) for key, v in tried[fit].items()}})
        best = max(tried, key=lambda fit: tried[fit]["drawings"] + tried[fit]["classes"])
    return best


def _ranks(head: AlignmentHead, x: Tensor, texts: Tensor) -> Tensor:
    """(2, n): of the pictures for the texts, and of the texts for the pictures."""
    own = [[i] for i in range(len(x))]
    with torch.no_grad():
        image, text = head.image(x), head.text(texts)
    return torch.stack([retrieval_ranks(text, image, own), retrieval_ranks(image, text, own)])


def _recall(ranks: Tensor) -> float:
    return sum((ranks <= k).double().mean().item() for k in KS) / len(KS)


def _dealt(n: int) -> Tensor:
    """A fold for each of n."""
    fold = torch.arange(n) % FOLDS
    return fold[torch.randperm(n, generator=torch.Generator().manual_seed(0))]


def _first_of_each(groups: Tensor, among: Tensor) -> Tensor:
    first = {}
    for i in among.nonzero().flatten().tolist():
        first.setdefault(groups[i].item(), i)
    return torch.tensor(list(first.values()))
