"""Decoders other than Pillow: their pixels, what they leave to Pillow, and that their runs are runs of their own."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qubastore.analysis.agreement import agreement
from qubastore.analysis.pairs import pair
from qubastore.conditions import DECODERS, NVJPEG, PILLOW, TORCHVISION, Condition, Shift
from qubastore.datasets.decoding import open_image
from qubastore.errors import IngestError, ModelError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.pixels import pillow, tensors
from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.device_decoding import _prepared
from qubastore.evaluators.worker.images import Decoded, SampleFile, decode
from qubastore.evaluators.worker.messages import Preparation, Settings, ShardRequest, ShardResult
from qubastore.metrics.suite_files import suite_from_table
from qubastore.metrics.suites import QUBA
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.runs.records import replace_suite
from qubastore.runs.run import Run
from tests.conftest import shared
from tests.evaluators.test_worker import contents

SIDE = Preprocessing(crop=(32, 32), resize=(36, 36))


def photograph(width=90, height=60, seed=0) -> Image.Image:
    """A smooth image, in which a pixel resembles those beside it as in a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_="JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def pixels(decoded: Decoded) -> np.ndarray:
    assert decoded.pixels is not None
    return decoded.pixels.astype(int)


PLAIN = {
    "jpeg": encoded(photograph(), quality=90),
    "progressive": encoded(photograph(), progressive=True),
    "grey": encoded(photograph().convert("L")),
    "without subsampling": encoded(photograph(), subsampling=0),
    "turned by its EXIF": encoded(photograph(), exif=orientation(6)),
}
LEFT_TO_PILLOW = {
    "CMYK": encoded(photograph().convert("CMYK")),
    "PNG": encoded(photograph(), "PNG"),
    "16 bits": encoded(Image.fromarray((np.arange(5400, dtype=np.uint16) * 12).reshape(60, 90)), "PNG"),
    "alpha": encoded(photograph().convert("RGBA"), "PNG"),
    "palette": encoded(photograph().convert("P"), "GIF"),
    "RGB stored as such": encoded(photograph(), keep_rgb=True),
    "several images": encoded(photograph(), "MPO", save_all=True, append_images=[photograph(seed=1)]),
}
BROKEN = {
    "cut off": PLAIN["jpeg"][:-700],
    "without its end": PLAIN["jpeg"][:-2],
    "overwritten": PLAIN["jpeg"][:900] + b"\xff" * 40 + PLAIN["jpeg"][940:],
    "no image": b"nothing to see",
}
FILES = {**PLAIN, **LEFT_TO_PILLOW, **BROKEN}
SAMPLES = [SampleFile(index, name, None, data) for index, (name, data) in enumerate(FILES.items())]
READABLE = [index for index, name in enumerate(FILES) if name not in BROKEN]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(20, 120),
    st.integers(20, 120),
    st.tuples(st.integers(16, 64), st.integers(16, 64)) | st.integers(16, 64).map(lambda side: (side, side)),
    st.sampled_from([0.7, 0.875, 0.95, 1.0]),
    st.sampled_from(["center", "squash", "border"]),
    st.sampled_from(["bilinear", "bicubic"]),
    st.none()
    | st.builds(Shift, st.integers(0, 30), st.sampled_from(["longer", "right", "down", "both"]))
    | st.builds(Shift, st.integers(0, 9), st.just("both"), st.just("crop-first")),
)
def test_tensors_are_resized_and_cropped_to_pillows_pixels(width, height, crop, share, mode, interpolation, shift):
    """A pixel off, a smooth image would differ everywhere by more than rounding does.

    At the sharp edge of a shifted image, bicubic overshoots, and a single value may differ by more.
    """
    config = {"input_size": (3, *crop), "crop_pct": share, "crop_mode": mode, "interpolation": interpolation}
    own = Preprocessing.from_timm({**config, "mean": (0.4, 0.5, 0.6)}, "test")
    image = photograph(width, height)
    theirs = np.asarray(pillow.prepare(image, own, shift)).astype(int)
    ours = tensors.prepare(tensors.of_array(np.asarray(image)), own, shift).numpy()
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape == (*crop, 3)
    assert (np.abs(ours - theirs) > 2).mean() < 0.002


def test_pixels_that_are_not_resized_are_the_same():
    own = Preprocessing(crop=(50, 100), resize=(60, 60))
    for shift in (None, Shift(13, "right"), Shift(70, "down")):
        theirs = np.asarray(pillow.prepare(photograph(), own, shift))
        ours = tensors.prepare(tensors.of_array(np.asarray(photograph())), own, shift)
        np.testing.assert_array_equal(ours.numpy(), theirs)


