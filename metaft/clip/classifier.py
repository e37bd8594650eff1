"""A CLIP model with a classification head, trained and differentiated through one `forward`."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple, cast

import open_clip
import torch
from timm.layers.attention import Attention as TimmAttention
from torch import Tensor, nn

from metaft.clip.load import Clip
from metaft.clip.precision import autocast, matmuls
from metaft.clip.trunk import Trunk
from metaft.data.types import Classes
from metaft.errors import ConfigError, DataError, Fault, first_line


class Outputs(NamedTuple):
    """Logits [B, C], unit image features [B, D], unit text features [B, D] or None, the logit scale []."""

    logits: Tensor
    image_features: Tensor
    text_features: Tensor | None
    logit_scale: Tensor


class Classifier(nn.Module):
    """CLIP's image tower and a linear head; the text tower joins where captions are given.

    logits = W f(x) + b, with f(x) of unit length. Everything happens in `forward`, because a model patched by
    `higher` keeps stale weights in every other method.

    Args:
        precision: that of the towers (see `metaft.clip.precision`); the head is of its weights', as outputs are.

    Attributes:
        trunk: what is kept of what the image tower makes of splits; shared by all that hold the same tower.
    """

    def __init__(self, clip: nn.Module, weight: Tensor, bias: Tensor, precision: str = "float32") -> None:
        super().__init__()
        self.clip, self.precision, self.trunk = clip, precision, Trunk()
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def forward(self, images: Tensor, tokens: Tensor | None = None) -> Outputs:
        """Normalised images [B, 3, S, S] and, for the text tower, one caption's tokens [B, L] per image."""
        with matmuls(self.precision), autocast(self.precision, images.device):
            out = self.clip(images, tokens)
        dtype, text = self.head.weight.dtype, out["text_features"]
        features = out["image_features"].to(dtype)
        return Outputs(
            self.head(features), features, None if text is None else text.to(dtype), out["logit_scale"].to(dtype)
        )

    def in_precision(self, precision: str) -> Classifier:
        """The same model, with the same parameters, in another precision; itself where it has that."""
        if precision == self.precision:
            return self
        other = holding(self, {})
        other.precision, other.trunk = precision, Trunk()
        return other

    def dead(self) -> dict[str, slice]:
        """The part of each parameter that moves no output: key biases, by parameter name.

        A key bias adds the same number to all logits of a softmax. Its gradient is zero in theory and rounding in
        practice, which AdamW would blow up to full steps. Where attention normalises its keys, a key bias acts.
        """
        parts = {}
        for prefix, module in self.named_modules():
            name = _key_bias(module)
            if name is not None:
                size = len(module.get_parameter(name)) // 3
                parts[f"{prefix}.{name}"] = slice(size, 2 * size)
        return parts


def _key_bias(module: nn.Module) -> str | None:
    """The parameter that stacks an attention module's query, key and value biases, where its key bias is dead."""
    if isinstance(module, nn.MultiheadAttention):
        plain = module.bias_k is None and not module.add_zero_attn
        return "in_proj_bias" if plain and module.in_proj_bias is not None else None
    if isinstance(module, TimmAttention):
        return "qkv.bias" if module.qkv.bias is not None and isinstance(module.k_norm, nn.Identity) else None
    return None


_BLOCK = re.compile(r"clip\.visual\..*?(?:resblocks|blocks)\.(\d+)\.(.+)")
_HEAD = re.compile(r"clip\.visual\.(?:ln_post|proj$|trunk\.norm\.|head\.)")


def group_of(name: str) -> str:
    """The group of a classifier's parameter: `stem`, `block.I.attn`, `block.I.mlp`, `head` or `text`.

    Image towers without transformer blocks are all `stem`.
    """
    block = _BLOCK.match(name)
    if block:
        part = "attn" if re.match(r"(?:ln_1|norm1|ls_1|ls1|attn)", block[2]) else "mlp"
        return f"block.{block[1]}.{part}"
    if name.startswith("head.") or _HEAD.match(name):
        return "head"
    return "stem" if name.startswith("clip.visual.") else "text"


