"""`hf:ORG/NAME[@REVISION]` and `hf:FOLDER`: the image models of transformers, with their own image processors.

- Image classifiers, with the classes of their id2label.
- Vision towers without a head, which give features (`pooling=`).
- CLIP and SigLIP: zero-shot classifiers of ImageNet's classes as `open_clip:` makes them, with the model's own
  tokenizer; and with `output_type=features` their image encoder alone.

Code of a repository runs only with `trust_remote_code=yes`. Weights are read as tensors, never as pickled objects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qubastore.datasets.label_spaces import imagenet_synsets
from qubastore.errors import ModelError, UsageError, in_one_line
from qubastore.evaluators.loaders.checkpoints import cached_commit, fetched, file_hash, revision_of
from qubastore.evaluators.loaders.extras import require
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.evaluators.loaders.open_clip_texts import Texts, revision_of_texts, temperature, templates
from qubastore.evaluators.loaders.open_clip_texts import read_source as read_source
from qubastore.hashing import identifier
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import FEATURES, ModelSpec

DUAL_ENCODERS = ("clip", "siglip")
"""The two-tower models whose texts are understood: padded to the full length, without a mask."""


def revision(spec: ModelSpec) -> str | None:
    """The hash of the files of a folder, or the hub commit in the local cache; None if it is not there."""
    require("transformers", spec)
    name, reference = _place(spec)
    if "trust_remote_code" in spec.options:
        # The code may read anything, also other repositories.
        return None
    if reference is None:
        files = sorted(path for path in Path(name).iterdir() if path.suffix in _READ)
        named: str | None = identifier("folder", *((path.name, file_hash(str(path))) for path in files))
    else:
        named = cached_commit(name, reference)
    if named is None:
        return None
    chosen = [spec.options.get("pooling", "")]
    return revision_of(spec, spec.target, "|".join([named, *chosen, revision_of_texts(spec)]))


_READ = (".json", ".safetensors", ".bin", ".txt", ".model", ".py")
"""The endings of the files of a folder that a model is made of."""


def load(spec: ModelSpec, source: SourceFile | None = None) -> LoadedModel:
    """Build the network and load its weights, from the hub or a folder.

    Raises:
        ModelError: if it is not an image model, weights are missing, or the processor cannot be expressed.
    """
    require("transformers", spec)
    from transformers import AutoConfig

    where = str(spec)
    config = _read(spec, AutoConfig)
    processor = _processor(spec)
    if spec.options.get("preprocess"):
        prepare = Preprocessing.pinned(spec.options["preprocess"], where, processor and _values_of(processor, where))
    elif processor is None:
        raise ModelError(
            f"{where} has no image processor",
            expected="preprocessor_config.json beside its config.json",
            hint=f"{where},preprocess=224/0.875/bicubic",
        )
    else:
        from qubastore.evaluators.loaders.hf_processors import preprocessing_of

        prepare = preprocessing_of(processor, where)
    if config.model_type in DUAL_ENCODERS and "ImageClassification" not in "".join(config.architectures or ()):
        return _dual(spec, config, prepare, source)
    return _single(spec, config, prepare)


def _single(spec: ModelSpec, config: Any, prepare: Preprocessing) -> LoadedModel:
    """A classifier, or a tower without a head."""
    import torch
    from transformers import AutoModel, AutoModelForImageClassification

    from qubastore.evaluators.loaders.hf_networks import Classifier, Tower

    for option in ("templates", "temperature"):
        if option in spec.options:
            raise UsageError(f"{spec}: {option} is only for models with a text encoder", hint=f"leave out ,{option}=")
    built_as = tuple(config.architectures or ())
    if not built_as:
        raise ModelError(f"{spec}: config.json names no architectures", expected="as save_pretrained() writes it")
    if any("ImageClassification" in name for name in built_as) and spec.options.get("output_type") != FEATURES:
        if "pooling" in spec.options:
            raise UsageError(f"{spec}: pooling is only for features", hint=",output_type=features")
        network, _ = _weights(spec, AutoModelForImageClassification)
        labels = [str(config.id2label.get(index, index)) for index in range(config.num_labels)]
        described = {"transformers": type(network).__name__, "labels": known_labels(labels)}
        return LoadedModel(spec.display(), "hf", Classifier(network).eval(), prepare, described)
    network, missing = _weights(spec, AutoModel, may_miss=("pooler.",))
    pooling = spec.options.get("pooling")
    if missing:
        if pooling == "pooler":
            raise ModelError(f"{spec}: the weights of its pooler are missing", found=missing[0], hint="pooling=cls")
        pooling = pooling or "cls"
    tower = Tower(network, pooling, str(spec)).eval()
    try:
        with torch.inference_mode():
            # It tells how it pools only in a pass.
            tower(torch.zeros(1, 3, *prepare.crop))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{spec}: {type(network).__name__} does not turn images into features",
            expected="an image classifier, a vision tower, CLIP or SigLIP",
            found=in_one_line(error)[:300],
        ) from error
    described = {"transformers": type(network).__name__, "pooling": tower.pooling}
    return LoadedModel(spec.display(), "hf", tower, prepare, described, output_type=FEATURES)


def _dual(spec: ModelSpec, config: Any, prepare: Preprocessing, source: SourceFile | None) -> LoadedModel:
    """A zero-shot classifier of ImageNet's classes, or the image encoder of one."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from transformers import AutoModel, AutoTokenizer

    from qubastore.evaluators.loaders.hf_networks import TwoTowers
    from qubastore.evaluators.loaders.zero_shot import ImageTower, ZeroShotClassifier

    if "pooling" in spec.options:
        raise UsageError(f"{spec}: pooling is not for models with a text encoder", expected="their image vector")
    network, _ = _weights(spec, AutoModel)
    towers = TwoTowers(network).eval()
    if spec.options.get("output_type") == FEATURES:
        described: dict[str, Any] = {"transformers": type(network).__name__, "pooling": "image vector of length 1"}
        tower = ImageTower(towers, network, ("vision_model", "visual_projection")).eval()
        return LoadedModel(spec.display(), "hf", tower, prepare, described, output_type=FEATURES)
    tokenizer = _tokenizer(_read(spec, AutoTokenizer), config)
    prompts, names = templates(spec, source), tuple(IMAGENET_CLASSNAMES)
    width = int(config.projection_dim) if config.model_type == "clip" else int(config.vision_config.hidden_size)
    texts = Texts(ZeroShotClassifier(towers, len(names), width), tokenizer, names, prompts, temperature(spec))
    described = {"transformers": type(network).__name__, **texts.describe()}
    size = sum(parameter.numel() for parameter in network.parameters())
    return LoadedModel(spec.display(), "hf", texts.classifier, prepare, described, parameters=size, texts=texts)


