"""Average precision of a model and of its artefact on the same labelled images."""

from collections.abc import Sequence

from keras_det.metrics.bootstrap import paired_bootstrap


class AveragePrecision:
    """Collects what both find in labelled images.

    Args:
        class_names: of the model.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)
        self.truth: list[dict] = []
        self.reference: list[dict] = []
        self.found: list[dict] = []

    def add(self, truth: dict, reference: dict, found: dict) -> None:
        """Takes one image: its objects and both's detections, in pixels of the original image."""
        self.truth.append(truth)
        self.reference.append(reference)
        self.found.append(found)

    def result(self) -> dict | None:
        """What `report.Comparison.precision` holds; None without labelled images."""
        if not self.truth:
            return None
        pair = paired_bootstrap(self.truth, self.reference, self.found, self.class_names)
        return {
            "keras": pair.first,
            "artefact": pair.second,
            "drop": pair.drop,
            "mean_drop": pair.mean_drop,
            "interval": pair.interval,
            "num_images": pair.num_images,
            "resamples": pair.resamples,
        }


def exceeds(precision: dict, ap_drop: float) -> bool:
    """Whether AP drops by more than allowed: the mean does, and so does all of its 95% interval."""
    return precision["mean_drop"] > ap_drop and precision["interval"][0] > ap_drop
