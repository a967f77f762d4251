"""Scale, shift and resolution: names, pixels, networks at other sizes, runs, and the view `invariance`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from qubastore.conditions import Condition
from qubastore.errors import ResolutionError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.worker.images import SampleFile, decode, prepare, shifted
from qubastore.evaluators.worker.resolution import at_resolution
from qubastore.models.preprocessing import Preprocessing
from tests.conftest import write_images
from tests.evaluators.test_images import noise

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("scale(1.25)", ["scale(1.25)"]),
        ("scale(factor=1.250)", ["scale(1.25)"]),
        ("scale(1, 1.25, 3)", ["clean", "scale(1.25)", "scale(3)"]),
        ("shift(0)", ["clean"]),
        ("shift(30)", ["shift(30)"]),
        ("shift(30, direction=longer)", ["shift(30)"]),
        ("shift(5, 30, direction=both)", ["shift(5,direction=both)", "shift(30,direction=both)"]),
        ("resolution(112,224)", ["resolution(112)", "resolution(224)"]),
    ],
)
def test_canonical_names(text, canonical):
    found = [str(condition) for condition in Condition.parse_all(text)]
    assert found == canonical
    assert [str(Condition.parse(name)) for name in found] == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scale", "says no factor"),
        ("scale(0)", "a number from 0.1 to 10"),
        ("shift(2.5)", "a whole number from 0 to 10,000"),
        ("shift(3, direction=left)", "unknown direction of shift"),
        ("resolution(-1)", "a whole number from 1 to 4,096"),
        ("scale(2, factor=3)", "says twice a factor"),
        ("rotate(3)", "unknown condition"),
    ],
)
def test_what_is_no_condition(text, says):
    with pytest.raises(UsageError, match=says):
        Condition.parse_all(text)


def test_several_values_are_several_conditions():
    with pytest.raises(UsageError, match="means 2 conditions"):
        Condition.parse("scale(1.25, 2)")


@pytest.mark.parametrize(
    ("size", "direction", "moved"),
    [
        ((50, 40), "longer", (7, 0)),
        ((40, 50), "longer", (0, 7)),
        ((40, 40), "longer", (0, 7)),
        ((40, 50), "right", (7, 0)),
        ((50, 40), "down", (0, 7)),
        ((50, 40), "both", (7, 7)),
    ],
)
def test_a_shift_shows_what_lies_further_on(size, direction, moved):
    """Pixel (x, y) is the original's (x + dx, y + dy); black where that lies outside."""
    image = noise(*size)
    pixels = np.asarray(image)
    padded = np.zeros((size[1] + 7, size[0] + 7, 3), np.uint8)
    padded[: size[1], : size[0]] = pixels
    dx, dy = moved
    want = padded[dy : dy + size[1], dx : dx + size[0]]
    np.testing.assert_array_equal(np.asarray(shifted(image, 7, direction)), want)


def test_a_shift_comes_before_resizing(tmp_path):
    """In pixels of the original: a window of a centre crop without resizing moves by just as many."""
    image = noise(64, 48)
    image.save(tmp_path / "image.png")
    crop = Preprocessing(crop=(32, 32), resize=(48, 48))
    (got,) = decode([SampleFile(0, "image.png", str(tmp_path / "image.png"))], crop, (5, "right")).pixels
    left, top = (64 - 32) // 2 + 5, (48 - 32) // 2
    np.testing.assert_array_equal(got.transpose(1, 2, 0), np.asarray(image)[top : top + 32, left : left + 32])


@pytest.mark.parametrize("factor", [1.25, 1.5, 2, 3])
def test_scale_resizes_by_more_and_crops_the_same(factor):
    """As the study has it: Resize(int(factor * 256)), CenterCrop(224)."""
    from torchvision.transforms import v2

    image = noise(300, 260)
    own = Preprocessing(crop=(224, 224), resize=(256, 256), interpolation="bilinear")
    want = v2.Compose([v2.Resize(int(factor * 256)), v2.CenterCrop(224)])(image)
    got = prepare(image, own.under(Condition.parse(f"scale({factor})")))
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


@pytest.mark.parametrize("size", [112, 224, 336, 512, 640])
def test_resolution_keeps_the_share_of_the_crop(size):
    """As the study has it: Resize(int(size * 256 / 224)), CenterCrop(size)."""
    own = Preprocessing(crop=(224, 224), resize=(256, 256))
    altered = own.under(Condition.parse(f"resolution({size})"))
    assert (altered.crop, altered.resize) == ((size, size), (int(size * 256 / 224),) * 2)
    whole = own.framed("whole").under(Condition.parse(f"resolution({size})"))
    assert whole.resize == whole.crop == (size, size)


