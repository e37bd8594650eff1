"""From what a checkpoint holds to the names of open_clip's model: wrappings undone, other libraries' names translated.

Nobody's list of wrappings is complete, so the weights are searched for: the prefix under which most of the model's own
names lie is taken away, be it a key of the file, a wrapper's `module.` or an attribute of a larger model.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

import torch
from open_clip.convert import convert_state_dict
from torch import Tensor, nn

from metaft.clip import huggingface

State = dict[str, Tensor]

# Parts of names that wrappers insert, with who does; none occurs in a name of open_clip.
WRAPPERS = {
    "module": "DataParallel",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FSDP",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_forward_module": "Lightning Fabric",
}
USUAL = frozenset({"model", "model_state_dict", "state_dict", "weights"})  # keys under which trainers save a model
HUGGING_FACE = "Hugging Face"
# What lies beside the towers and is of no use here: heads on class names of another run, and CoCa's decoder.
HEADS = ("classification_head", "classifier", "head", "fc", "linear_head", "text_decoder")
# What OpenAI's archives hold beside the weights, and counters of averaged models.
COUNTERS = ("input_resolution", "context_length", "vocab_size", "n_averaged")
INSIDE = ("visual.", "visual.trunk.")  # what is before an image tower's own names, and before those of timm's trunk
TEXT_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")


class SeveralModelsError(ValueError):
    """More than one model lies in a checkpoint, and nothing tells which is meant."""


@dataclass(frozen=True)
class Unwrapped:
    """A state dict under a model's names, what was undone to get it, what was left out, and whose names it had."""

    state: State
    undone: tuple[str, ...]
    left_out: tuple[str, ...]
    naming: str | None


def unwrap(tensors: State, model: nn.Module) -> Unwrapped:
    """Name a checkpoint's tensors as the model does; where they fit no name they keep their own.

    Raises:
        SeveralModelsError: it cannot be told which of them are the model's.
    """
    known = model.state_dict().keys()
    prefix, naming, part = _place(tensors, known)
    inside, undone = _taken(tensors, prefix)
    left_out = _beside(tensors, prefix)
    if part:
        inside = {f"{part}{name}" if f"{part}{name}" in known else name: t for name, t in inside.items()}
        undone = [*undone, f"an image tower's own names, without {part!r}"]
    if naming is not None:
        inside = naming.translate(inside, model)
        undone = [*undone, f"{naming.name} names"]
    state = _text_names(inside, known)
    state, heads = _without_extras(state, model)
    whose = naming.name if naming is not None else None
    return Unwrapped(state, tuple(undone), tuple(dict.fromkeys([*left_out, *heads])), whose)


@dataclass(frozen=True)
class Naming:
    """Another library's names of a CLIP model: how they are known, and how they are translated."""

    name: str
    anchor: re.Pattern[str]  # matches one name of such a model from where the model's names begin
    translate: Callable[[State, nn.Module], State]


NAMINGS = (
    Naming(
        HUGGING_FACE,
        re.compile(r"(?:vision_model|text_model)\.embeddings\."),
        lambda state, _: huggingface.translated(state),
    ),
    Naming(
        "Apple's MobileCLIP",
        re.compile(r"image_encoder\.model\.patch_emb(?:ed\.0\.rbr_conv\.0\.conv|\.0\.block\.conv)\.weight$"),
        lambda state, model: convert_state_dict(model, dict(state)),
    ),
)


def _place(tensors: State, known: Set[str]) -> tuple[str, Naming | None, str]:
    """The prefix at which the model's names begin, the naming where it is not open_clip's, and what they lack.

    An image tower alone lacks what its names begin with in the model: more of them are known without it.
    """
    for naming in NAMINGS:
        starts = [(name[: found.start()], name) for name in tensors if (found := _anchored(naming.anchor, name))]
        if starts:
            return _likeliest(tensors, starts), naming, ""
    names = {"": {*known, *(_other_text_name(name) for name in known)}}
    names |= {part: {name.removeprefix(part) for name in known if name.startswith(part)} for part in INSIDE}
    pairs = {part: list(_known(tensors, own)) for part, own in names.items()}
    part = max(pairs, key=lambda part: max(Counter(prefix for prefix, _ in pairs[part]).values(), default=0))
    return _likeliest(tensors, pairs[part]), None, part


def _known(tensors: State, names: Set[str]) -> Iterator[tuple[str, str]]:
    """Prefixes, each with a tensor whose name is one of these below it, but for what wrappers insert."""
    for name in tensors:
        for prefix, rest in _splits(name):
            if rest.split(".")[0] not in WRAPPERS and ".".join(_unwrapped(rest)) in names:
                yield prefix, name


def _anchored(anchor: re.Pattern[str], name: str) -> re.Match[str] | None:
    """Where the anchor begins a dotted part of the name."""
    return next((m for prefix, _ in _splits(name) if (m := anchor.match(name, len(prefix)))), None)


