"""The files of a preset: the configuration, weights and origin of a model in one folder.

The file names are KerasHub's: `config.json`, `model.weights.h5`, `metadata.json`, `README.md`.
"""

import os
import pathlib
import re
from collections.abc import Callable

from keras_det.errors import DataError, install_hint, suggest_path
from keras_det.files import file_digest, opening, read_object, staging, write_json, write_whole
from keras_det.interrupts import stoppable
from keras_det.names import HUGGING_FACE
from keras_det.names import PRESET_WEIGHTS as WEIGHTS
from keras_det.weights.common.keras_file import check_config

CONFIG, METADATA, CARD = "config.json", "metadata.json", "README.md"
NEEDED = (CONFIG, WEIGHTS, METADATA)
# Classes of keras-hub whose presets, with files of the same names, fill a backbone.
HUB_BACKBONES = ("EfficientNetBackbone", "ResNetBackbone")
DIGEST = "weights_sha256"  # key in metadata.json of the SHA-256 of the weights


def is_preset(path: str | os.PathLike) -> bool:
    """Whether a path is a preset: an address on Hugging Face, or a folder with a preset's files."""
    folder = pathlib.Path(path)
    return str(path).startswith(HUGGING_FACE) or all((folder / x).is_file() for x in NEEDED)


def is_hub_backbone(path: str | os.PathLike) -> bool:
    """Whether a folder is a keras-hub preset of an EfficientNet or a ResNet."""
    try:
        config = read_json(pathlib.Path(path) / CONFIG)
    except DataError:
        return False
    return config.get("class_name") in HUB_BACKBONES


def preset_folder(preset: str | os.PathLike) -> pathlib.Path:
    """The local folder of a preset, with all its files.

    Args:
        preset: a folder, or "hf://owner/name" on Hugging Face, which is downloaded once.

    Raises:
        DataError: there is no such folder, a file is missing in it, or it cannot be fetched.
    """
    if "://" in str(preset):
        folder = _fetched(str(preset))
    else:
        folder = pathlib.Path(preset)
    if not folder.is_dir():
        raise DataError(
            f"A preset must be an existing folder or hf://owner/name. Received: {preset}."
            f"{suggest_path(folder)} Write one with model.save_to_preset(folder)."
        )
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"A preset must hold {', '.join(NEEDED)}. Received: {preset}, without "
            f"{', '.join(missing)}. Copy the whole folder, or write it again with "
            "model.save_to_preset."
        )
    return folder


def _fetched(preset: str) -> pathlib.Path:
    handle = preset.removeprefix(HUGGING_FACE)
    if not re.fullmatch(r"hf://[\w.-]+/[\w.-]+", preset):
        raise DataError(
            f"The address of a preset must be hf://owner/name. Received: {preset}. Give such an "
            "address, or a folder."
        )
    try:
        import huggingface_hub
    except ImportError:
        raise DataError(
            f"{HUGGING_FACE} needs the package huggingface_hub. Received: {preset}, and it is not "
            f"installed. Install it with {install_hint('hub')}, or give a folder."
        ) from None
    try:
        found = huggingface_hub.snapshot_download(handle, allow_patterns=[*NEEDED, CARD])
    except Exception as error:  # errors of its own, of the system, and of whatever speaks HTTP
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{preset} must be reachable. Received: {type(error).__name__}: "
            f"{reason.rstrip('.')}. Check the name and the connection; offline give a folder."
        ) from error
    return pathlib.Path(found)


def read_preset(folder: pathlib.Path) -> tuple[dict, dict]:
    """Configuration and metadata of a preset, after checking the SHA-256 of its weights.

    Raises:
        DataError: a file is not JSON, the weights are not those that the metadata names, or the
            model needs something beside the preset; see `check_config`.
    """
    config, metadata = (read_json(folder / name) for name in (CONFIG, METADATA))
    with opening(folder / WEIGHTS, "The weights of a preset must be readable", "Copy them again."):
        expected, found = metadata.get(DIGEST), file_digest(folder / WEIGHTS)
    if expected != found:
        raise DataError(
            f"{folder / WEIGHTS} must have the SHA-256 given in {METADATA}, {expected}. Received: "
            f"{found}. The file is damaged or was replaced. Copy or download it again."
        )
    check_config(config, folder)
    return config, metadata


def read_json(path: str | os.PathLike) -> dict:
    """Reads a JSON file that holds an object; DataError where it does not."""
    return read_object(path, "Copy or write it again.")


def write_preset(
    preset_dir: str | os.PathLike,
    config: dict,
    metadata: dict,
    write_weights: Callable[[str], None],
    card: Callable[[dict], str],
) -> None:
    """Writes a preset. The folder is complete or does not exist.

    Args:
        preset_dir: a folder that does not exist yet, or an empty one.
        config: the model's configuration.
        metadata: facts about the model; the SHA-256 of the weights is added.
        write_weights: function that writes the weights to a path.
        card: function that writes the model card from the metadata.

    Raises:
        DataError: `preset_dir` exists and is not an empty folder.
    """
    with (
        stoppable(),
        staging(preset_dir, "A preset must go to a new or empty folder") as (final, folder),
    ):
        folder.mkdir()
        write_weights(str(folder / WEIGHTS))
        metadata = {**metadata, DIGEST: file_digest(folder / WEIGHTS)}
        write_json(folder / CONFIG, config)
        write_json(folder / METADATA, metadata)
        write_whole(folder / CARD, card(metadata).encode())
        if final.exists():
            final.rmdir()
        os.replace(folder, final)
