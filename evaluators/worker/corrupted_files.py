"""Images under a corruption, as ImageNet-C has them: files of 224 x 224 pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from qubastore.conditions import Condition
from qubastore.datasets.decoding import open_image
from qubastore.evaluators.pixels.pillow import prepare
from qubastore.evaluators.worker.attacks import sample_seed
from qubastore.evaluators.worker.corruptions import corrupt
from qubastore.models.preprocessing import Preprocessing

CROPPED = Preprocessing(crop=(224, 224), resize=(256, 256), interpolation="bilinear")
"""What ImageNet-C corrupts: the centre of the image, after its shorter edge was resized to 256."""


JPEG_QUALITY = 85
"""The quality of ImageNet-C's files."""


@dataclass(frozen=True)
class Corrupted:
    """How images are corrupted.

    Attributes:
        condition: A condition with a corruption.
        framing: `model` for the centre of the image, `whole` for all of it.
    """

    condition: Condition
    framing: str

    def file(self, data: bytes, key: str) -> bytes:
        """The corrupted image as a JPEG file.

        Args:
            data: The file of the image.
            key: The sample's key, which decides the random numbers, together with the condition.
        """
        corruption = self.condition.corruption
        assert corruption is not None
        pixels = np.asarray(prepare(open_image(data), CROPPED.framed(self.framing)))
        random = np.random.default_rng(sample_seed(key, str(self.condition)))
        found = io.BytesIO()
        changed = corrupt(pixels, corruption.name, corruption.severity, random)
        Image.fromarray(changed).save(found, "JPEG", quality=JPEG_QUALITY, optimize=True)
        return found.getvalue()
