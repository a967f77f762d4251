"""A miniature data root: every dataset of both studies but VTAB in its authors' layout, a few random images each.

Also a script: `python -m tests.support.data_root DIR` makes one to try the command line on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from qubastore.datasets.catalogue import CORRUPTIONS, PUG_SETS, SEVERITIES
from qubastore.datasets.label_spaces import label_space
from qubastore.datasets.readers import PUG_FILE

SYNSETS = ("n01443537", "n02123045", "n02690373", "n03041632")
"""goldfish, tabby, airliner, cleaver: in ImageNet-R or in the 16 categories, or in both."""


def make(root: Path, *, per_class: int = 1) -> Path:
    """Write every dataset below `root`."""
    generator = np.random.default_rng(0)

    def image(path: Path, size: tuple[int, int] = (224, 224)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Coarse noise: small files, and not all predictions alike.
        pixels = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)

    for synset in SYNSETS:
        for number in range(per_class):
            image(root / "imagenet-val" / synset / f"ILSVRC2012_val_{number + 1:08d}.JPEG", (260, 240))
            for corruption in CORRUPTIONS:
                for severity in SEVERITIES:
                    image(root / "imagenet-c" / corruption / str(severity) / synset / f"val_{number + 1:08d}.JPEG")
    for synset in SYNSETS[:1]:
        for number in range(3 * per_class):
            image(root / "imagenet-r" / synset / f"art_{number}.jpg", (300, 200))
    for synset, category in (("n01498041", "stingray"), ("n01531178", "goldfinch")):
        image(root / "imagenet-a" / synset / f"{category}.jpg", (300, 200))
    for synset in SYNSETS:
        image(root / "ImageNet-Sketch" / "sketch" / synset / "sketch_1.JPEG", (240, 260))
    for folder in ("matched-frequency-format-val", "threshold0.7-format-val", "top-images-format-val"):
        for label in (1, 404, 7):
            image(root / f"imagenetv2-{folder}" / str(label) / "0a1b.jpeg", (240, 260))
    _hard(root / "imagenet-hard" / "data" / "validation-00000-of-00001.parquet", generator)
    rows = []
    for folder in PUG_SETS:
        for number, category in enumerate(("Cat", "Frog", "Goldfish")):
            file = f"{category}/{folder}_{number}.png"
            image(root / "PUG_ImageNet" / folder / file, (256, 256))
            rows.append(f"{folder}/{file}," + ",".join(f"{column}-{number % 2}" for column in PUG_SETS.values()))
    header = "filename," + ",".join(PUG_SETS.values())
    (root / "PUG_ImageNet" / PUG_FILE).write_text("\n".join([header, *rows]))
    human = root / "model-vs-human" / "datasets"
    for name in ("sketch", "stylized", "edge", "silhouette"):
        for number, category in enumerate(("airplane", "cat", "knife")):
            short = {"sketch": "skt", "stylized": "sty"}.get(name, name[:4])
            file = f"{number + 1:04d}_{short}_dnn_0_{category}_00_{category}-n0269115{number}_1.png"
            image(human / name / "dnn" / "session-1" / file)
    for shape in ("airplane", "cat", "knife"):
        for texture in ("airplane", "cat", "knife"):
            image(human / "cue-conflict" / shape / f"{shape}1-{texture}2.png")
    folders = [f"{label:02d}_{name}" for label, name in enumerate(label_space("in9").classes)]
    for name in ("mixed_same", "mixed_rand"):
        for folder in folders:
            image(root / "bg_challenge" / name / "val" / folder / f"fg_{folder[:2]}_bg.JPEG")
    return root


def _hard(path: Path, generator: np.random.Generator) -> None:
    """Three rows with one to three right classes each."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for labels in ([1], [404, 7], [7, 1, 404]):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(buffer, "png")
        rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": labels, "origin": "imagenet"})
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
