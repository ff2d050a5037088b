"""Reviews labels: those that are likely wrong, and images that are worth labelling next."""

from keras_det.review.finding import LabelFinding as LabelFinding
from keras_det.review.finding import corrected as corrected
from keras_det.review.folds import out_of_fold_detections as out_of_fold_detections
from keras_det.review.likely import find_label_errors as find_label_errors
from keras_det.review.next_images import rank_images as rank_images
from keras_det.review.results import write_findings as write_findings
from keras_det.review.tasks import predicted_tasks as predicted_tasks
from keras_det.review.tasks import tasks_of as tasks_of
from keras_det.review.tasks import write_tasks as write_tasks
