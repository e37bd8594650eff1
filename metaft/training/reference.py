"""theta_0's outputs on training images, which distillation looks at."""

from __future__ import annotations

import os
import shutil
import tempfile

import numpy as np
import torch
from torch import Tensor, nn

from metaft import ranks
from metaft.clip.predict import outputs
from metaft.data.decoded import SPARE
from metaft.data.types import Split
from metaft.errors import why
from metaft.files import cache_folder
from metaft.inner.attention import any_attention
from metaft.progress import tell

BLOCK = 64  # images of which theta_0's outputs are computed together
WHOLE = 50_000  # images of a split, up to which all of its outputs are kept in memory


class Reference:
    """theta_0's logits and features of a split's images, computed once per image, when one is asked for.

    How a batch is put together, and the attention kernel, decide how its sums are rounded. So images are computed in
    blocks of the split's order and with the same kernels, whatever is asked for, and where: a training that was
    interrupted gets the same bits as one that was not; where outputs go on disk, as long as that has room both times.

    Of a split of more than `WHOLE` images outputs are kept on disk, in a file that goes with this object. Where fewer
    images are asked for than there are, as by a search, or there is no room, none are: they are computed as they are
    asked for.

    Args:
        classifier: theta_0; it is never changed.
        asked: how many images will be asked for, again or not.
    """

    def __init__(self, classifier: nn.Module, split: Split, device: torch.device | str, asked: int = 0) -> None:
        self._classifier, self._split, self._device = classifier, split, device
        self._known: set[int] = set()  # blocks
        self._outputs: tuple[Tensor, Tensor] | None = None
        self._keeps = len(split) <= WHOLE or asked >= len(split)

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, C] and features [B, D] of these images."""
        for block in sorted({*(indices // BLOCK).tolist()} - self._known) if self._keeps else ():
            self._keep(block)
        if self._outputs is None:
            return self._computed(indices)
        logits, features = (part[indices].to(self._device) for part in self._outputs)
        return logits, features

    def _keep(self, block: int) -> None:
        """Compute and keep the outputs of a block, if there is room for all."""
        if not self._keeps:
            return
        rows = torch.arange(BLOCK * block, min(BLOCK * (block + 1), len(self._split)))
        found = self._computed(rows)
        if self._outputs is None:
            self._outputs = self._room(found)
        if self._outputs is None:
            self._keeps = False
            return
        for all_of_them, part in zip(self._outputs, found, strict=True):
            all_of_them[rows] = part.to(all_of_them.device)
        self._known.add(block)

    def _room(self, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Where outputs are kept, of as many images as the split has; None: on some rank there is no room."""
        count, widths = len(self._split), [part.shape[1] for part in like]
        if count <= WHOLE:
            logits, features = (part.new_zeros(count, width) for part, width in zip(like, widths, strict=True))
            return logits, features
        reason, place = None, None
        try:
            place = _on_disk(count * sum(widths), like[0].dtype)
        except OSError as error:
            reason = why(error)
        reasons = [told for told in ranks.gathered(reason) if told is not None]
        if reasons or place is None:
            tell(f"theta_0's outputs on {self._split.name} are computed whenever they are asked for: {reasons[0]}")
            return None
        logits, features = (
            part.view(count, width)
            for part, width in zip(place.split([count * width for width in widths]), widths, strict=True)
        )
        return logits, features

    @torch.no_grad()
    def _computed(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        with any_attention():
            out = outputs(self._classifier, self._split.batch(indices, self._device, share=ranks.share()).images)
        return out.logits, out.image_features


def _on_disk(size: int, dtype: torch.dtype) -> Tensor:
    """Zeros [size] in a file that nobody else sees and that goes with the tensor; its room is taken at once.

    Raises:
        OSError: there is no room, or no folder that can be written to.
    """
    folder, each = cache_folder(), torch.empty(0, dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    wanted, free = size * each.element_size(), SPARE * shutil.disk_usage(folder).free / ranks.beside()
    if wanted > free:
        raise OSError(f"they would take {wanted / 2**30:.1f} GiB; {free / 2**30:.1f} are free at {folder}")
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # as macOS has not
            os.posix_fallocate(file.fileno(), 0, wanted)  # lest a write to the memory finds the disk full
        return torch.from_numpy(np.asarray(np.memmap(file, each.numpy().dtype, "r+", shape=(size,))))