def grouped(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parameter names by group, in their order."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    return {group: tuple(members) for group, members in groups.items()}


def zero_shot(
    clip: Clip, classes: Classes, device: torch.device | str = "cpu", precision: str = "float32"
) -> Classifier:
    """The zero-shot classifier: open_clip's head from class names and templates, times the logit scale."""
    directions = open_clip.build_zero_shot_classifier(
        clip.model, clip.tokenizer, list(classes.spoken), list(classes.templates), device=device
    )
    scale = cast(Tensor, clip.model.logit_scale).detach().exp()
    shift: Tensor | None = getattr(clip.model, "logit_bias", None)
    bias = (
        torch.zeros(len(classes.names), device=device) if shift is None else shift.detach().expand(len(classes.names))
    )
    return Classifier(clip.model, directions.T * scale, bias, precision).to(device).eval()


def trainable(classifier: Classifier, *, text: bool, freeze: Sequence[str]) -> tuple[str, ...]:
    """The names of the parameters that training changes: image tower and head; with `text` all of the text side too.

    Args:
        text: whether a term needs captions, and so the text tower and the logit scale.
        freeze: patterns (with `*`) of names that stay at their pretrained values.

    Raises:
        ConfigError: a pattern matches no parameter at all.
    """
    names = [name for name, _ in classifier.named_parameters()]
    idle = [pattern for pattern in freeze if not any(fnmatch(name, pattern) for name in names)]
    if idle:
        examples = f"names like {', '.join(names[:3])}"
        raise ConfigError([Fault("model.freeze", f"{pattern!r} matches no parameter", examples) for pattern in idle])
    sides = [name for name in names if text or group_of(name) != "text"]
    return tuple(name for name in sides if not any(fnmatch(name, pattern) for pattern in freeze))


def picked_parameters(classifier: Classifier, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The parameters with these names, in the order of the names."""
    parameters = dict(classifier.named_parameters())
    return {name: parameters[name] for name in names}


def holding(model: Classifier, values: Mapping[str, Tensor]) -> Classifier:
    """A copy of a model that holds other values of the named parameters, and shares all others with the model."""
    parameters = dict(model.named_parameters())
    shared = {id(p): p for p in parameters.values()}
    held = {id(parameters[name]): nn.Parameter(value.to(parameters[name])) for name, value in values.items()}
    other = copy.deepcopy(model, {**shared, **held})
    if all(name.startswith("head.") for name in values):
        other.trunk = model.trunk
    return other


def caption_tokens(clip: Clip, classes: Classes, device: torch.device | str = "cpu") -> Tensor:
    """Tokens of every class in every template, [C, M, L]: M templates, L tokens.

    Raises:
        DataError: a caption is too long for the text tower, which would see its beginning alone, or two classes have
            the same tokens, as names that differ in blanks or quotes; those of a published set may.
    """
    captions = [template.format(name) for name in classes.spoken for template in classes.templates]
    tokens = _tokenised(clip, captions).to(device)
    length = tokens.shape[1]
    for caption, row in zip(captions, tokens.cpu(), strict=True):
        if len(caption.encode()) + 2 > length and _is_cut(clip, caption, row):
            what = f"the caption {caption[:80]!r}, which is cut after {length} tokens"
            raise DataError(f"data: {what}; allowed: shorter class names or templates")
    by_class = tokens.reshape(len(classes.names), len(classes.templates), -1)
    if not classes.words:
        _refuse_alike(classes.names, by_class)
    return by_class


def _refuse_alike(names: Sequence[str], tokens: Tensor) -> None:
    """Refuse two classes that the text tower cannot tell apart, by their tokens [C, M, L]."""
    first: dict[bytes, str] = {}
    for name, rows in zip(names, tokens.cpu().numpy(), strict=True):
        other = first.setdefault(rows.tobytes(), name)
        if other is not name:
            found = f"the class names {other!a} and {name!a}, which are the same to the model's tokenizer"
            raise DataError(f"data: {found}; allowed: names that differ in more than blanks, quotes and the like")


def _tokenised(clip: Clip, captions: list[str]) -> Tensor:
    """The tokens of captions, [N, L].

    Raises:
        ConfigError: the tokenizer, which may be a person's own, gives something else.
    """
    try:
        tokens: Any = clip.tokenizer(captions)
    except Exception as error:
        raise _wrong_tokenizer(f"one that cannot take captions ({first_line(error)})") from error
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or len(tokens) != len(captions):
        raise _wrong_tokenizer(f"one that gives a {type(tokens).__name__}")
    if tokens.dtype not in (torch.int32, torch.int64):
        raise _wrong_tokenizer(f"one that gives tokens of {tokens.dtype}")
    _refuse_unfit(clip, tokens)
    return tokens


@torch.no_grad()
def _refuse_unfit(clip: Clip, tokens: Tensor) -> None:
    """Refuse tokens [N, L] that the text tower cannot take: of another length, or beyond its vocabulary.

    The row with the largest token is tried, so that nothing is asked of towers but what they do.
    """
    model: Any = clip.model
    row = tokens[tokens.flatten().argmax() // tokens.shape[1]][None]
    try:
        model.encode_text(row.to(model.logit_scale.device))
    except Exception as error:  # of whatever family the tower is
        reason = f"{row.shape[1]} tokens a caption, the largest {int(row.max())} ({first_line(error)})"
        raise _wrong_tokenizer(f"one whose tokens the model's text tower cannot take: {reason}") from error


def _wrong_tokenizer(found: str) -> ConfigError:
    return ConfigError([Fault("tokenizer", found, "open_clip.get_tokenizer: captions to a tensor [captions, tokens]")])


def _is_cut(clip: Clip, caption: str, row: Tensor) -> bool:
    """Whether a caption has more tokens than its row [L] holds, be there a token at the end of texts or none.

    A tokenizer that cannot be asked for longer rows, as a person's own may be, is taken to have cut a row whose places
    differ from those behind the shortest text.
    """
    length = len(row)
    try:
        whole, nothing = (_tokens(clip, text, 2 * length) for text in (caption, ""))
    except TypeError:
        return bool(row[-1] != clip.tokenizer([""])[0, -1])
    return not torch.equal(whole[:length], row) or not torch.equal(whole[length:], nothing[length:])


def _tokens(clip: Clip, caption: str, length: int) -> Tensor:
    """The tokens of a caption, [length]."""
    tokens: Tensor = clip.tokenizer([caption], context_length=length)  # type: ignore[call-arg]
    return tokens[0].cpu()
