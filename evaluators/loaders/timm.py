"""`timm:NAME[.TAG]`: timm's architectures and pretrained weights, with the preprocessing of their own config."""

from __future__ import annotations

from typing import Any

from qubastore.errors import ModelError, did_you_mean
from qubastore.evaluators.loaders.checkpoints import cached_commit, fetched, load_into, revision_of
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import FEATURES, ModelSpec


def revision(spec: ModelSpec) -> str | None:
    """The hash of a local checkpoint, or the hub commit in the local cache; None if neither is known."""
    import timm

    name = resolve(spec)
    config = timm.get_pretrained_cfg(name)
    commit = cached_commit(config.hf_hub_id) if config is not None and config.hf_hub_id else None
    return revision_of(spec, name, commit)


def load(spec: ModelSpec, _: SourceFile | None = None) -> LoadedModel:
    """Build the architecture and load its weights: from the hub, or from `checkpoint=`."""
    import timm
    from timm.data import resolve_data_config

    name = resolve(spec)
    where = str(spec)
    options: dict[str, Any] = {}
    if "num_classes" in spec.options:
        options["num_classes"] = int(spec.options["num_classes"])
    taken: str | None = None
    notes: tuple[str, ...] = ()
    if spec.options.get("checkpoint"):
        module = timm.create_model(name, pretrained=False, **options)
        taken, notes = load_into(module, spec, ignored=_head_of(module) if options.get("num_classes") == 0 else ())
    else:
        hint = f"copy them to this machine and type {spec.loader}:{name},checkpoint=FILE.safetensors"
        module = fetched(lambda: timm.create_model(name, pretrained=True, **options), where, hint)
    config = resolve_data_config({}, model=module)
    architecture: dict[str, Any] = {"timm": name, **options}
    # DINOv2 and others come without a head: what they give depends on how they pool.
    headless = getattr(module, "num_classes", None) == 0
    if headless:
        architecture["pooling"] = _pooling(module)
    prepare = Preprocessing.from_timm(config, where)
    if pinned := spec.options.get("preprocess"):
        prepare = Preprocessing.pinned(pinned, where, prepare)
    return LoadedModel(
        spec.display(name),
        "timm",
        module.eval(),
        prepare,
        architecture,
        output_type=FEATURES if headless else "logits",
        notes=notes,
        taken=taken,
    )


def _head_of(module: Any) -> tuple[str, ...]:
    """The names of the classifiers that an architecture has with a head."""
    named = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _pooling(module: Any) -> str:
    """How a network makes one vector of its features, as timm calls it: token, avg, map, ..."""
    kind = getattr(module, "global_pool", "") or getattr(getattr(module, "head", None), "global_pool", "")
    kind = kind if isinstance(kind, str) else getattr(kind, "pool_type", type(kind).__name__)
    return str(kind) or "the network's own"


def resolve(spec: ModelSpec) -> str:
    """The full name of the architecture and tag.

    Raises:
        ModelError: for an unknown architecture or tag, or if there are no pretrained weights and no checkpoint.
    """
    import timm

    architecture, _, tag = spec.target.partition(".")
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models())
        raise ModelError(
            f"timm has no model {architecture!r}", hint=hint or "python -c 'import timm; print(timm.list_models())'"
        )
    tags = timm.list_pretrained(f"{architecture}.*") + timm.list_pretrained(architecture)
    if tag and spec.target not in tags:
        raise ModelError(
            f"timm has no weights {tag!r} for {architecture}",
            expected=f"one of {', '.join(tags)}" if tags else "no tag: it has no pretrained weights",
            hint=did_you_mean(spec.target, tags),
        )
    if "checkpoint" in spec.options:
        return spec.target
    if not tags:
        raise ModelError(
            f"timm has no pretrained weights for {architecture}", hint=f"{spec},checkpoint=FILE.safetensors"
        )
    if tag:
        return spec.target
    default = timm.get_pretrained_cfg(architecture)
    return f"{architecture}.{default.tag}" if default is not None and default.tag else architecture
