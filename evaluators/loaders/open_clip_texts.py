"""The text side of zero-shot models: prompts, temperature, and the head computed from them."""

from __future__ import annotations

import hashlib
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.errors import UsageError
from qubastore.evaluators.loaders.loaded import Head, SourceFile
from qubastore.models.spec import ModelSpec

if TYPE_CHECKING:
    import torch

    from qubastore.evaluators.loaders.zero_shot import ZeroShotClassifier


def read_source(spec: ModelSpec) -> SourceFile | None:
    """The file of prompts, to be sent by value; None if the model uses open_clip's own prompts.

    Raises:
        UsageError: if it cannot be read.
    """
    path = spec.options.get("templates")
    return None if path is None else SourceFile(path, read_text(path))


def temperature(spec: ModelSpec) -> float:
    """The temperature, which divides the logits; 1 leaves them unchanged.

    Raises:
        UsageError: if it is not a number above 0.
    """
    text = spec.options.get("temperature", "1")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{spec}: temperature is {text!r}", expected="a number above 0")
    return value


def read_templates(path: str, text: str) -> tuple[str, ...]:
    """The prompts of a file: one per line, each with `{}` for the class name.

    Args:
        path: Path of the file, for messages.
        text: Its contents.

    Raises:
        UsageError: if it is empty, or a line does not have exactly one `{}`.
    """
    found = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    for number, line in found:
        if line.replace("{}", "", 1).count("{") or line.count("{}") != 1:
            raise UsageError(
                f"{path}, line {number}: the prompt {line!r} has no place for the class name",
                expected="exactly one {} and no other braces",
                hint="a photo of a {}.",
            )
    if not found:
        raise UsageError(f"{path} has no prompts", expected="one per line", hint="a photo of a {}.")
    return tuple(line for _, line in found)


def read_text(path: str) -> str:
    """The text of a file of prompts.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        # Skip a byte-order mark, as editors on Windows write it: it is not part of the first prompt.
        return Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        hint = f"ls {shlex.quote(str(Path(path).parent))}"
        raise UsageError(f"the prompts {path} cannot be read", found=str(error), hint=hint) from None


def templates(spec: ModelSpec, source: SourceFile | None = None) -> tuple[str, ...]:
    """The prompts of a model: those of its file, else OpenAI's 80 for ImageNet."""
    source = source or read_source(spec)
    if source is not None:
        return read_templates(source.path, source.text)
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)


def revision_of_texts(spec: ModelSpec) -> str:
    """An identifier of the prompts and the temperature of a model."""
    prompts = hashlib.sha256("\n".join(templates(spec)).encode()).hexdigest()[:16]
    return f"{prompts}|{temperature(spec)!r}"


class Texts:
    """The text side of a model, which computes its head and sets it in `classifier`.

    Args:
        classifier: The network, on a model of open_clip or one with its methods.
        tokenizer: Makes the model's tokenizer: texts -> (n, length) int64.
        names: The name of each class.
        templates: The prompts.
        temperature: Divides the logits.

    Attributes:
        templates: The prompts.
        temperature: Divides the logits.
        logit_scale: The model's own, divided by the temperature.
        logit_bias: The model's own, divided by the temperature; 0 if it has none.
        classifier: The zero-shot network.
    """

    def __init__(
        self,
        classifier: ZeroShotClassifier,
        tokenizer: Callable[[], Callable[[Sequence[str]], torch.Tensor]],
        names: tuple[str, ...],
        templates: tuple[str, ...],
        temperature: float,
    ) -> None:
        clip: Any = classifier.clip
        self._clip, self.classifier = clip, classifier.eval()
        self._tokenizer, self._names, self.templates = tokenizer, names, templates
        self.temperature = temperature
        bias = getattr(clip, "logit_bias", None)
        self.logit_scale = float(self._clip.logit_scale.detach().exp()) / temperature
        self.logit_bias = float(bias.detach()) / temperature if bias is not None else 0.0

    def encode(self) -> Head:
        """Encode every prompt of every class."""
        import open_clip
        import torch

        tokenizer = self._tokenizer()
        device = next(self._clip.parameters()).device
        with torch.no_grad():
            vectors = open_clip.build_zero_shot_classifier(
                self._clip,
                tokenizer,
                self._names,
                self.templates,
                num_classes_per_batch=max(1, 400 // len(self.templates)),
                device=device,
            )
        return Head(vectors.T.float().cpu().numpy(), self.logit_scale, self.logit_bias, self._names, self.templates)

    def describe(self) -> dict[str, Any]:
        """What the identity of a model has of its texts; JSON-representable."""
        return {
            "classes": hashlib.sha256("\n".join(self._names).encode()).hexdigest()[:16],
            "templates": list(self.templates),
            "temperature": self.temperature,
        }

    def use(self, head: Head) -> None:
        """Set the head of the classifier, and free the text encoder."""
        self.classifier.use(head)

    def fixed_vectors(self, classifier: torch.nn.Module) -> torch.Tensor:
        """The text vectors of the first class with the first and the last prompt, (2, width), from `classifier`.

        They show whether the text encoder and its tokenizer compute the same as before.
        """
        import torch

        tokens = self._tokenizer()([self.templates[place].replace("{}", self._names[0]) for place in (0, -1)])
        with torch.inference_mode():
            clip: Any = classifier.clip
            vectors: torch.Tensor = clip.encode_text(tokens, normalize=True)
        return vectors
