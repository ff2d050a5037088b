from keras_det.targets.anchor_targets import AnchorTargets as AnchorTargets
