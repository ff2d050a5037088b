"""Building, training and detecting on arrays with the JAX backend and no TensorFlow."""

import pytest

from tests.helpers import run_on_jax

SCRIPT = """
import numpy as np
import keras_det

model = MODEL
model.compile()
images = np.random.default_rng(0).integers(0, 256, (2, *model.image_size, 3)).astype("uint8")
boxes = np.array([[[4, 4, 20, 20]], [[0, 0, 0, 0]]], "float32")
labels = np.array([[1], [-1]], "int32")
logs = model.fit(images, {"boxes": boxes, "labels": labels}, epochs=2, verbose=0).history
assert np.isfinite(logs["loss"]).all() and logs["positives_per_image"][0] > 0
found = model.detect(images[0], score_threshold=0.0, max_detections=5)
assert found["boxes"].shape == (5, 4) and (np.diff(found["scores"]) <= 0).all()
model.save(sys.argv[1])
assert keras_det.load_model(sys.argv[1]).class_names == ["class_0", "class_1"]
print("without TensorFlow")
"""
MODELS = (
    'keras_det.EfficientDet("lite0", num_classes=2, image_size=32)',
    'keras_det.RetinaNet("resnet18", num_classes=2, image_size=32, neck="pafpn", neck_channels=32,'
    'head_norm="group", matcher=keras_det.targets.ATSSTargets(), box_loss="giou")',
    'keras_det.EfficientDet("lite0", num_classes=2, image_size=32, matcher="simota",'
    'class_loss="varifocal")',
    "keras_det.CornerNet((2, (8, 12), (1, 1), 4), num_classes=2, image_size=47, remat=True)",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", MODELS, ids=["efficientdet", "retinanet", "soft targets", "cornernet"]
)
def test_build_fit_detect_and_save_on_jax(tmp_path, model):
    run_on_jax(SCRIPT.replace("MODEL", model), tmp_path / "model.keras")
