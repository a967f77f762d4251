"""The store records where each image is below the root of its dataset, whatever the dataset's layout."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.places import read_file
from qubastore.datasets.stored_images import read_part
from qubastore.runs.records import register_dataset


def picture(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = {"ant/1.png": picture(10), "ant/2.png": picture(20), "bee/1.png": picture(30)}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


def recorded(store):
    return {
        key: read_file(f"{root}/{path or key}") if place is None else read_part(f"{root}/{path}", place)
        for root, key, path, place in store.rows(
            "select root, key, path, place from samples join datasets using (dataset_id)"
        )
    }


def test_image_files(store, folder):
    for key, data in PICTURES.items():
        (folder / key).parent.mkdir(exist_ok=True)
        (folder / key).write_bytes(data)
    store.write(lambda c: register_dataset(c, image_folder("pets", folder)))
    assert recorded(store) == PICTURES
    assert store.rows("select distinct path, place from samples") == [(None, None)]


def test_members_of_tar_files(store, folder):
    with tarfile.open(folder / "part.tar", "w") as tar:
        for key, data in PICTURES.items():
            member = tarfile.TarInfo(key)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    store.write(lambda c: register_dataset(c, image_folder("pets", folder)))
    assert recorded(store) == PICTURES
    assert store.rows("select distinct path from samples") == [("part.tar",)]


def test_rows_of_tables(store, folder):
    names = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["ant", "bee"]}}}})}
    images = [{"bytes": data, "path": key.rpartition("/")[2]} for key, data in PICTURES.items()]
    table = pa.table({"image": images, "label": [0, 0, 1]})
    pq.write_table(table.replace_schema_metadata(names), folder / "test-0.parquet")
    store.write(lambda c: register_dataset(c, image_folder("pets", folder)))
    assert recorded(store) == PICTURES
