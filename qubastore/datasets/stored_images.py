"""Images that are part of a larger file: a row of a table, or a member of a tar file."""

from __future__ import annotations


def read_part(path: str, place: int) -> bytes:
    """The encoded image at a place of a file: a row, or the offset of a tar member's header.

    Raises:
        OSError: if the file cannot be read, or has no image there.
    """
    if path.endswith(".tar"):
        from qubastore.datasets.tars import read_member

        return read_member(path, place)
    from qubastore.datasets.tables import read_image

    return read_image(path, place)