def _likeliest(tensors: State, pairs: Iterable[tuple[str, str]]) -> str:
    """Of prefixes and names below them the prefix of most names; of equals the shortest.

    Plain weights go before averaged ones, and those under a usual key before others.

    Raises:
        SeveralModelsError: two prefixes have as good a claim, each to weights of its own.
    """
    below: dict[str, set[str]] = defaultdict(set)
    for prefix, name in pairs:
        below[prefix].add(name)

    def claim(prefix: str) -> tuple[int, bool, bool]:
        return -len(below[prefix]), is_average(prefix), USUAL.isdisjoint(prefix.split("."))

    first, *others = sorted(below, key=lambda prefix: (claim(prefix), len(prefix))) or [""]
    for other in others:
        if claim(other) == claim(first) and _unlike(*(_below(tensors, below[p], p) for p in (first, other))):
            places = " and ".join(f"under {p[:-1]!r}" if p else "at its top" for p in (first, other))
            raise SeveralModelsError(f"it holds two models, {places}")
    return first


def _below(tensors: State, names: Iterable[str], prefix: str) -> State:
    return {name.removeprefix(prefix): tensors[name] for name in names}


def _unlike(one: State, other: State) -> bool:
    """Whether two models' weights of a name are anywhere not the same."""
    return any(name in other and not torch.equal(tensor, other[name]) for name, tensor in one.items())


def is_average(prefix: str) -> bool:
    """Whether a prefix names an average of weights, such as an exponential moving one (EMA)."""
    return re.search(r"(?i)(?:^|[._])(?:ema|swa|avg|averaged?|polyak|shadow)(?:[._]|$)", prefix) is not None


def _splits(name: str) -> list[tuple[str, str]]:
    """Every way to split a dotted name into prefix and rest."""
    cuts = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
    return [(name[:cut], name[cut:]) for cut in cuts]


def _unwrapped(name: str) -> list[str]:
    return [part for part in name.split(".") if part not in WRAPPERS]


def _taken(tensors: State, prefix: str) -> tuple[State, list[str]]:
    """The tensors under the prefix, without it and without what wrappers inserted further inside."""
    state: State = {}
    inserted: dict[str, None] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            inserted |= dict.fromkeys(part for part in rest.split(".") if part in WRAPPERS)
            own = ".".join(_unwrapped(rest))
            if own in state:
                raise SeveralModelsError(f"it holds {own} twice, with {_label(next(iter(inserted)))} and without")
            state[own] = tensor
    return state, [_label(part) for part in (*prefix.split(".")[:-1], *inserted)]


def _label(part: str) -> str:
    who = WRAPPERS.get(part) or ("a moving average" if is_average(part) else "")
    return f"{part!r} ({who})" if who else repr(part)


def _beside(tensors: State, prefix: str) -> list[str]:
    """What lies beside the model: for each name outside the prefix its part after what it shares with the prefix."""
    parts = prefix.split(".")[:-1]
    groups: dict[str, None] = {}
    for name in tensors:
        if not name.startswith(prefix):
            own = name.split(".")
            shared = next((i for i, part in enumerate(parts) if own[i : i + 1] != [part]), len(parts))
            groups[repr(own[min(shared, len(own) - 1)])] = None
    return list(groups)


def _other_text_name(name: str) -> str:
    """A name of the text tower as models without, or with, a tower `text` of its own have it."""
    return name.removeprefix("text.") if name.startswith("text.") else f"text.{name}"


def _text_names(state: State, known: Set[str]) -> State:
    """The state dict with the text tower's names as the model has them, with `text.` before them or without."""
    renamed = {}
    for name, tensor in state.items():
        other = _other_text_name(name)
        moved = name.removeprefix("text.").split(".")[0] in TEXT_PARTS and name not in known and other in known
        renamed[other if moved else name] = tensor
    return renamed


def _without_extras(state: State, model: nn.Module) -> tuple[State, list[str]]:
    """The state dict without what no model of open_clip needs, and the heads and averages among that."""
    known = model.state_dict().keys()
    buffers = {name for name, _ in model.named_buffers()}  # those not in the state dict the model makes itself

    def extra(name: str) -> bool:
        return name in COUNTERS or name in buffers or name.endswith(".position_ids")

    heads = {name for name in state if name.split(".")[0] in HEADS and name not in known}
    averages = {
        name: prefix.removesuffix(".")
        for name in state
        for prefix, rest in _splits(name)
        if name not in known and rest in known and is_average(prefix)
    }
    kept = {name: t for name, t in state.items() if name in known or not (extra(name) or name in {*heads, *averages})}
    beside = [repr(head) for head in HEADS if any(name.split(".")[0] == head for name in heads)]
    return kept, [*beside, *map(_label, dict.fromkeys(averages.values()))]
