"""Lists of choices and constants that several parts share.

This module imports nothing, so the command line can offer the choices without loading Keras.
"""

# ---- models ----

EFFICIENTDETS = (
    *("d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x"),
    *("lite0", "lite1", "lite2", "lite3", "lite3x", "lite4"),
)
RETINANETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
CORNERNETS = ("hourglass104", "hourglass52", "tiny")
# The models by their names on the command line.
MODEL_NAMES = (
    *(f"efficientdet_{variant}" for variant in EFFICIENTDETS),
    *(f"retinanet_{variant}" for variant in RETINANETS),
    *(f"cornernet_{variant}" for variant in CORNERNETS),
)
NECK_NAMES = ("fpn", "pafpn", "nas_fpn", "bifpn")
# Padding of strided convolutions: torch's, and TensorFlow's "same".
PADDINGS = ("symmetric", "same")
# Which anchors learn an object, how they are scored, and how their boxes are compared.
MATCHER_NAMES = ("iou", "atss", "task_aligned", "simota")
CLASS_LOSS_NAMES = ("focal", "quality_focal", "varifocal")
BOX_LOSS_NAMES = ("huber", "smooth_l1", "giou", "diou", "ciou")
# Normalisation in the heads; None is the third choice.
HEAD_NORMS = ("batch", "group")
# Precision of a model, as Keras names its dtype policies.
DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
MIN_IMAGE_SIZE = 32  # pixels, height and width of a network's input
MAX_IMAGE_SIZE = 8_192  # the same: larger inputs fill the memory
MAX_LEVEL = 12  # the pyramid's level with stride 4096
MIN_ANCHOR_SCALE, MAX_ANCHOR_SCALE = 0.001, 1_000  # strides of a level

# ---- images and labels ----

RESIZE_MODES = ("letterbox", "stretch", "mediapipe")
AUGMENT_NAMES = ("none", "light", "published", "strong", "flip", "ssj", "lsj", "tiles")
SAMPLING_NAMES = ("uniform", "repeat_factor", "class_balanced")
PADDING_LABEL = -1  # label of an empty slot
IMAGENET_MEAN = (123.675, 116.28, 103.53)  # mean colour, RGB in 0..255
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)  # standard deviation, RGB in 0..255
# COCO's category ids run from 1 to 90. The annotations use 80 of them.
NUM_COCO_IDS = 90

# ---- training ----

MAX_COUNT = 1_000_000  # of epochs, steps, images, candidates or objects
MAX_SEED = 2**32 - 1
FREEZE_CHOICES = ("none", "norm", "early", "backbone", "neck")
RECIPE_NAMES = ("auto", "adamw", "published")
ANCHOR_CHOICES = ("published", "auto")
# Words for weights to start from, beside paths.
WEIGHTS_WORDS = ("auto", "coco", "imagenet", "random")
HUGGING_FACE = "hf://"  # how the address of a preset on Hugging Face starts
PRESET_WEIGHTS = "model.weights.h5"  # the file of weights in a preset's folder

# ---- detection and export ----

# How many pixels an image may decode to. As in Pillow, which refuses more than twice 89,478,485: at
# the limit, the pixels take 537 MB.
MOST_PIXELS = 178_956_970
# A server decodes several images at once, and from strangers: Pillow warns from here on.
MOST_SERVED_PIXELS = 89_478_485
RUN_LOCK = ".run.lock"  # in a run folder, while a process trains in it
DEFAULT_THRESHOLD = 0.3  # score threshold where none was measured
NMS_METHODS = ("gaussian", "linear", "hard")
# The settings that only some methods have.
NMS_METHODS_WITH = {"iou_threshold": ("linear", "hard"), "sigma": ("gaussian",)}
# Whether an anchor may be found as several classes.
CANDIDATES = ("best_class", "pairs")
# Test-time augmentation: which mirrored views there are, and how their boxes are fused.
FLIP_CHOICES = ("none", "horizontal", "vertical", "both")
FUSION_CHOICES = ("wbf", "nms")
MIN_VIEW_SCALE, MAX_VIEW_SCALE = 0.25, 4.0  # factors on the sides of the input
TILE_OVERLAP = 0.25  # share of a tile that its neighbour also covers, if none is given
LIKELY_WRONG = 0.2  # score of a label from which on it is worth a look
EXPORT_FORMATS = ("saved_model", "tflite", "onnx", "openvino")
QUANTIZE_CHOICES = ("float32", "float16", "dynamic", "int8")
TFLITE_POSTPROCESS = ("builtin", "mediapipe", "split", "none")
ONNX_POSTPROCESS = ("nms", "none")
METADATA_CHOICES = ("mediapipe",)
ENGINES = ("auto", "keras", "litert", "onnx", "openvino")
# In the folder of an export for OpenVINO, beside a file of the weights with the suffix `.bin`.
OPENVINO_FILE = "detector.xml"
# A folder with one of these is an export.
EXPORTED_FOLDERS = ("saved_model.pb", OPENVINO_FILE)

# ---- review ----

TASK_FORMATS = ("coco", "label-studio", "cvat")

# ---- reading data ----

BOX_ORDERS = ("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw")
BOX_FORMATS = (*BOX_ORDERS, *(f"rel_{order}" for order in BOX_ORDERS))
SIZE_CHOICES = ("check", "file", "scale")
