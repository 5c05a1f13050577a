"""open_clip models: `local-dir:<folder>`, `hf-hub:<org>/<repo>` and `open_clip:<arch>/<tag>`.

Loading goes through `create_model_from_pretrained` only, so that weights, preprocessing and tokenizer belong together.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from workbench.features import ImageFeatures, Projector, TextFeatures
from workbench.models.card import ModelCard
from workbench.models.dual_encoder import DualEncoder, Tokenized


class OpenClipEncoder(DualEncoder):
    """A CLIP of open_clip with a ViT image tower, its features read through `forward_intermediates`."""

    def __init__(self, model: nn.Module, preprocess, tokenizer, card: ModelCard, **placement):
        super().__init__(model, card, **placement)
        self._preprocess, self._tokenizer = preprocess, tokenizer

    @property
    def logit_scale(self) -> float:
        return self.module.logit_scale.exp().item()

    @property
    def logit_bias(self) -> float:
        bias = getattr(self.module, "logit_bias", None)
        return 0.0 if bias is None else bias.item()

    @property
    def image_projector(self) -> Projector:
        return Projector(self.module.visual.proj.detach().T.float())

    @property
    def text_projector(self) -> Projector:
        projection = self.module.text_projection
        if isinstance(projection, nn.Linear):
            bias = None if projection.bias is None else projection.bias.detach().float()
            return Projector(projection.weight.detach().float(), bias)
        return Projector(projection.detach().T.float())

    def forward_image(
        self, pixels: Tensor, *, tokens: bool = False, layer: int = -1, dense: str = "raw"
    ) -> ImageFeatures:
        if layer != -1 or dense != "raw":
            raise ValueError(f"layer={layer}, dense={dense!r}: {self.name} offers layer=-1 and dense='raw' so far")
        visual = self.module.visual
        out = visual.forward_intermediates(
            pixels,
            indices=1,
            normalize_intermediates=True,
            output_fmt="NLC",
            output_extra_tokens=True,
            intermediates_only=True,
        )
        patches = out["image_intermediates"][-1]  # (B, P, d_i), after ln_post
        pre = out["image_intermediates_prefix"][-1][:, 0] if visual.pool_type == "tok" else patches.mean(1)
        projected = patches @ visual.proj if tokens else None
        return ImageFeatures(pre, pre @ visual.proj, projected, tuple(visual.grid_size))

    def forward_text(self, ids: Tensor, mask: Tensor, *, tokens: bool = False, layer: int = -1) -> TextFeatures:
        if layer != -1:
            raise ValueError(f"layer={layer}: {self.name} offers layer=-1 so far")
        from open_clip.transformer import text_global_pool

        model = self.module
        out = model.forward_intermediates(
            text=ids, text_indices=1, normalize_intermediates=True, intermediates_only=True
        )
        states = out["text_intermediates"][-1]  # (B, T, d_t), after ln_final
        pre = text_global_pool(states, ids, model.text_pool_type, eos_token_id=getattr(model, "text_eos_id", None))
        return TextFeatures(
            pre, self._project(pre), self._project(states) if tokens else None, _words_only(mask) if tokens else None
        )

    def _project(self, states: Tensor) -> Tensor:
        projection = self.module.text_projection
        return projection(states) if isinstance(projection, nn.Linear) else states @ projection

    def _pixels(self, image: Image.Image, size: int) -> Tensor:
        return self._preprocess(image)

    def _tokenize(self, texts: list[str]) -> Tokenized:
        ids = self._tokenizer(texts)
        # open_clip cuts in silence, so count again what each caption would have taken, start and end included.
        pieces = getattr(self._tokenizer, "encode", None) or self._tokenizer.tokenizer.tokenize
        lengths = tuple(len(pieces(text)) + 2 for text in texts)
        return Tokenized(ids, ids != 0, full_lengths=lengths)


def _words_only(mask: Tensor) -> Tensor:
    """The mask without its first (start) and last (end) true entry of each row."""
    counts = mask.cumsum(1)
    return mask & (counts > 1) & (counts < counts[:, -1:])


def load_open_clip(name: str, *, weights: str | Path | None, device: str, dtype: torch.dtype) -> OpenClipEncoder:
    """Load `name` with its own weights, preprocessing and tokenizer; `weights` is a checkpoint file for `open_clip:<arch>`.

    Raises FileNotFoundError for an incomplete folder, ConnectionError where the hub would be needed and is not there,
    ValueError for an unknown architecture or tag, or weights that do not fit the configuration.
    """
    import open_clip

    model_id, tag = _open_clip_id(name, weights)
    with _said_clearly(name):
        model, preprocess = open_clip.create_model_from_pretrained(model_id, pretrained=tag, device="cpu")
        tokenizer = open_clip.get_tokenizer(model_id)
    _must_be_vit(name, model)
    _must_be_finite(name, model)
    return OpenClipEncoder(model, preprocess, tokenizer, _card(name, model, preprocess), device=device, dtype=dtype)


def skeleton_open_clip(name: str) -> OpenClipEncoder:
    """The same model without weights, on the meta device: shapes only, for planning."""
    import open_clip

    model_id, _ = _open_clip_id(name, None, need_weights=False)
    with _said_clearly(name), torch.device("meta"):
        model = open_clip.create_model(model_id, pretrained=None, device="meta", load_weights=False)
    _must_be_vit(name, model)
    return OpenClipEncoder(model, None, None, _card(name, model, None), device="meta", dtype=torch.float32)


def _open_clip_id(name: str, weights, *, need_weights: bool = True) -> tuple[str, str | None]:
    """`name` as open_clip's own id and its `pretrained` argument."""
    import open_clip

    scheme, _, rest = name.partition(":")
    if scheme == "local-dir":
        _check_folder(Path(rest), need_weights)
        return name, None
    if scheme == "hf-hub":
        return name, None
    arch, _, tag = rest.partition("/")
    if arch not in open_clip.list_models():
        raise ValueError(f"open_clip has no architecture {arch!r}{_closest(arch, open_clip.list_models())}")
    if weights is not None:
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"weights={str(weights)!r} is not a file; give the path of a .safetensors or .pt checkpoint"
            )
        return arch, str(weights)
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if tag not in tags and need_weights:
        raise ValueError(
            f"open_clip has no tag {tag!r} for {arch}; choose one of {', '.join(tags) or 'none'}, or give weights=<file>"
        )
    return arch, tag or None


