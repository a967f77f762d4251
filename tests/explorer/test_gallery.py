"""The gallery of the one-file report: which images are in it, how large they are, and what it says without them."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import qubastore
from qubastore.cli.main import cli
from qubastore.datasets.image_folder import image_folder
from qubastore.errors import DatasetError, UsageError
from qubastore.explorer.gallery import BYTES, gallery, small
from qubastore.explorer.images import Images
from tests.explorer.conftest import write_pets
from tests.report.browser import HOSTILE
from tests.support.runs import add_run


@pytest.fixture(scope="module")
def with_suite(explored, tmp_path_factory):
    """A copy of the store in which its dataset is the clean set of a suite."""
    path = tmp_path_factory.mktemp("gallery") / "store"
    shutil.copytree(explored.path, path)
    with qubastore.open(path, read_only=False) as store:
        row = "('shades', 'clean', 'pets', 'clean', 'model', 90, '', 'pillow')"
        store.write(lambda c: c.execute(f"insert into own_suites values {row}"))
    return path


@pytest.fixture
def opened_suite(with_suite):
    with qubastore.open(with_suite) as store:
        yield store


def images_of(store, **options):
    return Images(lambda: contextlib.nullcontext(store), **options)


def test_the_parts_are_what_they_say(explored, opened_suite):
    found = gallery(opened_suite, images_of(opened_suite), "shades", HOSTILE, 100)
    assert "do not allow images to be passed on" in found["licence"]
    answers = [explored.answers(i) for i in range(3)]
    right = np.array([prediction == explored.labels for prediction, *_ in answers])
    best, second, _ = np.argsort(-right.mean(axis=1), kind="stable")
    keys = np.array([sample.key for sample in explored.data.samples])
    of = {part["title"]: [image["key"] for image in part["images"]] for part in found["parts"]}
    wrong = np.flatnonzero(~right[best])
    by_confidence = wrong[np.argsort(-answers[best][1][wrong], kind="stable")]
    assert of["Most confident mistakes"] == list(keys[by_confidence])
    assert set(of[f"{HOSTILE[best]} right, {HOSTILE[second]} wrong"]) == set(keys[right[best] & ~right[second]])
    assert set(of[f"{HOSTILE[second]} right, {HOSTILE[best]} wrong"]) == set(keys[right[second] & ~right[best]])
    agree = (answers[0][0] == answers[1][0]) & (answers[1][0] == answers[2][0]) & ~right[0]
    assert set(of.get("Suspected labels", [])) == set(keys[agree])


def test_cue_conflicts_are_decided_by_shape_or_texture_alone(store, tmp_path, cache):
    """A third class is no decision, and an image whose shape and texture agree is no conflict."""
    data = image_folder("cues", write_pets(tmp_path / "cues"))
    data = replace(data, classes=("ant", "bee", "cow"), samples=data.samples[:4])
    textures = ("bee", "bee", "bee", "ant")
    samples = [
        replace(sample, factors={"shape": "ant", "texture": texture})
        for sample, texture in zip(data.samples, textures, strict=True)
    ]
    data = replace(data, samples=tuple(samples))
    answers = [[3, 0, 0], [0, 3, 0], [0, 0, 3], [3, 0, 0]]  # shape, texture, neither, no conflict
    add_run(store, answers, [0] * 4, data=data)
    rows = ", ".join(
        f"('s', '{role}', 'cues', 'clean', 'model', 4, '', 'pillow')" for role in ("clean", "cue_conflict")
    )
    store.write(lambda c: c.execute(f"insert into own_suites values {rows}"))
    found = gallery(store, images_of(store), "s", ["net"], 10)
    of = {part["title"]: [image["key"] for image in part["images"]] for part in found["parts"]}
    assert of["Cue conflicts decided by shape"] == [samples[0].key]
    assert of["Cue conflicts decided by texture"] == [samples[1].key]


def test_each_part_is_limited(opened_suite):
    found = gallery(opened_suite, images_of(opened_suite), "shades", HOSTILE, 2)
    assert {len(part["images"]) for part in found["parts"]} <= {1, 2}
    for number in (0, 101):
        with pytest.raises(UsageError, match="out of range"):
            gallery(opened_suite, images_of(opened_suite), "shades", HOSTILE, number)


def test_noise_fits_too():
    pixels = np.random.default_rng(0).integers(0, 256, (500, 700, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    made = base64.b64decode(small(buffer.getvalue(), "noise.png").partition("base64,")[2])
    assert len(made) <= BYTES
    with Image.open(io.BytesIO(made)) as image:
        assert max(image.size) <= 128


def test_images_that_are_not_at_hand(opened_suite, explored, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(explored.images, folder)
    said: list[str] = []
    wrong = gallery(opened_suite, images_of(opened_suite), "shades", HOSTILE, 5)["parts"][0]["images"]
    (folder / wrong[0]["key"]).write_bytes(b"no image")
    found = gallery(
        opened_suite, images_of(opened_suite, places=[f"pets={folder}"]), "shades", HOSTILE, 5, log=said.append
    )
    assert [image["key"] for image in found["parts"][0]["images"]] == [image["key"] for image in wrong[1:]]
    assert "left out of the gallery" in said[0]
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot be decoded"):
        gallery(opened_suite, images_of(opened_suite, places=[f"pets={folder}"]), "shades", HOSTILE, 5)
    with pytest.raises(UsageError, match="no model was measured on the clean set"):
        gallery(opened_suite, images_of(opened_suite), "quba", HOSTILE, 5)


def data_of(page):
    return json.loads(page.partition("const DATA = ")[2].partition(";\n")[0])


def test_the_command_puts_it_into_the_page(with_suite, tmp_path):
    def report(*words):
        file = tmp_path / "report.html"
        common = ["report", "--store", str(with_suite), "--suite", "shades", "--resamples", "0", "-o", str(file)]
        done = CliRunner().invoke(cli, [*common, *words])
        return done, file.read_text("utf-8") if file.exists() else ""

    done, page = report("--images", "3")
    assert done.exit_code == 0, done.output
    assert len(data_of(page)["gallery"]["parts"][0]["images"]) == 3
    assert "<img src=x" not in page.partition('id="vega"')[0]
    done, page = report()
    assert "gallery" not in data_of(page)
    for words in (["--dataset", "pets=x"], ["--data-root", str(tmp_path)], ["--images", "101"]):
        assert report(*words)[0].exit_code == 2
