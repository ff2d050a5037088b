"""Times PyTorch's running maxima for `benchmarks/cornernet.py`; run by it with the peer's Python.

    python -m venv peers && . peers/bin/activate && pip install torch==2.13.0 numpy

The only case is "pool:four:128:1": `cummax` in four directions, flipped where it runs backwards, as
CornerNet's C++ extension does it, of a map of 1x128x128x128, summed over the directions.
"""

import torch
from peer import answer


def case(what, variant, size, batch):
    x = torch.randn(batch, 128, size, size)

    def run():
        with torch.inference_mode():
            for axis in (2, 3):
                x.cummax(axis)[0]
                x.flip(axis).cummax(axis)[0].flip(axis)

    return run


if __name__ == "__main__":
    answer(case, torch.set_num_threads)