def _check_folder(folder: Path, need_weights: bool) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; local-dir: takes a folder with open_clip_config.json and weights"
        )
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{config} is missing; save it beside the weights (keys model_cfg, preprocess_cfg)")
    try:
        keys = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{config} is not valid JSON ({error}); download or save it again") from error
    if "model_cfg" not in keys:
        raise ValueError(f"{config} has no 'model_cfg'; its keys are {sorted(keys)}. Save it in open_clip's format")
    if need_weights and not weight_files(folder):
        raise FileNotFoundError(
            f"{folder} has no weights; put open_clip_model.safetensors (or open_clip_pytorch_model.bin) there"
        )


def weight_files(folder: Path) -> list[Path]:
    endings = {".safetensors", ".bin", ".pt", ".pth"}
    return sorted(path for path in folder.iterdir() if path.suffix in endings and path.stat().st_size)


@contextmanager
def _said_clearly(name: str):
    """open_clip's failures as one sentence with the next step, the original behind it."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from safetensors import SafetensorError

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # open_clip logs at the root, in the middle of a notebook
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        raise ConnectionError(_unreachable(name)) from error
    except SafetensorError as error:
        raise ValueError(
            f"the weights of {name} are cut short or damaged ({error}); download or copy them again"
        ) from error
    except RuntimeError as error:
        raise _explained(name, error) from error
    finally:
        root.setLevel(level)


def _explained(name: str, error: RuntimeError) -> Exception:
    said = str(error)
    if "Failed to download" in said or "HF Hub" in said:
        return ConnectionError(_unreachable(name))
    if "loading state_dict" in said or "size mismatch" in said:
        return ValueError(f"the weights of {name} do not fit its configuration: {_first_lines(error)}")
    return ValueError(f"{name} could not be loaded: {_first_lines(error)}")


def _unreachable(name: str) -> str:
    return (
        f"{name} is not on this machine and the hub does not answer; where there is a network, unset HF_HUB_OFFLINE; "
        "else download it elsewhere, copy the folder here and load 'local-dir:<folder>'"
    )


def _first_lines(error: Exception, n: int = 3) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:n])[:400]


def _closest(name: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"; did you mean {', '.join(near)}?" if near else "; see open_clip.list_models()"


def _must_be_vit(name: str, model: nn.Module) -> None:
    from open_clip.model import CLIP
    from open_clip.transformer import VisionTransformer

    visual = model.visual
    plain = isinstance(model, CLIP) and isinstance(visual, VisionTransformer)
    if not plain or visual.attn_pool is not None or visual.proj is None or visual.pool_type not in ("tok", "avg"):
        raise ValueError(
            f"{name} is a {type(model).__name__} with a {type(visual).__name__} image tower; only CLIP with a ViT is read so far"
        )


def _must_be_finite(name: str, model: nn.Module) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(
                f"weight {key!r} of {name} has NaN or infinite entries; the checkpoint is damaged, get it again"
            )


def _card(name: str, model: nn.Module, preprocess) -> ModelCard:
    visual = model.visual
    size = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    mean, std = getattr(visual, "image_mean", None) or (0.5,) * 3, getattr(visual, "image_std", None) or (0.5,) * 3
    projection = model.text_projection
    d_t, d = (
        (projection.in_features, projection.out_features) if isinstance(projection, nn.Linear) else projection.shape
    )
    return ModelCard(
        name=name,
        source=name,
        parameters=sum(p.numel() for p in model.parameters()),
        d_i=visual.proj.shape[0],
        d_t=d_t,
        d=d,
        image_size=size,
        grid=tuple(visual.grid_size),
        context_length=model.context_length,
        preprocess=_in_words(preprocess),
        mean=tuple(mean),
        std=tuple(std),
        digest=_digest(model) if preprocess is not None else "",
    )


def _in_words(preprocess) -> str:
    if preprocess is None:
        return "not loaded"
    steps = [
        str(step).replace("\n", " ") for step in preprocess.transforms if not callable(getattr(step, "__code__", None))
    ]
    return ", ".join(step for step in steps if "function" not in step)


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