def _tokenizer(tokenizer: Any, config: Any) -> Callable[[], Callable[[Sequence[str]], Any]]:
    """Texts -> (n, length) int64 tokens, padded to the length that the text encoder was trained with."""
    length = int(config.text_config.max_position_embeddings)

    def tokens(texts: Sequence[str]) -> Any:
        padded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return padded["input_ids"]

    return lambda: tokens


def known_labels(labels: Sequence[str]) -> list[str] | str | None:
    """The classes of a head as its identity has them: `imagenet-1k`, their names, or None if they have no names."""
    if all(label.upper() in (f"LABEL_{index}", str(index)) for index, label in enumerate(labels)):
        return None
    if tuple(labels) == imagenet_synsets():
        return "imagenet-1k"
    if len(labels) == 1000:
        from timm.data import ImageNetInfo

        info = ImageNetInfo()
        # Lists of ImageNet's classes differ in spelling (crane, maillot), but hardly.
        same = sum(_first(label) == _first(info.index_to_description(index)) for index, label in enumerate(labels))
        if same >= 950:
            return "imagenet-1k"
    return list(labels)


def _first(description: str) -> str:
    return description.split(",")[0].strip().casefold()


def _place(spec: ModelSpec) -> tuple[str, str | None]:
    """The folder and None, or the repository and its revision.

    Raises:
        ModelError: if the folder has no model.
    """
    target = spec.target
    if target.startswith((".", "/", "~")):
        folder = Path(target).expanduser()
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{spec}: {folder} has no config.json", expected="a folder that transformers saved: save_pretrained()"
            )
        return str(folder), None
    name, _, reference = target.partition("@")
    # What is in the cache is pinned, so that all parts are of one commit, and of the one that `revision` names.
    return name, cached_commit(name, reference or "main") or reference or "main"


def _read(spec: ModelSpec, kind: Any, **options: Any) -> Any:
    """What an Auto class of transformers makes of the repository or folder.

    Raises:
        ModelError: if that fails, or needs code that was not allowed to run.
    """
    name, reference = _place(spec)
    trusted = spec.options.get("trust_remote_code") == "yes"
    wanted = {"trust_remote_code": trusted, **options, **({} if reference is None else {"revision": reference})}

    def build() -> Any:
        try:
            return kind.from_pretrained(name, **wanted)
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise ModelError(
                f"{spec} needs code in its repository, which does not run unless you allow it",
                hint=f"read {name}/*.py, then type {spec},trust_remote_code=yes",
            ) from None

    with _quiet():
        return fetched(build, str(spec), f"copy it to this machine and type hf:FOLDER in place of hf:{name}")


def _weights(spec: ModelSpec, kind: Any, may_miss: tuple[str, ...] = ()) -> tuple[Any, list[str]]:
    """A network with all its weights, and the names of those of `may_miss` that are missing.

    Raises:
        ModelError: if others are missing, or have another shape: they would be random.
    """
    network, report = _read(spec, kind, output_loading_info=True, dtype="float32")
    missing = sorted(report["missing_keys"])
    wrong = [name for name in missing if not any(part in name for part in may_miss)]
    if shapes := sorted(map(str, report.get("mismatched_keys") or ())):
        wrong += shapes
    if wrong:
        raise ModelError(
            f"{spec}: {len(wrong)} tensors are missing from the weights, or of another shape",
            found=", ".join(wrong[:3]),
            expected="the whole network: its weights would be random",
        )
    return network.eval(), missing


def _processor(spec: ModelSpec) -> Any:
    """The image processor that works on PIL images; None if there is none."""
    from transformers import AutoImageProcessor

    try:
        return _read(spec, AutoImageProcessor, backend="pil")
    except ModelError as error:
        if "preprocessor_config" in str(error.found) or "processor_config" in str(error.found):
            return None
        raise


def _values_of(processor: Any, where: str) -> Preprocessing:
    """The mean and standard deviation of a processor, for another resize and crop."""
    from qubastore.evaluators.loaders.hf_processors import statistics

    try:
        mean, std = statistics(processor.to_dict())
    except ValueError as error:
        raise ModelError(f"{where}: its image processor cannot be followed", found=str(error)) from None
    return Preprocessing((1, 1), (1, 1), mean=mean, std=std)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing progress and reports: what matters is checked."""
    from transformers.utils import logging as module

    logging: Any = module
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()
