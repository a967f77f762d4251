"""Zero-shot classifiers: the loader against open_clip itself, heads in the store, rescoring without images."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import imagenet_synsets
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.fixed_images import fixed_inputs
from qubastore.evaluators.loaders.open_clip import load, preprocessing, read_source, resolve
from qubastore.evaluators.loaders.open_clip_texts import Texts, read_templates
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.loaders.zero_shot import ZeroShotClassifier, image_width
from qubastore.evaluators.pixels.pillow import prepare
from qubastore.evaluators.rescore import rescore
from qubastore.models.spec import ModelSpec
from tests.conftest import write_images

ARCHITECTURE = "ViT-S-32-alt"
"""The smallest two-tower model of open_clip that needs nothing from the hub."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights as a checkpoint, two prompts, and a few images in synset folders."""
    import open_clip

    path = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    clip = open_clip.create_model(ARCHITECTURE)
    torch.save(clip.state_dict(), path / "clip.pth")
    (path / "prompts.txt").write_text("a photo of a {}.\n")
    (path / "others.txt").write_text("a drawing of a {}.\n")
    write_images(path / "images", dict.fromkeys(imagenet_synsets()[:4], 3))
    return path


def spec_of(folder, templates="prompts.txt", more=""):
    return f"open_clip:{ARCHITECTURE},checkpoint={folder / 'clip.pth'},templates={folder / templates}{more}"


N_REFERENCE = 60
"""Classes that the reference is made for: the text side is slow on a CPU."""


def reference(folder, template):
    """Logits of the first classes by open_clip's own recipe: its transform, its classifier, one softmax to come."""
    import open_clip
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from PIL import Image

    clip, _, transform = open_clip.create_model_and_transforms(ARCHITECTURE)
    clip.load_state_dict(torch.load(folder / "clip.pth", weights_only=True))
    clip.eval()
    files = [folder / "images" / sample.key for sample in image_folder("x", folder / "images").samples]
    with torch.no_grad():
        tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
        weights = open_clip.build_zero_shot_classifier(clip, tokenizer, IMAGENET_CLASSNAMES[:N_REFERENCE], [template])
        images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
        vectors = torch.nn.functional.normalize(clip.encode_image(images), dim=-1)
        return (clip.logit_scale.exp() * vectors @ weights).numpy()


def stored(store, run_id):
    parts = [b.column("values").flatten().to_numpy().reshape(len(b), -1) for b in store.logits(run_id)]
    return np.concatenate(parts)[:, :N_REFERENCE]


def test_zero_shot_logits_heads_and_rescoring(store, folder, ray_session):
    with pytest.raises(UsageError, match="is not in the store"):
        rescore(store, spec_of(folder), temperature=2)
    ingest(store, [spec_of(folder)], {"few": folder / "images"}, limit=2)
    with pytest.raises(UsageError, match="kept features"):
        rescore(store, spec_of(folder), temperature=2)
    with pytest.raises(UsageError, match="nothing changes"):
        rescore(store, spec_of(folder))
    with pytest.raises(UsageError, match="not a zero-shot model"):
        rescore(store, "timm:resnet18.a1_in1k", temperature=2)

    report = ingest(store, [spec_of(folder)], {"few": folder / "images"}, keep=("outputs", "logits", "features"))
    assert not report.errors
    (run,) = report.completed
    expected = reference(folder, "a photo of a {}.")
    assert np.abs(stored(store, run) - expected).max() < 1e-3
    assert store.rows("select count(*), any_value(len(values)) from head_vectors") == [(1000, 256)]
    assert store.rows("select templates from heads") == [(["a photo of a {}."],)]
    # The text side counts as the model's size, the head does not.
    import open_clip

    size = sum(p.numel() for p in open_clip.create_model(ARCHITECTURE).parameters())
    assert store.rows("select parameters from models") == [(size,)]

    name = store.rows("select name from models")[0][0]
    assert name == f"open_clip:{ARCHITECTURE},checkpoint=clip.pth,templates=prompts.txt"
    prompts = rescore(store, spec_of(folder), templates=str(folder / "others.txt"))
    assert np.abs(stored(store, prompts.runs[0][2]) - reference(folder, "a drawing of a {}.")).max() < 1e-2
    warm = rescore(store, spec_of(folder), temperature=2)
    # 2^-16 of a scale of 14, on both sides of the comparison.
    assert np.abs(stored(store, warm.runs[0][2]) - expected / 2).max() < 1e-3
    assert store.rows("select count(*) from derivations where source_run_id = ?", [run]) == [(2,)]
    assert prompts.skipped == [("few", "clean")]  # the run over two images
    # What is there already is not made again; what was made of shards that were replaced since is.
    (before,) = store.rows("select committed_at from shards where run_id = ?", [warm.runs[0][2]])
    assert rescore(store, spec_of(folder), temperature=2).runs == warm.runs
    assert store.rows("select committed_at from shards where run_id = ?", [warm.runs[0][2]]) == [before]
    store.write(lambda c: c.execute(f"update shards set committed_at = now() where run_id = '{run}'"))
    assert rescore(store, spec_of(folder), temperature=2).runs == warm.runs
    assert store.rows("select committed_at from shards where run_id = ?", [warm.runs[0][2]]) != [before]
    with pytest.raises(UsageError, match="the model's own prompts and temperature"):
        rescore(store, spec_of(folder), temperature=1)
    # Another network under the same name: its features were never kept.
    (folder / "other").mkdir()
    state = torch.load(folder / "clip.pth", weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, folder / "other" / "clip.pth")
    other = spec_of(folder).replace("clip.pth", "other/clip.pth")
    with pytest.raises(ModelError, match=r"match 0 of the 1 stored models"):
        rescore(store, other, temperature=2)
    assert store.rows("select origin, count(*) from runs group by all order by all") == [
        ("derived", 2),
        ("measured", 2),
    ]


