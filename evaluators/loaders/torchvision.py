"""`torchvision:NAME/WEIGHTS`: torchvision's classifiers with the preprocessing that comes with their weights."""

from __future__ import annotations

from typing import Any

from qubastore.errors import ModelError, UsageError, did_you_mean
from qubastore.evaluators.loaders.checkpoints import fetched, load_into, revision_of
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec


def revision(spec: ModelSpec) -> str | None:
    """The hash of a local checkpoint, or the URL of the weights, which ends in their hash."""
    return revision_of(spec, spec.target, resolve(spec).url)


def load(spec: ModelSpec, _: SourceFile | None = None) -> LoadedModel:
    """Build the architecture and load its weights: from torchvision's server, or from `checkpoint=`."""
    from torchvision.models import get_model

    weights = resolve(spec)
    architecture = spec.target.partition("/")[0]
    where = str(spec)
    options: dict[str, Any] = {}
    if "num_classes" in spec.options:
        options["num_classes"] = int(spec.options["num_classes"])
    taken: str | None = None
    notes: tuple[str, ...] = ()
    if spec.options.get("checkpoint"):
        # Some constructors initialise weights slowly and warn; all weights are about to be replaced.
        quiet = {"init_weights": False} if architecture in ("googlenet", "inception_v3") else {}
        module = get_model(architecture, weights=None, **options, **quiet)
        taken, notes = load_into(module, spec)
    else:
        hint = f"download {weights.url} and type {spec},checkpoint=FILE.pth"
        module = fetched(lambda: get_model(architecture, weights=weights, progress=False, **options), where, hint)
    prepare = preprocessing(weights.transforms())
    if pinned := spec.options.get("preprocess"):
        prepare = Preprocessing.pinned(pinned, where, prepare)
    described = {"torchvision": architecture, **options}
    return LoadedModel(spec.display(), "torchvision", module.eval(), prepare, described, notes=notes, taken=taken)


def resolve(spec: ModelSpec) -> Any:
    """The weights entry of `NAME/WEIGHTS`.

    Raises:
        ModelError: for an unknown architecture or weights entry.
        UsageError: if the weights are not named.
    """
    import torchvision
    from torchvision.models import get_model_weights, list_models

    architecture, _, name = spec.target.partition("/")
    known = list_models(module=torchvision.models)
    if architecture not in known:
        raise ModelError(f"torchvision has no classifier {architecture!r}", hint=did_you_mean(architecture, known))
    entries = {entry.name: entry for entry in get_model_weights(architecture)}
    if not name:
        choices = ", ".join(f"torchvision:{architecture}/{entry}" for entry in entries)
        raise UsageError(f"{spec} does not name the weights", expected=choices)
    if name not in entries:
        raise ModelError(
            f"torchvision has no weights {name!r} for {architecture}",
            expected=f"one of {', '.join(entries)}",
            hint=did_you_mean(name, entries),
        )
    return entries[name]


def preprocessing(preset: Any) -> Preprocessing:
    """Torchvision's ImageClassification preset as `Preprocessing`."""
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return Preprocessing(
        crop=(crop, crop),
        resize=(resize, resize),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
