"""Where images are read from, what becomes of them, and what is refused."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import qubastore
from qubastore.datasets.image_folder import image_folder
from qubastore.errors import DatasetError
from qubastore.explorer.images import FULL, THUMBNAIL, Found, Images, shrunk
from qubastore.hashing import content_hash
from qubastore.runs.records import register_dataset
from tests.explorer.conftest import write_pets


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP"
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture
def made(store, tmp_path, cache):
    """A dataset of files, registered, and the images of its store."""
    data = image_folder("pets", write_pets(tmp_path / "pets"))
    store.write(lambda c: register_dataset(c, data))
    return data, Images(lambda: contextlib.nullcontext(store))


def test_a_thumbnail_shows_its_image(made):
    data, images = made
    for sample_id in (0, 1, 2, 3, 89):
        with Image.open(f"{data.root}/{data.samples[sample_id].key}") as image:
            expected = np.asarray(image).astype(int)
        for data_ in (images.thumbnail(data.dataset_id, sample_id), images.full(data.dataset_id, sample_id)):
            assert pixels(data_).shape == expected.shape
            assert np.abs(pixels(data_) - expected).max() <= 8


def test_large_images_are_shrunk():
    buffer = io.BytesIO()
    Image.new("L", (4000, 2000), 77).save(buffer, "JPEG")
    assert shrunk(buffer.getvalue(), THUMBNAIL, "x").size == (THUMBNAIL, THUMBNAIL // 2)
    assert shrunk(buffer.getvalue(), FULL, "x").size == (FULL, FULL // 2)
    assert shrunk(buffer.getvalue(), THUMBNAIL, "x").mode == "RGB"


def test_16_bits_are_shown_as_models_see_them():
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    shown = np.asarray(shrunk(buffer.getvalue(), 64, "x.png"))
    assert np.abs(shown[..., 0] - values / 257).max() <= 1


def test_a_row_that_a_table_does_not_have(store, tmp_path, cache):
    root = write_pets(tmp_path / "pets")
    files = sorted(root.rglob("*.png"))
    rows = [{"bytes": file.read_bytes(), "path": f"{at}.png"} for at, file in enumerate(files)]
    names = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["ant", "bee"]}}}})}
    table = pa.table({"image": rows, "label": [0, 1] * 45}).replace_schema_metadata(names)
    (tmp_path / "tables").mkdir()
    pq.write_table(table, tmp_path / "tables" / "test-0.parquet")
    data = image_folder("packed", tmp_path / "tables")
    store.write(lambda c: register_dataset(c, data))
    images = Images(lambda: contextlib.nullcontext(store))
    last = max(range(90), key=lambda each: data.samples[each].row or 0)
    assert pixels(images.full(data.dataset_id, last)).shape == (30, 40, 3)
    store.write(lambda c: c.execute("update samples set place = 90 where sample_id = 0"))
    with pytest.raises(DatasetError, match="cannot be read"):
        images.full(data.dataset_id, 0)


def test_parts_of_a_dataset_are_found_by_their_own_names(tmp_path):
    for corruption in ("fog", "snow"):
        write_pets(tmp_path / "c" / corruption / "1")
    images = Images(lambda: pytest.fail("not needed"), [f"pets-c={tmp_path / 'c'},layout=corruption/severity/class"])
    assert [*images.given.values()] == [["pets-c/fog/1", "pets-c/snow/1"]]
    assert images._of_moved("pets-c/snow/1")
    assert images._of_moved("pets-c") is None


def test_a_thumbnail_is_made_once(made, cache, monkeypatch):
    data, images = made
    first = images.thumbnail(data.dataset_id, 4)
    assert len([file for file in cache.rglob("*") if file.is_file()]) == 1
    monkeypatch.setattr(Images, "read", lambda *_: pytest.fail("it is read again"))
    assert images.thumbnail(data.dataset_id, 4) == first


def test_without_a_cache_that_can_be_written_it_works(made, cache):
    data, images = made
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in its place")
    assert pixels(images.thumbnail(data.dataset_id, 4)).shape == (30, 40, 3)


def test_images_in_tar_files_and_tables(store, tmp_path, cache):
    root = write_pets(tmp_path / "pets")
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "part.tar", "w") as tar:
        tar.add(root, arcname="")
    data = image_folder("packed", tmp_path / "tars")
    store.write(lambda c: register_dataset(c, data))
    images = Images(lambda: contextlib.nullcontext(store))
    with Image.open(root / data.samples[33].key) as image:
        expected = np.asarray(image).astype(int)
    assert np.abs(pixels(images.thumbnail(data.dataset_id, 33)) - expected).max() <= 8


def test_images_that_were_moved(made, tmp_path, store):
    data, images = made
    shutil.move(tmp_path / "pets", tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"cannot be read(.|\n)*--dataset pets=PATH"):
        images.thumbnail(data.dataset_id, 0)
    borrow = lambda: contextlib.nullcontext(store)  # noqa: E731
    moved = Images(borrow, [f"pets={tmp_path / 'elsewhere'}"])
    assert moved.find(data.dataset_id, 0).root == str(tmp_path / "elsewhere")
    assert pixels(moved.full(data.dataset_id, 0)).shape == (30, 40, 3)
    (tmp_path / "elsewhere" / data.samples[0].key).unlink()
    with pytest.raises(DatasetError, match="none called"):
        Images(borrow, [f"pets={tmp_path / 'elsewhere'}"]).find(data.dataset_id, 0)


def test_an_image_that_has_changed_is_not_shown(made, store):
    data, images = made
    right = content_hash(b"other bytes")
    store.write(lambda c: c.execute("insert into sample_contents values (?, 0, ?)", [data.dataset_id, right]))
    with pytest.raises(DatasetError, match="has changed since the models saw it"):
        images.thumbnail(data.dataset_id, 0)


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "/etc/hostname", "a\0b.png"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, path):
    (tmp_path / "pets" / "a").mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    found = Found("pets", str(tmp_path / "pets"), path, path, None, None)
    with pytest.raises(DatasetError, match="outside the dataset's folder"):
        Images(lambda: pytest.fail("not needed")).read(found)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize("data", [SVG, b"", b"GIF89a", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_photograph_is_refused(data):
    with pytest.raises(DatasetError, match="cannot be decoded"):
        shrunk(data, THUMBNAIL, "x.svg")


def test_datasets_in_memory_have_no_images(made):
    data, images = made
    found = replace(images.find(data.dataset_id, 0), root=None)
    with pytest.raises(DatasetError, match="was in memory"):
        images.read(found)
    with pytest.raises(DatasetError, match="has no image 500"):
        images.find(data.dataset_id, 500)


def test_a_data_root_that_lacks_the_dataset_leaves_the_recorded_place(made, store, tmp_path):
    data, _ = made
    (tmp_path / "root").mkdir()
    images = Images(lambda: contextlib.nullcontext(store), data_root=str(tmp_path / "root"))
    assert images.find(data.dataset_id, 0).root == data.root


def test_real_photographs(real_photographs, tmp_path, cache):
    with qubastore.init(tmp_path / "store") as store:
        data = image_folder("imagenet-500", real_photographs)
        store.write(lambda c: register_dataset(c, data))
        images = Images(lambda: contextlib.nullcontext(store))
        sizes = [len(images.thumbnail(data.dataset_id, each)) for each in range(0, 500, 50)]
    assert max(sizes) < 20_000