def test_prompts_and_temperature_are_part_of_the_identity(folder):
    from qubastore.evaluators.loaders.describe import describe

    specs = [spec_of(folder), spec_of(folder, "others.txt"), spec_of(folder, more=",temperature=2")]
    sources = [ModelSource.of(ModelSpec.parse(spec)) for spec in specs]
    assert len({describe(source.load()).model_id for source in sources[:3]}) == 3
    assert len({source.revision() for source in sources}) == 3


def templates_of(path):
    source = read_source(ModelSpec.parse(f"open_clip:{ARCHITECTURE},checkpoint=x,templates={path}"))
    assert source is not None
    return read_templates(source.path, source.text)


@pytest.mark.parametrize("text", ["a photo of a cat.", "{} and {}", "{a}"])
def test_prompt_without_a_place_for_the_class(tmp_path, text):
    (tmp_path / "p.txt").write_text(f"a {{}}.\n{text}\n")
    with pytest.raises(UsageError, match=r"p\.txt, line 2: .* has no place for the class name"):
        templates_of(tmp_path / "p.txt")


def test_no_prompts(tmp_path):
    (tmp_path / "p.txt").write_text("\n")
    with pytest.raises(UsageError, match="has no prompts"):
        templates_of(tmp_path / "p.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        templates_of(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("ViT-B-61/openai", ModelError, "did you mean ViT-B-16"),
        ("ViT-B-16/opanai", ModelError, "did you mean openai"),
        ("ViT-B-16", UsageError, "ViT-B-16/openai"),
    ],
)
def test_unknown_names(target, error, message):
    with pytest.raises(error, match=message):
        resolve(ModelSpec.parse(f"open_clip:{target}"))


def test_hub_models_are_left_to_the_hub():
    assert resolve(ModelSpec.parse("open_clip:hf-hub:timm/ViT-B-16-SigLIP-256")) == (
        "hf-hub:timm/ViT-B-16-SigLIP-256",
        None,
    )


@pytest.mark.parametrize("option", ["temperature=0", "temperature=warm"])
def test_wrong_temperature(folder, option):
    with pytest.raises(UsageError, match="a number above 0"):
        ModelSource.of(ModelSpec.parse(spec_of(folder, more=f",{option}"))).load()


def test_prompts_are_for_models_with_a_text_side():
    with pytest.raises(UsageError, match="only for open_clip, hf"):
        ModelSpec.parse("timm:resnet18.a1_in1k,temperature=2")


