"""Make a task of twelve classes out of a folder of ImageNet: broad groups of animals and other things, train and test.

    python examples/own-images/make_task.py ../shared/data/imagenet-500 /tmp/groups

Every second image of a group, in the order of the names, is for testing. Images are copied, so that the new folder can
be used by itself. It is the task of docs/own-images.md.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from qubastore.datasets.label_spaces import imagenet_synsets

GROUPS: dict[str, tuple[range, ...]] = {
    "fish": (range(0, 7), range(389, 398)),
    "bird": (range(7, 25), range(80, 101), range(127, 147)),
    "amphibian or lizard": (range(25, 33), range(38, 49)),
    "turtle or snake": (range(33, 38), range(52, 69)),
    "insect or spider": (range(69, 80), range(300, 327)),
    "crab or shell": (range(107, 127),),
    "dog": (range(151, 269),),
    "wild cat, bear or weasel": (range(269, 300), range(356, 363)),
    "hoofed animal": (range(339, 356),),
    "monkey": (range(365, 385),),
    "food": (range(924, 970),),
    "landscape": (range(970, 981),),
}
"""Group -> its classes, by their indices in ImageNet-1k."""


def main() -> None:
    """Copy the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("imagenet", type=Path, help="a folder with one folder of images per synset")
    parser.add_argument("target", type=Path, help="the folder to make, with train and test")
    arguments = parser.parse_args()
    synsets = imagenet_synsets()
    for group, ranges in GROUPS.items():
        names = sorted(synsets[index] for each in ranges for index in each)
        images = [path for name in names for path in sorted((arguments.imagenet / name).glob("*.*"))]
        if len(images) < 4:
            parser.error(f"{arguments.imagenet} has {len(images)} images of the group {group}")
        for number, image in enumerate(images):
            place = arguments.target / ("test" if number % 2 else "train") / group / image.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, place)
    print(f"{arguments.target}: {len(GROUPS)} classes, {len(list(arguments.target.rglob('*.*')))} images")


if __name__ == "__main__":
    main()
