"""The 1,000 ImageNet-1k classes as text: pairs without pictures, since the classifier's rows are their image side."""

from __future__ import annotations


def class_texts() -> dict[str, list[str]]:
    """Three captions of every class, in the order of the classifier's rows.

    "name": a photo of the class under its curated name (open_clip); "lemma": under its first WordNet lemma (timm);
    "definition": all lemmas and the WordNet definition.
    """
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    labels = [info.index_to_label_name(c) for c in range(info.num_classes())]
    lemmas = [info.label_name_to_description(label, detailed=False).split(",")[0] for label in labels]
    return {
        "name": [_photo_of(name) for name in IMAGENET_CLASSNAMES],
        "lemma": [_photo_of(lemma) for lemma in lemmas],
        "definition": [info.label_name_to_description(label, detailed=True) for label in labels],
    }


def _photo_of(thing: str) -> str:
    return f"a photo of {'an' if thing[0].lower() in 'aeiou' else 'a'} {thing}"