def test_nearest_is_pillows():
    own = Preprocessing(crop=(32, 32), resize=(36, 36), interpolation="nearest")
    theirs = np.asarray(pillow.prepare(photograph(), own))
    np.testing.assert_array_equal(tensors.prepare(tensors.of_array(np.asarray(photograph())), own).numpy(), theirs)


def test_torchvision_gives_pillows_pixels_but_for_the_resize():
    for name, data in PLAIN.items():
        (image,) = tensors.decode_jpegs([data])
        assert image is not None
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.asarray(open_image(data)), err_msg=name)
    usual, other = decode(SAMPLES, SIDE), decode(SAMPLES, SIDE, decoder=TORCHVISION)
    assert usual.sample_ids == other.sample_ids == READABLE
    assert np.abs(pixels(usual) - pixels(other)).max() <= 2
    assert other.failures == usual.failures
    assert [failure.key for failure in other.failures] == list(BROKEN)
    assert other.contents == usual.contents
    assert (usual.n_by_pillow, other.n_by_pillow) == (0, len(LEFT_TO_PILLOW))


def test_what_nvjpeg_cannot_decode_is_decoded_before():
    kept = decode(SAMPLES, SIDE, decoder=NVJPEG)
    by_name = dict(zip((list(FILES)[index] for index in kept.sample_ids), kept.images, strict=True))
    # Only decoding shows that a file with both its ends is broken: the GPU finds out.
    assert {name for name, image in by_name.items() if isinstance(image, bytes)} == {*PLAIN, "overwritten"}
    for name in LEFT_TO_PILLOW:
        resized = tensors.prepare(tensors.of_array(np.asarray(open_image(FILES[name]))), SIDE)
        np.testing.assert_array_equal(by_name[name], resized.numpy())
    assert kept.n_by_pillow == len(LEFT_TO_PILLOW)
    assert [failure.key for failure in kept.failures] == [name for name in BROKEN if name != "overwritten"]


@pytest.mark.parametrize("condition", ["clean", "fgsm(eps=8/255)", "shift(9, direction=both)"])
def test_images_that_the_device_decodes_have_the_outputs_of_their_pixels(tmp_path, tiny_models, condition):
    """On a CPU, where the device's decoder is torchvision's: to the bit what the decoder torchvision gives."""
    evaluator = ShardEvaluator(Settings(str(tmp_path), "fp32", 4, False, 1))
    source = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:first"))
    model = describe(source.load())
    evaluator.load(model, source)
    altered = Condition.parse(condition)
    evaluator.size(model.model_id, [altered], {})
    labels = np.arange(len(FILES), dtype=np.int32)[:, None] % 3

    def result(decoder, preparation):
        request = ShardRequest(
            0,
            0,
            len(FILES),
            labels,
            {model.model_id: "run"},
            {model.model_id: 3},
            {model.model_id: "own-classes"},
            {model.model_id: ("outputs", "logits")},
            condition=altered,
            preparation=preparation,
            keys=tuple(FILES),
        )
        # The last chunks hold nothing that can be decoded, and one batch holds only a broken file.
        chunks = [decode(SAMPLES[first : first + 3], SIDE, altered.shift, decoder) for first in range(0, len(FILES), 3)]
        found = evaluator.evaluate(request, chunks)
        assert not found.errors
        return found

    host, device = result(TORCHVISION, None), result(NVJPEG, Preparation(SIDE, altered.shift))
    assert contents(device) == contents(host)
    assert contents(device)["run", "logits"]["sample_id"] == READABLE
    assert device.shards[0].failures == host.shards[0].failures
    assert [failure.key for failure in device.shards[0].failures] == list(BROKEN)
    assert device.shards[0].n_by_pillow == host.shards[0].n_by_pillow == len(LEFT_TO_PILLOW)


def test_a_batch_without_a_single_image_is_left_out(tmp_path, tiny_models):
    evaluator = ShardEvaluator(Settings(str(tmp_path), "fp32", 1, False, 1))
    source = ModelSource.of(ModelSpec.parse(f"python:{tiny_models}:first"))
    model = describe(source.load())
    evaluator.load(model, source)
    evaluator.size(model.model_id, [Condition.parse("clean")], {})
    files = [PLAIN["jpeg"], BROKEN["overwritten"], PLAIN["grey"]]
    chunk = decode([SampleFile(index, str(index), None, data) for index, data in enumerate(files)], SIDE, None, NVJPEG)
    request = ShardRequest(
        *(0, 0, 3, np.zeros((3, 1), np.int32), {model.model_id: "run"}),
        *({model.model_id: 3}, {model.model_id: "own-classes"}),
        {model.model_id: ("outputs",)},
        preparation=Preparation(SIDE),
        keys=("0", "1", "2"),
    )
    (shard,) = evaluator.evaluate(request, [chunk]).shards
    assert (shard.n_outputs, [failure.sample_id for failure in shard.failures]) == (2, [1])


