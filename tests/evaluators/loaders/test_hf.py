"""`hf:`: networks of transformers with random weights give what transformers' own pipeline gives, on photographs."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

transformers = pytest.importorskip("transformers")

from qubastore.datasets.decoding import open_image  # noqa: E402
from qubastore.datasets.label_spaces import imagenet_synsets  # noqa: E402
from qubastore.errors import ModelError, UsageError  # noqa: E402
from qubastore.evaluators import ingest  # noqa: E402
from qubastore.evaluators.loaders.describe import describe  # noqa: E402
from qubastore.evaluators.loaders.hf import known_labels  # noqa: E402
from qubastore.evaluators.loaders.hf_networks import Tower  # noqa: E402
from qubastore.evaluators.loaders.hf_processors import preprocessing_of  # noqa: E402
from qubastore.evaluators.loaders.source import ModelSource  # noqa: E402
from qubastore.evaluators.pixels.pillow import prepare  # noqa: E402
from qubastore.models.spec import ModelSpec  # noqa: E402
from tests.conftest import SHARED  # noqa: E402

LABELS = dict(enumerate(["ant", "bee", "cow"]))
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SQUARE = {"height": 64, "width": 64}

CLASSIFIERS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViT", {**SMALL, "image_size": 64, "patch_size": 16}, "ViTImageProcessor", {"size": SQUARE}),
    "convnext": (
        "ConvNext",
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 64}, "crop_pct": 0.9},
    ),
    "swin": (
        "Swin",
        {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        "ViTImageProcessor",
        {"size": SQUARE, "resample": 3},
    ),
    "dinov2": (
        "Dinov2",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 70, "patch_size": 14},
        "BitImageProcessor",
        {"size": {"shortest_edge": 80}, "crop_size": {"height": 70, "width": 70}},
    ),
    "siglip": (
        "Siglip",
        {"vision_config": {**SMALL, "image_size": 64, "patch_size": 16}, "text_config": {**SMALL, "vocab_size": 60}},
        "SiglipImageProcessor",
        {"size": SQUARE},
    ),
}


def network_of(kind, end, **more):
    torch.manual_seed(0)
    name, config, _, _ = CLASSIFIERS[kind]
    made = getattr(transformers, f"{name}Config")(**config, **more)
    network = getattr(transformers, name + end)(made).eval()
    for parameter in network.parameters():
        # As they come, outputs of random networks hardly depend on the image.
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def saved(folder, kind, end="ForImageClassification", **more):
    """A folder with random weights and an image processor; returns the network."""
    network = network_of(kind, end, **more)
    network.save_pretrained(folder)
    _, _, processor, settings = CLASSIFIERS[kind]
    getattr(transformers, processor)(**settings).save_pretrained(folder)
    return network


@cache
def photographs():
    """Twelve photographs of several sizes; random images where ../shared is absent."""
    found = sorted((SHARED / "data").rglob("*.JPEG"))[:400:40] + sorted((SHARED / "data").rglob("*.jpg"))[:4]
    if found:
        return tuple(open_image(path.read_bytes()) for path in found[:12])
    generator = np.random.default_rng(0)
    sizes = generator.integers(60, 200, (12, 2))
    return tuple(Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes)


def ours(loaded, images):
    """The network's outputs for images that are prepared as an evaluator does."""
    prepare_with = loaded.preprocessing
    pixels = np.stack([np.asarray(prepare(image, prepare_with)) for image in images])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (prepare_with.mean, prepare_with.std))
    with torch.inference_mode():
        return loaded.module((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std)


def load(folder, more=""):
    return ModelSource.of(ModelSpec.parse(f"hf:{folder}{more}")).load()


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifiers_are_transformers_own_pipeline(tmp_path, kind):
    saved(tmp_path, kind, id2label=LABELS, label2id={name: index for index, name in LABELS.items()})
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    pipeline = transformers.pipeline("image-classification", str(tmp_path), image_processor=processor, device="cpu")
    answers = pipeline(list(photographs()), top_k=3, function_to_apply="none")
    expected = [[{each["label"]: each["score"] for each in answer}[LABELS[i]] for i in range(3)] for answer in answers]
    loaded = load(tmp_path)
    found = ours(loaded, photographs())
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-5)
    assert found.std(dim=0).min() > 1e-3
    model = describe(loaded)
    assert (model.num_classes, model.output_type) == (3, "logits")
    assert model.feature_width is not None
    assert model.architecture["labels"] == ["ant", "bee", "cow"]


