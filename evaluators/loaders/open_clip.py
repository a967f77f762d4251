"""`open_clip:ARCH/PRETRAINED` and `open_clip:hf-hub:ORG/REPO`: zero-shot classifiers of ImageNet's 1,000 classes; and,
with `output_type=features`, the image encoder alone.

A logit is logit_scale * cosine(image, text) + logit_bias (Radford et al., arXiv 2103.00020; for SigLIP's bias Zhai et
al., arXiv 2303.15343), with open_clip's own class names and the text vector of a class averaged over its prompts. The
head is computed once per model and stored, so the text encoder is not run again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from qubastore.errors import ModelError, UsageError, did_you_mean
from qubastore.evaluators.loaders.checkpoints import cached_commit, fetched, load_into, revision_of
from qubastore.evaluators.loaders.describe import weights_hash
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.evaluators.loaders.open_clip_texts import Texts, revision_of_texts, temperature, templates
from qubastore.evaluators.loaders.open_clip_texts import read_source as read_source
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import FEATURES, ModelSpec

HUB = "hf-hub:"


def revision(spec: ModelSpec) -> str | None:
    """The hash of a local checkpoint, or the hub commit in the local cache, with prompts and temperature."""
    architecture, pretrained = resolve(spec)
    commit = None
    if "checkpoint" not in spec.options:
        repository = _repository(architecture, pretrained)
        commit = cached_commit(repository) if repository else None
    named = revision_of(spec, spec.target, commit)
    if named is None:
        return None
    return f"{named}|{revision_of_texts(spec)}"


def load(spec: ModelSpec, source: SourceFile | None = None) -> LoadedModel:
    """Build the model and load its weights: from the hub, or from `checkpoint=`. Its head is empty until it is set.

    A tag determines more than the weights: OpenAI's and others need QuickGELU, and some their own preprocessing.
    """
    import open_clip
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    from qubastore.evaluators.loaders.zero_shot import ZeroShotClassifier, image_width

    architecture, tag = resolve(spec)
    where = str(spec)
    if "num_classes" in spec.options:
        raise UsageError(
            f"{where}: num_classes has no effect on a zero-shot model", expected="ImageNet's 1,000 classes"
        )
    wanted = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    quick = bool(wanted.get("quick_gelu", False))
    taken: str | None = None
    notes: tuple[str, ...] = ()
    if spec.options.get("checkpoint"):
        with _quiet():
            clip = open_clip.create_model(architecture, pretrained=None, force_quick_gelu=quick)
        taken, notes = load_into(clip, spec)
    else:
        clip = fetched(
            lambda: open_clip.create_model(
                architecture, pretrained=tag, force_quick_gelu=quick, require_pretrained=True
            ),
            where,
            f"copy them to this machine and type open_clip:{spec.target},checkpoint=FILE",
        )
    config = {**open_clip.get_model_preprocess_cfg(clip), **{key: wanted[key] for key in _TAG_KEYS if key in wanted}}
    prepare = preprocessing(config, where)
    if pinned := spec.options.get("preprocess"):
        prepare = Preprocessing.pinned(pinned, where, prepare)
    if spec.options.get("output_type") == FEATURES:
        return _image_tower(clip.eval(), architecture, spec, prepare, notes, taken)
    prompts, names = templates(spec, source), tuple(IMAGENET_CLASSNAMES)
    classifier = ZeroShotClassifier(clip.eval(), len(names), image_width(clip))
    texts = Texts(classifier, partial(open_clip.get_tokenizer, architecture), names, prompts, temperature(spec))
    described = {
        "open_clip": architecture,
        "activations": _activations(clip),
        **texts.describe(),
        "weights": weights_hash(clip),
    }
    return LoadedModel(
        spec.display(),
        "open_clip",
        texts.classifier,
        prepare,
        described,
        parameters=sum(parameter.numel() for parameter in clip.parameters()),
        texts=texts,
        notes=notes,
        taken=taken,
    )


def _image_tower(
    clip: Any, architecture: str, spec: ModelSpec, prepare: Preprocessing, notes: tuple[str, ...], taken: str | None
) -> LoadedModel:
    """The image encoder alone, whose vectors of length 1 are features; no text is read or encoded."""
    from qubastore.evaluators.loaders.zero_shot import ImageTower

    for option in ("templates", "temperature"):
        if option in spec.options:
            raise UsageError(f"{spec}: {option} has no effect without texts", hint=f"leave out ,{option}=")
    described = {"open_clip": architecture, "activations": _activations(clip), "pooling": "image vector of length 1"}
    tower = ImageTower(clip).eval()
    return LoadedModel(
        spec.display(),
        "open_clip",
        tower,
        prepare,
        described,
        output_type=FEATURES,
        notes=notes,
        taken=taken,
    )


def _activations(clip: Any) -> list[str]:
    """The activation functions, which do not show in any tensor."""
    return sorted({type(part).__name__ for part in clip.modules() if "gelu" in type(part).__name__.lower()})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress open_clip's warning about random weights, which a checkpoint is about to replace."""
    root = logging.getLogger()
    root.addFilter(_is_other)
    try:
        yield
    finally:
        root.removeFilter(_is_other)


def _is_other(record: logging.LogRecord) -> bool:
    return "initialized randomly" not in record.getMessage()


_TAG_KEYS = ("mean", "std", "interpolation", "resize_mode")
"""Keys of preprocessing that a tag may set."""


def resolve(spec: ModelSpec) -> tuple[str, str | None]:
    """The architecture and pretrained tag for open_clip.

    Raises:
        ModelError: for an unknown architecture or tag.
        UsageError: if the tag is missing.
    """
    import open_clip

    if spec.target.startswith(HUB):
        return spec.target, None
    architecture, _, tag = spec.target.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        raise ModelError(
            f"open_clip has no model {architecture!r}",
            hint=did_you_mean(architecture, known) or "python -c 'import open_clip; print(open_clip.list_models())'",
        )
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tag and "checkpoint" in spec.options:
        return architecture, None
    if not tag:
        raise UsageError(f"{spec} does not name the weights", expected=", ".join(f"{architecture}/{t}" for t in tags))
    if tag not in tags:
        raise ModelError(
            f"open_clip has no weights {tag!r} for {architecture}",
            expected=f"one of {', '.join(tags)}" if tags else "no tag: it has no pretrained weights",
            hint=did_you_mean(tag, tags),
        )
    return architecture, tag


def preprocessing(config: dict[str, Any], where: str) -> Preprocessing:
    """open_clip's preprocessing as `Preprocessing`.

    Raises:
        ModelError: for an unknown resize mode.
    """
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    modes = {"shortest": "shorter", "squash": "squash"}
    if config["resize_mode"] not in modes:
        raise ModelError(
            f"{where}: unknown resize_mode {config['resize_mode']!r}", expected=f"one of {', '.join(modes)}"
        )
    return Preprocessing(
        crop=(height, width),
        resize=(height, width),
        mode=modes[config["resize_mode"]],
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _repository(architecture: str, pretrained: str | None) -> str | None:
    """The hub repository of the weights; None if they are elsewhere."""
    import open_clip

    if architecture.startswith(HUB):
        return architecture.removeprefix(HUB)
    config = open_clip.get_pretrained_cfg(architecture, pretrained) if pretrained else {}
    repository = str(config.get("hf_hub") or "").rstrip("/")
    return repository or None
