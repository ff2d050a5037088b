"""Training targets: ground truth to what the heads should predict."""

from keras_det.targets.anchor_targets import AnchorTargets as AnchorTargets
from keras_det.targets.atss import ATSSTargets as ATSSTargets
from keras_det.targets.corner_targets import CornerTargets as CornerTargets
from keras_det.targets.named import MATCHERS as MATCHERS
from keras_det.targets.named import make_matcher as make_matcher
from keras_det.targets.simota import SimOTATargets as SimOTATargets
from keras_det.targets.task_aligned import TaskAlignedTargets as TaskAlignedTargets
