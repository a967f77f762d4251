"""Build the page: its parts and the data in one self-contained file."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from qubastore.errors import UsageError

SCRIPTS = (
    "dom.js",
    "ranking.js",
    "state.js",
    "charts.js",
    "table.js",
    "explore.js",
    "model.js",
    "gallery.js",
    "app.js",
)
"""The scripts in the order in which they run; each file is one part of the page."""


def render(data: Mapping[str, Any], *, links: str = "", nonce: str = "") -> str:
    """Return the report as HTML.

    Args:
        data: The result of `collect`.
        links: HTML of links for its header, for a report that is one page of several.
        nonce: The nonce of its scripts, for a page that is served with a content security policy.

    Raises:
        UsageError: if the package with Vega is not installed.
    """
    folder = files("qubastore.report")
    script = "\n".join(
        [f"const DATA = {_embedded(data)};", *(folder.joinpath(name).read_text("utf-8") for name in SCRIPTS)]
    )
    page = folder.joinpath("page.html").read_text("utf-8")
    parts = {
        "<!--LINKS-->": links,
        "NONCE": nonce,
        "/*STYLE*/": folder.joinpath("page.css").read_text("utf-8"),
        "/*SCRIPT*/": script,
        # Escape the text that would end the script element.
        "/*VEGA*/": vega().replace("</script", "<\\/script"),
    }
    # Search only the template for placeholders: the inserted text may contain anything.
    pieces = re.split(f"({'|'.join(map(re.escape, parts))})", page)
    return "".join(parts.get(piece, piece) for piece in pieces)


def vega() -> str:
    """Return Vega, Vega-Lite and vega-embed as one module that sets `window.vegaEmbed`.

    Raises:
        UsageError: if vl-convert is not installed.
    """
    try:
        release = version("vl-convert-python")
    except PackageNotFoundError:
        raise UsageError("the report needs Vega for its charts", hint="pip install 'qubastore[report]'") from None
    folder = cache_folder()
    cached = None if folder is None else folder / f"vega-{release}.js"
    if cached is not None:
        with contextlib.suppress(OSError):
            return cached.read_text("utf-8")
    try:
        import vl_convert
    except ImportError as error:
        raise UsageError(
            f"vl-convert-python {release} cannot be imported: {error}",
            hint="pip install --force-reinstall 'qubastore[report]'",
        ) from None
    script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    if cached is not None:
        with contextlib.suppress(OSError):  # bundling takes a second or two; without a cache it does so each time
            cached.parent.mkdir(parents=True, exist_ok=True)
            new = cached.with_name(f"{cached.name}.{os.getpid()}")
            new.write_text(script, "utf-8")
            new.replace(cached)
    return script


def cache_folder() -> Path | None:
    """The user's folder for what can be made again; None if the environment names neither it nor a home."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "qubastore"
    home = os.environ.get("HOME")
    return Path(home) / ".cache" / "qubastore" if home else None


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that is safe inside a script element: nothing in it ends the script or begins markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
