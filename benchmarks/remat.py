"""Gradient checkpointing: peak memory and time of a training step, with and without `remat`.

    python benchmarks/remat.py --model cornernet_hourglass104 --size 255 --batch 2

Each case runs in a process of its own, so that peaks are its own; see `batch_memory.py` for how
both are measured.
"""

import argparse

from batch_memory import in_a_process


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="cornernet_hourglass104")
    parser.add_argument("--size", type=int, default=255)
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    print(f"{'':<10}{'peak, GB':>12}{'CPU s / step':>15}")
    found = {}
    for case in ("plain", "remat"):
        settings = (options.model, options.size, str(options.batch))
        (found[case],) = in_a_process(*settings, case == "remat")
        print(f"{case:<10}{found[case]['peak_gb']:>12.2f}{found[case]['cpu_s']:>15.2f}", flush=True)
    plain, remat = found["plain"], found["remat"]
    slower = remat["cpu_s"] / plain["cpu_s"]
    print(f"memory {remat['peak_gb'] / plain['peak_gb']:.2f}x; processor time {slower:.2f}x")


if __name__ == "__main__":
    main()
