"""Options of detection in tiles. Shared by `evaluate` and `predict`."""

from collections.abc import Callable
from typing import Any

import click

from keras_det.cli.numbers import Real, Whole
from keras_det.errors import DataError

OVERLAP = 0.25
OPTIONS = (
    click.option(
        "--tile",
        type=Whole(32, 16_384),
        show_default="no tiles",
        help="Side of square tiles, in pixels of the image; also detects in the whole image.",
    ),
    click.option(
        "--tile-overlap",
        type=Real(0, 0.8),
        show_default=f"{OVERLAP:g}",
        help="Share of a tile that its neighbour also covers.",
    ),
)


def tile_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which gets `tile` and `tile_overlap`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def taken_from(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the tile options out of the options of a command; returns {} without `--tile`.

    Raises:
        DataError: `--tile-overlap` without `--tile`.
    """
    tile, overlap = options.pop("tile"), options.pop("tile_overlap")
    if tile is None and overlap is not None:
        raise DataError(
            f"--tile-overlap has no effect without --tile. Received: --tile-overlap {overlap:g}. "
            "Leave it out, or give the side of the tiles with --tile."
        )
    return (
        {} if tile is None else {"tile": tile, "overlap": OVERLAP if overlap is None else overlap}
    )


def in_tiles(detector: Any, tiles: dict[str, Any]) -> Any:
    """The detector, or one that detects in tiles.

    Args:
        detector: a model, or an exported file.
        tiles: as `taken_from` returns it.
    """
    if not tiles:
        return detector
    from keras_det.runtime.tiled import TiledDetector

    return TiledDetector(detector, **tiles)
