"""Counts the images of a pipeline that cannot be read: few are skipped, many are an error."""

import warnings
from collections.abc import Callable, Iterable

from keras_det.errors import DataError

# A data set with a larger share of broken images in one epoch is refused. One is always skipped,
# unless it is the only image.
MAX_FAILED = 0.05
SHOWN = 5


class Failures:
    """The images that could not be read so far.

    Args:
        paths: of all images of the data set.
        reason: `reason(index) -> str` says in a sentence why an image cannot be read.
    """

    def __init__(self, paths: tuple[str, ...], reason: Callable[[int], str]) -> None:
        self._all, self._reason = paths, reason
        self._epochs: dict[int, set[int]] = {}
        self._reasons: dict[int, str] = {}
        self.error: DataError | None = None  # that there are too many

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def paths(self) -> list[str]:
        """Their paths, in the order in which they were found."""
        return [self._all[i] for i in self._reasons]

    def add(self, epoch: int, indices: Iterable[int]) -> None:
        """Notes images that failed in an epoch; warns of the first ones.

        Raises:
            DataError: too many have failed in this epoch.
        """
        lost = self._epochs.setdefault(epoch, set())
        for index in indices:
            lost.add(index)
            if index not in self._reasons:
                few = len(self._reasons) < SHOWN
                self._reasons[index] = self._reason(index) if few else self._all[index]
                self._warn(self._reasons[index])
        most = max(1, MAX_FAILED * len(self._all))
        if len(lost) > most or len(lost) == len(self._all):
            self.error = self._too_many(epoch, lost)
            raise self.error

    def _warn(self, reason: str) -> None:
        if len(self._reasons) <= SHOWN:
            text = f"An image cannot be used and is skipped: {reason} `Pipeline.failed` lists it."
        elif len(self._reasons) == SHOWN + 1:
            text = f"More than {SHOWN} images cannot be used. `Pipeline.failed` lists all of them."
        else:
            return
        warnings.warn(text, stacklevel=2)

    def _too_many(self, epoch: int, lost: set[int]) -> DataError:
        first = [i for i in self._reasons if i in lost][:SHOWN]
        more = f"; and {len(lost) - len(first)} more" if len(lost) > len(first) else ""
        names = ", ".join(self._all[i] for i in first)
        return DataError(
            f"At most {MAX_FAILED:.0%} of the images (and always one, if others are left) may be "
            f"unusable. Received: {len(lost)} of {len(self._all)} so far in epoch {epoch}: "
            f"{names}{more}. The first: {self._reasons[first[0]]} Replace these files, or remove "
            "them and their annotations."
        )
