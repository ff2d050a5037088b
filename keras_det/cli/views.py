"""Options of detection in tiles and in several views. Shared by `evaluate` and `predict`."""

from collections.abc import Callable
from typing import Any

import click

from keras_det.cli.command import user_input
from keras_det.cli.numbers import Real, Whole
from keras_det.errors import DataError
from keras_det.names import (
    FLIP_CHOICES,
    FUSION_CHOICES,
    MAX_VIEW_SCALE,
    MIN_VIEW_SCALE,
    TILE_OVERLAP,
)

FUSION = FUSION_CHOICES[0]


class Scales(click.ParamType):
    """`1,1.25`: numbers with commas between them."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        one = Real(MIN_VIEW_SCALE, MAX_VIEW_SCALE)
        try:
            return tuple(one.convert(each, param, ctx) for each in str(value).split(","))
        except click.BadParameter:
            self.fail(
                f"must be numbers from {MIN_VIEW_SCALE:g} to {MAX_VIEW_SCALE:g} with commas "
                f"between them, such as 1,1.25. Received: {value!s:.40}.",
                param,
                ctx,
            )


OPTIONS = (
    click.option(
        "--tile",
        type=Whole(32, 16_384),
        show_default="no tiles",
        help="Detect in square tiles of this side, in pixels, and in the whole image.",
    ),
    click.option(
        "--tile-overlap",
        type=Real(0, 0.8),
        show_default=f"{TILE_OVERLAP:g}",
        help="Share of a tile that its neighbour also covers.",
    ),
    click.option(
        "--flip",
        type=click.Choice(FLIP_CHOICES),
        default=FLIP_CHOICES[0],
        help="Also detect in the mirrored image; both: four views.",
    ),
    click.option(
        "--scales",
        type=Scales(),
        show_default="1",
        help="Detect at several input sizes of a Keras model: factors, such as 1,1.25.",
    ),
    click.option(
        "--fusion",
        type=click.Choice(FUSION_CHOICES),
        show_default=FUSION,
        help="How to fuse boxes of several views: average them (wbf) or keep the best (nms).",
    ),
)


def view_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command; see `taken_from`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def taken_from(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of tiles and views out of the options of a command.

    Returns:
        Arguments by name: `tile` and `overlap` of `TiledDetector`, `flip`, `scales` and `fusion` of
        `AugmentedDetector`; {} where nothing is asked for.

    Raises:
        DataError: an option has no effect without another one.
    """
    tile, overlap = options.pop("tile"), options.pop("tile_overlap")
    flip, scales, fusion = (options.pop(name) for name in ("flip", "scales", "fusion"))
    if tile is None and overlap is not None:
        raise DataError(
            f"--tile-overlap has no effect without --tile. Received: --tile-overlap {overlap:g}. "
            "Leave it out, or give the side of the tiles with --tile."
        )
    several = flip != FLIP_CHOICES[0] or scales not in (None, (1.0,))
    if fusion is not None and not several:
        raise DataError(
            "--fusion has no effect on a single view. Received: --fusion "
            f"{fusion}. Leave it out, or give --flip or --scales."
        )
    found: dict[str, Any] = {}
    if tile is not None:
        found |= {"tile": tile, "overlap": TILE_OVERLAP if overlap is None else overlap}
    if several:
        found |= {"flip": flip, "scales": scales or (1.0,), "fusion": fusion or FUSION}
    return found


def check_scales(views: dict[str, Any], engine: str) -> str:
    """Returns the engine to ask for: "keras" instead of "auto" where there are several scales.

    Args:
        views: as `taken_from` returns it.
        engine: of a model, as the user asked for it, or of an exported file.

    Raises:
        DataError: the network of another engine cannot detect at several scales.
    """
    scales = views.get("scales", (1.0,))
    if scales == (1.0,):
        return engine
    if engine not in ("auto", "keras"):
        raise DataError(
            "--scales needs a .keras model on the engine keras: the others have one input size. "
            f"Received: --scales {','.join(f'{scale:g}' for scale in scales)} with the engine "
            f"{engine}. Leave --scales out, or give the .keras file without --engine."
        )
    return "keras"


def in_views(detector: Any, views: dict[str, Any]) -> Any:
    """The detector, or one that detects in several views, in tiles, or in several views of tiles.

    Args:
        detector: a model, or an exported file.
        views: as `taken_from` returns it.

    Raises:
        DataError: the network cannot detect at several scales, or two scales give one size.
    """
    check_scales(views, getattr(detector, "engine", "keras"))
    views = dict(views)
    tiles = {name: views.pop(name) for name in ("tile", "overlap") if name in views}
    if views:
        from keras_det.runtime import augmented

        with user_input():
            detector = augmented.AugmentedDetector(detector, **views)
    if tiles:
        from keras_det.runtime import tiled

        detector = tiled.TiledDetector(detector, **tiles)
    return detector


def described(views: dict[str, Any]) -> str:
    """What the detector looks at, to be added to a line; empty for the image alone."""
    words = []
    if "tile" in views:
        words.append(f"Tiles: {views['tile']} pixels a side.")
    if "flip" in views:
        scales = ", ".join(f"{scale:g}" for scale in views["scales"])
        words.append(f"Views: flip {views['flip']}, scales {scales}; fusion {views['fusion']}.")
    return "".join(
        f"{separator}{each}" for separator, each in zip((". ", " "), words, strict=False)
    )
