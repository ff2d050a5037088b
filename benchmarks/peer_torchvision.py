"""Times torchvision's RetinaNet for `benchmarks/retinanet.py`; run by it with the peer's Python.

    python -m venv peers && . peers/bin/activate
    pip install torch==2.13.0 numpy pillow
    pip install --no-deps torchvision==0.28.0

Cases are `what:backbone:size:batch`; only "forward:resnet50:…" is known here: backbone, pyramid and
heads of `retinanet_resnet50_fpn` without post-processing. Prints one JSON line: milliseconds per
repetition of each case.
"""

import torch
from peer import answer, load_torchvision


def case(what, backbone, size, batch):
    from torchvision.models.detection import retinanet_resnet50_fpn

    model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).eval()
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            model.head(list(model.backbone(images).values()))

    return run


def set_threads(threads):
    torch.set_num_threads(threads)
    load_torchvision()


if __name__ == "__main__":
    answer(case, set_threads)
