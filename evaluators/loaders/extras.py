"""Packages that come with an extra of this one."""

from __future__ import annotations

from importlib.util import find_spec

from qubastore.errors import ModelError
from qubastore.models.spec import ModelSpec


def require(package: str, spec: ModelSpec) -> None:
    """Refuse a model whose package is not installed.

    Raises:
        ModelError: with the extra that installs it.
    """
    if find_spec(package) is None:
        raise ModelError(
            f"{spec} needs the package {package}, which is not installed here",
            hint=f"pip install 'qubastore[{spec.loader}]'",
        )