@pytest.mark.parametrize(
    ("kind", "own"), [("vit", "pooler"), ("convnext", "pooler"), ("swin", "pooler"), ("dinov2", "pooler")]
)
def test_towers_give_what_they_pool(tmp_path, kind, own):
    network = saved(tmp_path, kind, "Model")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    with torch.inference_mode():
        output = network(**processor(list(photographs()), return_tensors="pt"))
    loaded = load(tmp_path)
    assert loaded.architecture["pooling"] == own
    assert describe(loaded).output_type == "features"
    torch.testing.assert_close(ours(loaded, photographs()), output.pooler_output.flatten(1), rtol=1e-5, atol=1e-5)
    states = output.last_hidden_state
    n_first = 0 if kind == "swin" else 1
    means = states.mean(dim=(2, 3)) if kind == "convnext" else states[:, n_first:].mean(dim=1)
    torch.testing.assert_close(ours(load(tmp_path, ",pooling=mean"), photographs()), means, rtol=1e-5, atol=1e-5)
    if kind in ("vit", "dinov2"):
        both = ours(load(tmp_path, ",pooling=cls+mean"), photographs())
        torch.testing.assert_close(both, torch.cat([states[:, 0], means], dim=1), rtol=1e-5, atol=1e-5)
    else:
        with pytest.raises(ModelError, match=r"no class token|without a class token"):
            load(tmp_path, ",pooling=cls")


def test_two_poolings_are_two_models(tmp_path):
    saved(tmp_path, "vit", "Model")
    ids = {describe(load(tmp_path, more)).model_id for more in ("", ",pooling=pooler", ",pooling=cls", ",pooling=mean")}
    assert len(ids) == 3


def test_a_tower_without_the_weights_of_its_pooler_takes_the_class_token(tmp_path):
    network = network_of("vit", "Model")
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("pooler")}
    network.save_pretrained(tmp_path, state_dict=kept)
    transformers.ViTImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    assert load(tmp_path).architecture["pooling"] == "cls"
    with pytest.raises(ModelError, match="pooler are missing"):
        load(tmp_path, ",pooling=pooler")


def test_missing_weights_are_refused(tmp_path):
    network = saved(tmp_path, "vit", id2label=LABELS)
    kept = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("classifier")}
    network.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(ModelError, match="would be random"):
        load(tmp_path)