def without_adobe(data: bytes) -> bytes:
    """A JPEG file without its Adobe marker (FF EE), which says how colours are stored."""
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def test_colours_that_are_stored_as_rgb_are_left_to_pillow():
    data = without_adobe(LEFT_TO_PILLOW["RGB stored as such"])
    assert b"Adobe" not in data
    assert decode([SampleFile(0, "0", None, data)], SIDE, decoder=TORCHVISION).n_by_pillow == 1


@pytest.mark.parametrize(
    ("size", "preprocessing", "shift", "reason"),
    [
        ((2000, 1), Preprocessing((32, 32), (32, 32), "border"), None, "ValueError: height and width must be > 0"),
        # A crop taken first, of less than a pixel, is black.
        ((1, 1), SIDE, Shift(1, "both", "crop-first"), None),
    ],
)
def test_images_too_small_for_a_crop_are_the_same_to_all(size, preprocessing, shift, reason):
    samples = [SampleFile(0, "odd", None, encoded(photograph(*size)))]
    found = {name: decode(samples, preprocessing, shift, name) for name in (PILLOW, TORCHVISION)}
    for name, decoded in found.items():
        assert [failure.error for failure in decoded.failures] == ([reason] if reason else []), name
        assert reason or not pixels(decoded).any()
    (prepared,) = _prepared(
        [encoded(photograph(*size))], Preparation(preprocessing, shift), torch.device("cpu"), ShardResult()
    )
    if reason:
        assert f"ValueError: {prepared}" == reason
    else:
        assert isinstance(prepared, torch.Tensor)
        assert not prepared.any()