@pytest.mark.parametrize(("resize", "filter_"), [("shortest", "bicubic"), ("squash", "bilinear")])
def test_pixels_are_open_clips(resize, filter_):
    """Bit-equal pixels before normalisation, for the two ways to resize that its models use."""
    from open_clip.transform import image_transform
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (301, 403, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    config = {
        "size": 224,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "interpolation": filter_,
        "resize_mode": resize,
    }
    transform = image_transform(
        224, is_train=False, mean=config["mean"], std=config["std"], interpolation=filter_, resize_mode=resize
    )
    ours = torch.from_numpy(np.asarray(prepare(image, preprocessing(config, "x"))).transpose(2, 0, 1) / np.float32(255))
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    assert torch.allclose((ours - mean) / std, transform(image), atol=1e-6)


def test_a_tag_says_activation_and_preprocessing(folder, tmp_path):
    """OpenAI's weights want QuickGELU, which no tensor shows: told by the tag, with a checkpoint too."""
    import open_clip

    assert open_clip.get_pretrained_cfg("ViT-B-32", "openai")["quick_gelu"]
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), tmp_path / "b32.pth")
    prompts = folder / "prompts.txt"

    def loaded(target):
        return load(ModelSpec.parse(f"open_clip:{target},checkpoint={tmp_path / 'b32.pth'},templates={prompts}"))

    quick, plain = loaded("ViT-B-32/openai"), loaded("ViT-B-32")
    assert quick.architecture["activations"] == ["QuickGELU"]
    assert plain.architecture["activations"] == ["GELU"]
    assert quick.architecture["weights"] == plain.architecture["weights"]
    with torch.no_grad():
        images = torch.rand(1, 3, 224, 224)
        assert not torch.allclose(quick.module.clip.encode_image(images), plain.module.clip.encode_image(images))


def test_a_zero_shot_model_has_imagenets_classes(folder):
    with pytest.raises(UsageError, match="num_classes has no effect"):
        load(ModelSpec.parse(spec_of(folder, more=",num_classes=3")))


def test_a_bias_is_added_as_siglip_does():
    """logit = scale * cosine + bias, over the temperature."""
    import open_clip

    torch.manual_seed(0)
    clip = open_clip.create_model(ARCHITECTURE, init_logit_bias=-10.0).eval()
    classifier = ZeroShotClassifier(clip, 2, image_width(clip))
    texts = Texts(classifier, partial(open_clip.get_tokenizer, ARCHITECTURE), ("cat", "dog"), ("a {}.",), 2.0)
    head = texts.encode()
    assert head.logit_bias == -5.0
    assert head.logit_scale == pytest.approx(float(clip.logit_scale.detach().exp()) / 2)
    images = torch.rand(3, 3, 224, 224)
    with torch.no_grad():
        words = open_clip.get_tokenizer(ARCHITECTURE)(["a cat.", "a dog."])
        cosines = clip.encode_image(images, normalize=True) @ clip.encode_text(words, normalize=True).T
        texts.use(head)
        found = texts.classifier(images)
    assert torch.allclose(found, (clip.logit_scale.exp() * cosines - 10) / 2, atol=1e-4)
    # The text side is let go; the image side still answers.
    assert not hasattr(clip, "transformer")


def test_the_image_tower_alone_gives_the_features_of_the_classifier(folder):
    whole = load(ModelSpec.parse(spec_of(folder)), read_source(ModelSpec.parse(spec_of(folder))))
    spec = ModelSpec.parse(f"open_clip:{ARCHITECTURE},checkpoint={folder / 'clip.pth'},output_type=features")
    tower = ModelSource.of(spec).load()
    assert tower.texts is None
    network: Any = whole.module
    inputs = fixed_inputs(whole.preprocessing)
    with torch.inference_mode():
        torch.testing.assert_close(tower.module(inputs), network.vectors(inputs))
    assert {name.split(".")[:2][1] for name in tower.module.state_dict()} == {"visual"}
    model = describe(tower)
    assert (model.num_classes, model.feature_width, model.has_head) == (None, tower.module(inputs[:1]).shape[1], False)
    assert model.parameters is not None
    assert model.parameters < sum(parameter.numel() for parameter in network.parameters())
    with pytest.raises(UsageError, match="temperature has no effect without texts"):
        ModelSource.of(ModelSpec.parse(f"{spec},temperature=2")).load()