def clip_tokenizer(folder):
    """CLIP's own vocabulary, which open_clip carries."""
    import open_clip

    file = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(file.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    vocabulary = open_clip.SimpleTokenizer().encoder
    renamed = {
        {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(k, k): v
        for k, v in vocabulary.items()
    }
    tokenizer = transformers.CLIPTokenizer(vocab=renamed, merges=[tuple(line.split()) for line in merges])
    tokenizer.save_pretrained(folder)
    return tokenizer


def word_tokenizer(folder):
    """A tokenizer of words, in the place of SigLIP's sentence pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<unk>", "a", "photo", "of", "the"]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_dual_encoders_are_zero_shot_classifiers(tmp_path, kind):
    torch.manual_seed(0)
    if kind == "clip":
        text = {**SMALL, "vocab_size": 49408, "eos_token_id": 49407, "bos_token_id": 49406}
        config = transformers.CLIPConfig(
            text_config=text, vision_config={**SMALL, "image_size": 64, "patch_size": 16}, projection_dim=16
        )
        network = transformers.CLIPModel(config).eval()
        tokenizer = clip_tokenizer(tmp_path)
        settings = {"size": {"shortest_edge": 64}, "crop_size": SQUARE}
        transformers.CLIPImageProcessor(**settings).save_pretrained(tmp_path)
    else:
        network = network_of("siglip", "Model")
        tokenizer = word_tokenizer(tmp_path)
        transformers.SiglipImageProcessor(size=SQUARE).save_pretrained(tmp_path)
    network.save_pretrained(tmp_path)
    (tmp_path / "prompts.txt").write_text("a photo of a {}.\n")
    loaded = load(tmp_path, f",templates={tmp_path / 'prompts.txt'}")
    head = loaded.texts.encode()
    loaded.texts.use(head)
    found = ours(loaded, photographs())
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    length = config.text_config.max_position_embeddings if kind == "clip" else 64
    prompts = [f"a photo of a {name}." for name in head.class_names[:20]]
    tokens = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        pixels = processor(list(photographs()), return_tensors="pt")
        expected = network(input_ids=tokens["input_ids"], **pixels).logits_per_image
    torch.testing.assert_close(found[:, :20], expected, rtol=1e-4, atol=1e-4)
    tower = load(tmp_path, ",output_type=features")
    with torch.inference_mode():
        vectors = network.get_image_features(**pixels).pooler_output
    torch.testing.assert_close(
        ours(tower, photographs()), torch.nn.functional.normalize(vectors, dim=-1), rtol=1e-5, atol=1e-5
    )
    assert not [name for name in tower.module.state_dict() if "text" in name]


@pytest.mark.parametrize(
    ("processor", "settings", "reason"),
    [
        ("ViTImageProcessor", {"do_resize": False}, "does not resize"),
        ("EfficientNetImageProcessor", {"rescale_offset": True}, "differ by up to"),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 64, "longest_edge": 80}}, "resizes to"),
    ],
)
def test_processors_that_cannot_be_expressed_are_refused(processor, settings, reason):
    made = getattr(transformers, processor + "Pil")(**settings)
    with pytest.raises(ModelError, match="cannot") as refused:
        preprocessing_of(made, "hf:here")
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("processor", "settings"),
    [
        ("ViTImageProcessor", {}),
        ("DeiTImageProcessor", {}),
        ("BitImageProcessor", {}),
        ("CLIPImageProcessor", {}),
        ("ConvNextImageProcessor", {}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
        ("SiglipImageProcessor", {"do_rescale": False}),
        ("ViTImageProcessor", {"do_normalize": False, "resample": 1}),
    ],
)
def test_processors_are_followed_pixel_for_pixel(processor, settings):
    made = getattr(transformers, processor + "Pil")(**settings)
    found = preprocessing_of(made, "hf:here")
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (found.mean, found.std))
    for image in photographs():
        expected = made(image, return_tensors="np")["pixel_values"][0]
        pixels = (np.asarray(prepare(image, found)).transpose(2, 0, 1) / 255 - mean) / std
        np.testing.assert_allclose(pixels, expected, atol=1e-5 * max(1, np.abs(expected).max()))


def test_a_tower_whose_tokens_are_not_known_is_refused():
    """Tokens after the patches, as YOLOS has them, are no class tokens; without patches all tokens are the map."""

    class Net(torch.nn.Module):
        def __init__(self, n_tokens, patch_size):
            super().__init__()
            self.n_tokens = n_tokens
            self.config = type("Config", (), {"patch_size": patch_size})

        def forward(self, pixel_values):
            states = torch.arange(self.n_tokens, dtype=torch.float32)[None, :, None].expand(len(pixel_values), -1, 2)
            return type("Output", (), {"last_hidden_state": states, "pooler_output": None})

    images = torch.zeros(2, 3, 32, 32)
    assert Tower(Net(5, 16), "mean", "x")(images).tolist() == [[2.5, 2.5]] * 2
    assert Tower(Net(5, 16), "cls+mean", "x")(images).tolist() == [[0, 0, 2.5, 2.5]] * 2
    assert Tower(Net(9, None), "mean", "x")(images).tolist() == [[4, 4]] * 2
    assert Tower(Net(2, 8), "mean", "x")(images).tolist() == [[0.5, 0.5]] * 2
    for patch_size, pooling in ((None, "mean"), (16, "cls")):
        tower = Tower(Net(9 if patch_size is None else 5, patch_size), None, "x")
        tower(images)
        assert tower.pooling == pooling
    with pytest.raises(ModelError, match="no class token"):
        Tower(Net(9, None), "cls", "x")(images)
    with pytest.raises(ModelError, match="11 of its 15 tokens are no patches"):
        Tower(Net(15, 16), "mean", "x")(images)


def test_another_preprocessing_has_the_processors_mean(tmp_path):
    saved(tmp_path, "vit", id2label=LABELS)
    transformers.ViTImageProcessor(size=SQUARE, do_rescale=False).save_pretrained(tmp_path)
    found = load(tmp_path, ",preprocess=64/1/bilinear").preprocessing
    assert found.mean == pytest.approx((0.5 / 255,) * 3)
    transformers.ViTImageProcessor(size=SQUARE, image_mean=None).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**config, "do_flip_channel_order": True}))
    with pytest.raises(ModelError, match="cannot"):
        load(tmp_path)


def test_labels():
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = [info.index_to_description(index) for index in range(1000)]
    assert known_labels(names) == known_labels(imagenet_synsets()) == "imagenet-1k"
    assert known_labels(names[::-1]) == names[::-1]
    assert known_labels([f"LABEL_{index}" for index in range(4)]) is None


def test_a_run_of_a_folder(tmp_path, images, store, ray_session, monkeypatch):
    saved(tmp_path / "net", "vit", id2label=LABELS)
    spec = f"hf:{tmp_path / 'net'},name=small-vit"
    kept = ("outputs", "logits", "features")
    ingest(store, [spec], {"own": images}, keep=kept)
    assert store.sql("select model, n_samples from run_details where complete").fetchall() == [("small-vit", 150)]
    # Known by the hash of its files: the second time it is not even loaded.
    monkeypatch.setattr("qubastore.evaluators.loaders.hf.load", None)
    assert ingest(store, [spec], {"own": images}, keep=kept).skipped


def test_classes_in_another_order_are_refused(tmp_path, images, store, ray_session):
    names = {0: "bee", 1: "ant", 2: "cow"}
    saved(tmp_path / "net", "vit", id2label=names)
    with pytest.raises(ModelError, match="bee"):
        ingest(store, [f"hf:{tmp_path / 'net'}"], {"own": images})


def test_code_of_a_repository_does_not_run_unasked(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    config = {"model_type": "own-net", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (tmp_path / "net" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="trust_remote_code=yes"):
        load(tmp_path / "net")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [(",temperature=2", "text encoder"), (",pooling=mean", "only for features"), (",checkpoint=x", "is only for")],
)
def test_options_that_do_not_apply(tmp_path, more, message):
    saved(tmp_path, "vit", id2label=LABELS)
    with pytest.raises(UsageError, match=message):
        load(tmp_path, more)