def test_a_decoder_that_does_not_work_is_an_error_and_no_failure_of_images(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("decode_jpeg: torchvision not compiled with libjpeg support")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", broken)
    with pytest.raises(IngestError, match="torchvision decodes no image on cpu"):
        decode(SAMPLES[:1], SIDE, decoder=TORCHVISION)
    with pytest.raises(IngestError, match="torchvision decodes no image on cpu"):
        _prepared([PLAIN["jpeg"]], Preparation(SIDE), torch.device("cpu"), ShardResult())


def test_fewer_images_are_decoded_at_a_time_where_memory_runs_out(monkeypatch):
    sizes = []

    def scarce(files, device):
        sizes.append(len(files))
        if len(files) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(files, device)

    original = tensors.decode_jpegs
    monkeypatch.setattr(tensors, "decode_jpegs", scarce)
    files = [encoded(photograph(seed=number)) for number in range(9)]
    found = _prepared(files, Preparation(SIDE), torch.device("cpu"), ShardResult())
    assert sizes == [9, 9, 9, 8, 4, 2, 2, 2, 2, 1]
    monkeypatch.setattr(tensors, "decode_jpegs", original)
    samples = [SampleFile(number, str(number), None, file) for number, file in enumerate(files)]
    for image, want in zip(found, pixels(decode(samples, SIDE, decoder=TORCHVISION)), strict=True):
        assert isinstance(image, torch.Tensor)
        np.testing.assert_array_equal(image.numpy(), want)
    monkeypatch.setattr(tensors, "decode_jpegs", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        _prepared(files, Preparation(SIDE), torch.device("cpu"), ShardResult())


def test_the_decoder_is_part_of_a_run_and_pillows_runs_keep_their_ids():
    runs = {decoder: Run("model", "dataset", 10, 10, decoder=decoder).run_id for decoder in DECODERS}
    assert len(set(runs.values())) == 3
    # As computed before there were decoders.
    assert runs[PILLOW] == Run("model", "dataset", 10, 10).run_id == "b3723a6d5b748264"


@pytest.fixture
def photographs(tmp_path):
    """12 JPEG files and a PNG file in three class folders."""
    for index in range(12):
        folder = tmp_path / "photographs" / ("ant", "bee", "cow")[index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.jpg").write_bytes(encoded(photograph(seed=index)))
    (folder / "12.png").write_bytes(encoded(photograph(seed=12), "PNG"))
    return tmp_path / "photographs"


@pytest.mark.usefixtures("ray_session")
def test_runs_of_different_decoders_never_meet_unasked(store, tiny_models, photographs):
    models = [f"python:{tiny_models}:{name}" for name in ("first", "second")]
    data = {"pets": photographs}
    usual = ingest(store, models[:1], data)
    other = ingest(store, models, data, decoder=TORCHVISION)
    assert len(usual.completed) == 1
    assert len(other.completed) == 2
    assert (usual.by_pillow, other.by_pillow) == (0, 2)
    found = "select model, decoder, n_outputs from accuracy order by all"
    assert store.rows(found) == [
        ("python:tiny_models.py:first", "pillow", 13),
        ("python:tiny_models.py:first", "torchvision", 13),
        ("python:tiny_models.py:second", "torchvision", 13),
    ]
    counts = "select decoder, sum(n_by_pillow) from shards join runs using (run_id) group by decoder order by decoder"
    assert store.rows(counts) == [("pillow", 0), ("torchvision", 2)]
    # What is compared image by image is what the same decoder gave.
    both = pair(store, "python:tiny_models.py:first", "python:tiny_models.py:second")
    assert [(a.decoder, b.decoder) for a, b in both.runs] == [("torchvision", "torchvision")]
    assert store.rows("select distinct decoder from agreement") == [("torchvision",)]
    assert [row[6] for row in agreement(store, [both]).rows] == ["torchvision"]
    # A suite has one decoder: Pillow, unless it names another.
    table = {"name": "mine", "roles": {"clean": {"dataset": "pets", "samples": 13}}}
    for name, decoder, expected in (("mine", PILLOW, ["first"]), ("fast", TORCHVISION, ["first", "second"])):
        suite = suite_from_table({**table, "name": name, "decoder": decoder}, "test")
        store.write(lambda connection, suite=suite: replace_suite(connection, suite))
        rows = store.rows("select model from rankable where suite = ? order by model", [name])
        assert rows == [(f"python:tiny_models.py:{each}",) for each in expected]
        assert store.rows("select distinct decoder from dimension_runs where suite = ?", [name]) == [(decoder,)]
    again = ingest(store, models, data, suite="fast")
    assert again.images == 0


def test_a_suite_takes_the_roles_of_a_built_in_one():
    suite = suite_from_table({"name": "fast", "roles_of": "quba", "decoder": "nvjpeg"}, "test")
    assert suite.roles == QUBA.roles
    assert suite.decoder == "nvjpeg"
    with pytest.raises(UsageError, match="unknown decoder 'jpeg'"):
        suite_from_table({"name": "fast", "roles_of": "quba", "decoder": "jpeg"}, "test")
    with pytest.raises(UsageError, match="unknown built-in suite 'qubba'"):
        suite_from_table({"name": "fast", "roles_of": "qubba"}, "test")
    with pytest.raises(UsageError, match="unknown key 'decodr'"):
        suite_from_table({"name": "fast", "roles_of": "quba", "decodr": "nvjpeg"}, "test")
    with pytest.raises(UsageError, match="both roles and roles_of"):
        suite_from_table({"name": "fast", "roles_of": "quba", "roles": {}}, "test")


def test_what_a_decoder_cannot_do_is_said_before_anything_runs(store, tiny_models, photographs):
    data = {"pets": photographs}
    with pytest.raises(IngestError, match="the decoder nvjpeg decodes on GPUs"):
        ingest(store, [f"python:{tiny_models}:first"], data, decoder=NVJPEG, num_gpus=0)
    with pytest.raises(IngestError, match="the decoder nvjpeg decodes on GPUs"):
        ingest(store, [f"python:{tiny_models}:first"], data, decoder=NVJPEG, dry_run=True)
    with pytest.raises(ModelError, match="preprocesses its images itself, so the decoder torchvision"):
        ingest(store, [f"python:{tiny_models}:prepared"], data, decoder=TORCHVISION)
    with pytest.raises(ModelError, match="the filter lanczos, which the decoder torchvision does not have"):
        ingest(
            store,
            [f"python:{tiny_models}:first"],
            data,
            decoder=TORCHVISION,
            conditions=["scale(1.25, interpolation=lanczos)"],
        )
    with pytest.raises(UsageError, match="unknown decoder 'opencv'"):
        ingest(store, [f"python:{tiny_models}:first"], data, decoder="opencv")
    assert store.rows("select count(*) from runs") == [(0,)]


def test_real_photographs_differ_by_little():
    """ImageNet's: torchvision decodes all of them to Pillow's pixels, and resizes all but one in a hundred alike."""
    files = sorted(shared("data/imagenet-500").rglob("*.JPEG"))[:60]
    samples = [SampleFile(index, file.name, str(file)) for index, file in enumerate(files)]
    own = Preprocessing(crop=(224, 224), resize=(256, 256))
    usual, other = decode(samples, own), decode(samples, own, decoder=TORCHVISION)
    difference = np.abs(pixels(usual) - pixels(other))
    assert difference.max() <= 2
    assert 0 < (difference > 0).mean() < 0.01
