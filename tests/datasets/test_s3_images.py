"""Images in S3: the same datasets as on a disk, read by the workers; what is refused or gone is named."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import qubastore
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import imagenet_synsets
from qubastore.datasets.locating import own_datasets, parse_dataset
from qubastore.datasets.places import read_file
from qubastore.datasets.stored_images import read_part
from qubastore.errors import DatasetError, DatasetNotFoundError, UsageError
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.s3 import s3_files, s3_key
from tests.conftest import write_images
from tests.datasets.test_parquet import write_parquet
from tests.datasets.test_splits_of_tables import write_saved
from tests.datasets.test_tars_and_manifests import CLASSES, tars

pytestmark = pytest.mark.cluster


@pytest.fixture
def bucket(s3, tmp_path_factory):
    """A prefix of its own."""
    return f"s3://{s3.BUCKET}/{tmp_path_factory.mktemp('prefix').name}"


@pytest.fixture
def pictures(tmp_path):
    return write_images(tmp_path / "pictures", {"ant": 10, "bee": 8, "cow": 6})


def upload(folder, url):
    """Copy a folder to S3."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with s3_files().open_output_stream(f"{s3_key(url)}/{file.relative_to(folder).as_posix()}") as stream:
                stream.write(file.read_bytes())
    return url


def bytes_of(data):
    """Key -> the encoded image, as workers read it."""
    found = {}
    for sample in data.samples:
        path = f"{data.root}/{sample.path or sample.key}"
        found[sample.key] = read_file(path) if sample.row is None else read_part(path, sample.row)
    return found


def layouts(pictures, tmp_path):
    """The same images in every form that S3 can have them."""
    yield "folders", pictures
    for style in ("folders", "cls"):
        yield f"tars of {style}", tars(pictures, tmp_path / f"tars-{style}", style)
    files = sorted(pictures.rglob("*.png"))
    rows = [(CLASSES.index(file.parent.name), file.name, file.read_bytes()) for file in files]
    write_parquet(tmp_path / "tables" / "data" / "test-00000-of-00001.parquet", rows, CLASSES)
    yield "tables", tmp_path / "tables"
    write_saved(tmp_path / "saved", rows, names=CLASSES)
    yield "saved", tmp_path / "saved"


def test_datasets_are_those_of_a_disk(bucket, pictures, tmp_path):
    whole = image_folder("pets", pictures)
    for number, (form, folder) in enumerate(layouts(pictures, tmp_path)):
        (data,) = parse_dataset(f"pets={upload(folder, f'{bucket}/{number}')}/")
        assert data.dataset_id == whole.dataset_id, form
        assert bytes_of(data) == bytes_of(whole), form
    (pictures / "list.csv").write_text("path,label,sky\nant/000.png,ant,blue\ncow/001.png,cow,grey\n")
    upload(pictures, f"{bucket}/0")
    (here,), (there,) = own_datasets("pets", pictures / "list.csv"), own_datasets("pets", f"{bucket}/0/list.csv")
    assert (here.dataset_id, bytes_of(here)) == (there.dataset_id, bytes_of(there))
    assert len(own_datasets("new", f"{bucket}/0", labels="none")[0].samples) == 24
    assert [d.name for d in own_datasets("task", f"{bucket}/0", "holdout")] == ["task/train", "task/test"]


def test_known_datasets_in_class_folders(bucket, tmp_path):
    synsets = imagenet_synsets()
    folder = write_images(tmp_path / "val", {synsets[0]: 2, synsets[7]: 1})
    upload(folder, f"{bucket}/val")
    (there,), (here,) = own_datasets("imagenet-val", f"{bucket}/val"), own_datasets("imagenet-val", folder)
    assert there.dataset_id == here.dataset_id
    with pytest.raises(UsageError, match=r"cue-conflict is read from a folder(?s:.*)aws s3 cp"):
        own_datasets("cue-conflict", f"{bucket}/val")


def test_splits_are_found(bucket, pictures):
    for split in ("train", "test"):
        upload(pictures, f"{bucket}/{split}")
    with pytest.raises(DatasetError, match="contains splits instead of classes"):
        own_datasets("pets", bucket)
    assert [data.name for data in own_datasets("pets", bucket, "splits")] == ["pets/train", "pets/test"]


def test_what_is_not_there_or_denied_is_named(bucket, pictures, s3, monkeypatch):
    upload(pictures, f"{bucket}/0")
    with pytest.raises(DatasetNotFoundError, match="aws s3 ls"):
        own_datasets("pets", f"{bucket}/1")
    with pytest.raises(DatasetError, match=r"other-bucket"):
        own_datasets("pets", "s3://other-bucket/pets")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DatasetError, match=r"S3 refuses access to s3://(?s:.*)AWS_SECRET_ACCESS_KEY"):
        own_datasets("pets", f"{bucket}/0")


def ingest(store, url, model):
    """The command, with a Ray of its own, whose workers have the keys of this test."""
    options = ["--num-gpus", "0", "--num-cpus", "2", "--batch-size", "8"]
    words = ["ingest", "--store", store, "--model", model, "--dataset", f"pets={url}", *options]
    environment = {**os.environ, "RAY_ADDRESS": ""}
    found = subprocess.run(
        [sys.executable, "-m", "qubastore.cli.main", *map(str, words)], env=environment, capture_output=True, text=True
    )
    return found.returncode, found.stdout + found.stderr


def rows(path):
    with qubastore.open(path) as store:
        return store.rows("select * exclude (run_id) from outputs order by sample_id")


def test_workers_read_them_through_an_outage(bucket, pictures, tiny_models, tmp_path, s3):
    model = f"python:{tiny_models}:first"
    (tmp_path / "stores").mkdir()
    for name, place in (("disk", pictures), ("s3", upload(pictures, f"{bucket}/0"))):
        qubastore.init(tmp_path / "stores" / name).close()
        timer = threading.Timer(2.0, s3.proxy.cut), threading.Timer(6.0, s3.proxy.mend)
        for each in timer if name == "s3" else ():
            each.start()
        code, said = ingest(tmp_path / "stores" / name, place, model)
        for each in timer if name == "s3" else ():
            each.join()
        assert code == 0, said
    assert rows(tmp_path / "stores" / "s3") == rows(tmp_path / "stores" / "disk")


def test_an_object_that_is_gone_or_denied_is_no_bad_image(bucket, pictures, monkeypatch):
    (data,) = own_datasets("pets", upload(pictures, f"{bucket}/0"))
    first, second = (SampleFile(i, s.key, f"{data.root}/{s.key}") for i, s in enumerate(data.samples[:2]))
    assert len(decode([first, second], None).images) == 2
    s3_files().delete_file(s3_key(str(first.path)))
    with pytest.raises(DatasetError, match=f"{first.key} cannot be read"):
        decode([first, second], None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DatasetError, match=f"S3 refuses access to .*{second.key}"):
        decode([second], None)