def test_a_convolutional_network_takes_any_size():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(at_resolution(net, 48, name="net", device=CPU)(images), net(images), rtol=0, atol=0)


def test_timm_transformer_is_timms_own_at_that_size():
    """The same as building the architecture at that size and letting timm load the weights into it."""
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    torch.manual_seed(0)
    small = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5).eval()
    large = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=5).eval()
    large.load_state_dict(checkpoint_filter_fn(small.state_dict(), large))
    images = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        want, before = large(images), small(images[..., :64, :64])
        got = at_resolution(small, 96, name="vit", device=CPU)(images)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
        # The model itself stays as it is.
        torch.testing.assert_close(small(images[..., :64, :64]), before, rtol=0, atol=0)


def test_torchvision_transformer_at_its_own_size_and_another():
    """At its own size the very network; at another, torchvision's own bicubic interpolation is near (no antialiasing
    there: enlarging needs none)."""
    from torchvision.models import VisionTransformer
    from torchvision.models.vision_transformer import interpolate_embeddings

    torch.manual_seed(0)
    made = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "num_classes": 5}
    small, large = VisionTransformer(image_size=32, **made).eval(), VisionTransformer(image_size=48, **made).eval()
    torch.nn.init.normal_(small.heads.head.weight)
    large.load_state_dict(
        interpolate_embeddings(
            48, 8, {k: v.clone() for k, v in small.state_dict().items()}, interpolation_mode="bicubic"
        )
    )
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        same = at_resolution(small, 32, name="vit", device=CPU)(images[..., :32, :32])
        torch.testing.assert_close(same, small(images[..., :32, :32]), rtol=0, atol=0)
        got = at_resolution(small, 48, name="vit", device=CPU)(images)
        assert not torch.equal(got, torch.zeros_like(got))
        torch.testing.assert_close(got, large(images), rtol=0, atol=0.02)


def test_open_clip_transformer_at_another_size():
    """Against open_clip's own resizing of position embeddings."""
    from open_clip.transformer import VisionTransformer

    def made(size):
        return VisionTransformer(
            image_size=size, patch_size=8, width=32, layers=2, heads=2, mlp_ratio=2, output_dim=7
        ).eval()

    torch.manual_seed(0)
    small, large = made(32), made(48)
    state = small.state_dict()
    wrapped = torch.nn.Module()
    wrapped.visual = large
    from open_clip.model import resize_pos_embed

    state = {f"visual.{key}": value for key, value in state.items()}
    resize_pos_embed(state, wrapped)
    wrapped.load_state_dict(state)
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        got = at_resolution(small, 48, name="clip", device=CPU)(images)
        torch.testing.assert_close(got, large(images), rtol=0, atol=1e-5)


def test_open_clip_with_a_trunk_of_timm_takes_other_sizes():
    """As convnext-clip of the second study is: its trunk takes any size, and so does a transformer's by itself."""
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    images = torch.rand(1, 3, 96, 96)
    for trunk, pool in (("convnext_atto", ""), ("vit_tiny_patch16_224", "avg")):
        net = TimmModel(trunk, embed_dim=8, image_size=64, pretrained=False, pool=pool, proj="linear").eval()
        with torch.inference_mode():
            assert at_resolution(net, 96, name=trunk, device=CPU)(images).shape[-1] == 8


