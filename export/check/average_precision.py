"""Average precision of a model and of its export on the same labelled images."""

from collections.abc import Sequence

from keras_det.metrics.bootstrap import paired_bootstrap


class AveragePrecision:
    """Collects the detections of a model and of its export in labelled images.

    Args:
        class_names: of the model.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)
        self.truth: list[dict] = []
        self.reference: list[dict] = []
        self.found: list[dict] = []

    def add(self, truth: dict, reference: dict, found: dict) -> None:
        """Adds one image: its objects and both lists of detections, in its original pixels."""
        self.truth.append(truth)
        self.reference.append(reference)
        self.found.append(found)

    def result(self) -> dict | None:
        """Returns the content of `report.Comparison.precision`; None without labelled images."""
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
    """True if AP drops by more than allowed: the mean and the whole 95% interval are above it."""
    return precision["mean_drop"] > ap_drop and precision["interval"][0] > ap_drop
