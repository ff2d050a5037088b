"""Times effdet (PyTorch) for `benchmarks/efficientdet.py`; run by it with the peer's Python.

    python -m venv peers && . peers/bin/activate
    pip install torch==2.13.0 numpy pillow pyyaml omegaconf pycocotools huggingface_hub safetensors
    pip install --no-deps torchvision==0.28.0 effdet==0.4.1 timm==1.0.31

Prints one JSON line: milliseconds per repetition of each case given as `what:variant:size:batch`,
`what` being "forward" or "step". Channels-last memory, which is faster on a CPU.
"""

import warnings

import torch
from peer import answer, load_torchvision

warnings.filterwarnings("ignore")


def model_of(variant, size, task=""):
    from effdet import create_model

    model = create_model(
        f"tf_efficientdet_{variant}",
        bench_task=task,
        pretrained=False,
        pretrained_backbone=False,
        image_size=(size, size),
        bench_labeler=task == "train",
    )
    return model.to(memory_format=torch.channels_last)


def case(what, variant, size, batch):
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    if what == "forward":
        model = model_of(variant, size).eval()

        def run():
            with torch.inference_mode():
                model(images)

        return run
    model = model_of(variant, size, "train").train()
    corner = torch.rand(batch, 8, 2) * size * 0.6
    boxes = torch.cat([corner, corner + 20 + torch.rand(batch, 8, 2) * size * 0.35], -1)
    targets = {"bbox": list(boxes), "cls": [torch.randint(1, 91, (8,)).float()] * batch}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def run():
        optimizer.zero_grad()
        model(images, targets)["loss"].backward()
        optimizer.step()

    return run


def set_threads(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    load_torchvision()


if __name__ == "__main__":
    answer(case, set_threads)