@pytest.mark.parametrize(
    ("error", "is_noted"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), True),
        (AssertionError("Input height (24) doesn't match model (16)."), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_what_the_machine_lacks_is_no_fact_about_the_network(error, is_noted):
    class Failing(torch.nn.Module):
        def forward(self, x):
            raise error

    with pytest.raises(ResolutionError if is_noted else RuntimeError) as caught:
        at_resolution(Failing(), 24, name="net", device=CPU)
    assert isinstance(caught.value, ResolutionError) == is_noted


def test_a_size_that_is_no_multiple_of_the_patch():
    from torchvision.models import VisionTransformer

    net = VisionTransformer(image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16).eval()
    with pytest.raises(ResolutionError, match=r"vit cannot take inputs of 36 x 36 pixels") as caught:
        at_resolution(net, 36, name="vit", device=CPU)
    assert "36 is no multiple of the patch size 8" in str(caught.value)


FIXED = """
import torch
from torch import nn

CONFIG = {"input_size": (3, 16, 16), "crop_pct": 0.5, "interpolation": "bilinear", "mean": (0, 0, 0), "std": (1, 1, 1)}


def pooled():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)), CONFIG


def fixed():
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), CONFIG
"""


@pytest.fixture
def ingested(store, tmp_path, ray_session):
    """A network that takes any size and one that does not, over 30 images, unaltered, shifted and at 24 pixels."""
    (tmp_path / "nets.py").write_text(FIXED)
    images = write_images(tmp_path / "images", {"ant": 12, "bee": 9, "cow": 9})
    models = [f"python:{tmp_path}/nets.py:{name}" for name in ("pooled", "fixed")]

    def run(**options):
        return ingest(store, models, {"pets": images}, conditions=CONDITIONS, num_cpus=1, **options)

    return run, images


CONDITIONS = ["scale(1, 2)", "shift(5, direction=both)", "resolution(24)"]


def test_a_network_that_cannot_is_noted_and_left_out(store, ingested):
    run, _ = ingested
    report = run()
    assert report.errors == []
    assert report.unsupported == [("python:nets.py:fixed", "pets under resolution(24)")]
    assert len(report.completed) == 7
    noted = store.rows("select condition, reason from unsupported")
    assert [row[0] for row in noted] == ["resolution(24)"]
    assert "cannot take inputs of 24 x 24 pixels" in noted[0][1]
    again = run()
    assert (again.images, again.errors, again.unsupported) == (0, [], [])
    # It is no unfinished run.
    assert store.rows("select count(*) from runs where condition = 'resolution(24)'") == [(1,)]
    # With --force it is tried again, and noted once.
    assert run(force=True).unsupported == [("python:nets.py:fixed", "pets under resolution(24)")]
    assert store.rows("select count(*) from unsupported") == [(1,)]
    # What was noted in error is taken back by a run.
    pooled = "(select model_id from models where name like '%pooled')"
    store.write(lambda c: c.execute(f"update unsupported set model_id = {pooled}"))
    run(force=True)
    assert store.rows(f"select count(*) from unsupported where model_id in {pooled}") == [(0,)]


def test_invariance_is_that_of_a_plain_loop(store, ingested):
    run, images = ingested
    run()
    files = sorted(images.glob("*/*.png"))
    names = sorted({file.parent.name for file in files})
    labels = np.array([names.index(file.parent.name) for file in files])
    scope: dict = {}
    exec(FIXED, scope)
    for name, conditions in (("pooled", (*ALTERED, "resolution(24)")), ("fixed", ALTERED)):
        network = scope[name]()[0].eval()
        clean = plain(network, files, lambda image: image, 32, 16)
        for condition in conditions:
            change, edge, crop = PLAIN[condition]
            probabilities = plain(network, files, change, edge, crop)
            (row,) = store.rows(
                "select accuracy, true_class_probability, consistency, clean_accuracy, clean_true_class_probability"
                " from invariance where model = ? and condition = ?",
                [f"python:nets.py:{name}", condition],
            )
            want = (
                (probabilities.argmax(1) == labels).mean(),
                probabilities[np.arange(30), labels].mean(),
                (probabilities.argmax(1) == clean.argmax(1)).mean(),
                (clean.argmax(1) == labels).mean(),
                clean[np.arange(30), labels].mean(),
            )
            assert row == pytest.approx(want, abs=1e-6)
    # A factor of 1 and a shift of 0 are the clean run.
    assert store.rows(
        "select transformation, amount, direction, consistency from invariance"
        " where condition = 'clean' and model like '%pooled' order by all"
    ) == [("scale", 1.0, None, 1.0), ("shift", 0.0, "both", 1.0)]


ALTERED = ("scale(2)", "shift(5,direction=both)")


PLAIN = {
    "scale(2)": (lambda image: image, 64, 16),
    "shift(5,direction=both)": (lambda image: moved(image, 5), 32, 16),
    "resolution(24)": (lambda image: image, 48, 24),
}


def moved(image, by):
    canvas = Image.new("RGB", image.size)
    canvas.paste(image, (-by, -by))
    return canvas


def plain(network, files, change, edge, crop):
    """Probabilities of a loop of its own: torchvision's resize and crop, one image at a time."""
    from torchvision.transforms import v2

    steps = v2.Compose([v2.Resize(edge), v2.CenterCrop(crop), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    with torch.inference_mode():
        rows = [network(steps(change(Image.open(file).convert("RGB")))[None]).double().softmax(1) for file in files]
    return torch.cat(rows).numpy()


def test_transformations_need_pixels(store, tiny_models, images, ray_session):
    with pytest.raises(Exception, match="prepares its images itself") as caught:
        ingest(store, [f"python:{tiny_models}:prepared"], {"pets": images}, conditions=["scale(2)"])
    assert "scale(2)" in str(caught.value)
