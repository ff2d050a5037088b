"""Times torchvision's RetinaNet for `benchmarks/retinanet.py`; run by it with the peer's Python.

    python -m venv peers && . peers/bin/activate
    pip install torch==2.13.0 numpy pillow
    pip install --no-deps torchvision==0.28.0

Cases are `what:backbone:size:batch`; only "forward:resnet50:…" is known here: backbone, pyramid and
heads of `retinanet_resnet50_fpn` without post-processing. Prints one JSON line: milliseconds per
repetition of each case.
"""

import json
import sys
import time

import torch


def define_nms():
    """torchvision's CUDA wheel has no operators beside a CPU torch; importing it needs these."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def forward(size, batch):
    from torchvision.models.detection import retinanet_resnet50_fpn

    model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).eval()
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            model.head(list(model.backbone(images).values()))

    return run


def main():
    threads, repetitions, *cases = sys.argv[1:]
    torch.set_num_threads(int(threads))
    library = define_nms()
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        del library
        raise
    results = {}
    for name in cases:
        _, _, size, batch = name.split(":")
        run = forward(int(size), int(batch))
        run(), run()
        times = []
        for _ in range(int(repetitions)):
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        results[name] = times
    print(json.dumps(results))


if __name__ == "__main__":
    main()
