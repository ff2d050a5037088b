"""Converted networks and measured times of a model, in a folder beside it."""

import datetime
import hashlib
import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Iterable
from typing import Any

from keras_det import __version__
from keras_det.files import read_bytes, tree_digest, write_json, write_whole
from keras_det.runtime.libraries import cores

FILES = {
    "litert": "network.tflite",
    "onnx": "network.onnx",
    "openvino": "network.openvino.onnx",  # OpenVINO reads ONNX
}
PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "onnxruntime", "openvino")


class EngineCache:
    """Converted networks and measured times of one model.

    They are valid for one model file, one set of package versions and one computer. If one of
    these changes, everything is converted and measured again. If the folder cannot be written,
    nothing is stored, and `note` says why.

    Args:
        path: of the model; the folder is `<file>.engines/` beside it.

    Attributes:
        note: why nothing was stored; empty if it was.
    """

    def __init__(self, path: pathlib.Path):
        self.folder = path.with_name(f"{path.name}.engines")
        self.state, self.note = self.folder / "engines.json", ""
        valid_for = {
            "model_sha256": tree_digest(path),
            "versions": {"keras_det": __version__, **_versions()},
            "computer": [platform.node(), platform.machine(), cores()],
        }
        try:
            self.content: dict[str, Any] = json.loads(read_bytes(self.state).decode())
        except (OSError, ValueError, RecursionError):
            self.content = {}
        if not is_cache(self.content) or self.content["valid_for"] != valid_for:
            self.content = {"valid_for": valid_for, "networks": {}, "milliseconds": {}}

    def milliseconds(self, engines: Iterable[str]) -> dict[str, float]:
        """Returns the times per image of these engines; empty if they were not measured."""
        known = set(engines)
        return {k: v for k, v in self.content["milliseconds"].items() if k in known}

    @property
    def date(self) -> str:
        """The day on which the times were measured, ISO 8601."""
        return self.content["date"]

    def network(self, engine: str) -> bytes | None:
        """Returns a stored network, or None if there is none or its file was changed."""
        try:
            content = read_bytes(self.folder / FILES[engine])
        except OSError:
            return None
        digest = hashlib.sha256(content).hexdigest()
        return content if self.content["networks"].get(engine) == digest else None

    def add(self, engine: str, content: bytes) -> None:
        """Stores a converted network."""
        self.content["networks"][engine] = hashlib.sha256(content).hexdigest()
        self._write(FILES[engine], content)

    def remember(self, times: dict[str, float]) -> None:
        """Stores measured times."""
        self.content["milliseconds"] = {name: round(value, 1) for name, value in times.items()}
        self.content["date"] = datetime.date.today().isoformat()
        self._write()

    def _write(self, name: str | None = None, content: bytes = b"") -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            if name:
                write_whole(self.folder / name, content)
            write_json(self.state, self.content)
        except OSError as error:
            self.note = f", not stored: {error.strerror}: {self.folder}"


def is_cache(content: Any) -> bool:
    """Whether the content of engines.json is what this class writes."""
    parts = ("valid_for", "networks", "milliseconds")
    if not isinstance(content, dict) or not all(isinstance(content.get(p), dict) for p in parts):
        return False
    times = content["milliseconds"].values()
    dated = not times or isinstance(content.get("date"), str)
    return dated and all(isinstance(time, int | float) for time in times)


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
