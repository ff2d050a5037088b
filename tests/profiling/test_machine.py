"""The machine's peak, its busy cores and the memory of a process, on made numbers."""

import subprocess
import sys

import numpy as np
import pytest

from keras_det.profiling.machine import (
    Cores,
    Gpu,
    Use,
    keras_product,
    matmul_peak,
    numpy_product,
    peak_memory,
)


class Clock:
    """Seconds that only what is measured moves on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_peak_is_the_best_product_of_the_best_size():
    clock, seconds = Clock(), {10: [9.0, 2.0, 0.1, 2.0, 3.0, 4.0], 20: [1.0, 0.4, 0.5, 2, 2, 2]}

    def product(size, dtype):
        times = iter(seconds[size])
        assert dtype == "bfloat16"

        def run():
            clock.now += next(times)

        return run

    # The first call is not timed. 10^3 / 0.1 = 10,000; 20^3 / 0.4 = 20,000.
    found = matmul_peak(product, "bfloat16", (10, 20), clock)
    assert (found.per_second, found.size, found.dtype) == (pytest.approx(20_000), 20, "bfloat16")


def test_larger_products_are_left_out_once_they_take_long():
    clock, sizes = Clock(), []

    def product(size, dtype):
        sizes.append(size)

        def run():
            clock.now += 0.06 * size

        return run

    assert matmul_peak(product, sizes=(1, 2, 4), clock=clock).size == 2
    assert sizes == [1, 2]


def test_products_multiply():
    rng = np.random.default_rng(0)
    left, right = (rng.random((6, 6), "float32") for _ in range(2))
    np.testing.assert_allclose(numpy_product(6, "float32")(), left @ right, rtol=1e-5)
    assert keras_product(6, "float32")() == pytest.approx((left @ right)[0, 0], rel=1e-5)


# user nice system idle iowait irq softirq steal guest guest_nice
STAT = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 {} 0 0 {} 0 0 0 {} 7 7\ncpu1 5 5 5 5 5 5 5 5 0 0\nintr 1\n"


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_idle_cores_are_read_from_the_system(tmp_path):
    clock, used = Clock(), Clock()
    write(tmp_path, "proc/stat", STAT.format(100, 100, 0))
    cores = Cores(tmp_path, {0}, clock, used)
    clock.now, used.now = 2.0, 0.5
    # 100 ticks: 60 by programs, 30 idle, 10 taken by the host of a virtual machine.
    write(tmp_path, "proc/stat", STAT.format(160, 130, 10))
    found = cores.use()
    assert (found.busy, found.own) == (pytest.approx(0.7), pytest.approx(0.25))
    assert found.others == pytest.approx(0.45)


def test_limit_of_a_container_counts_instead_of_its_cores(tmp_path):
    clock, used = Clock(), Clock()
    write(tmp_path, "proc/stat", STAT.format(100, 100, 0))
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000\n")
    cores = Cores(tmp_path, {0}, clock, used)
    clock.now, used.now = 2.0, 0.9  # 0.9 s of half a core in 2 s: the rest it may not use
    write(tmp_path, "proc/stat", STAT.format(190, 290, 0))
    assert cores.use() == Use(pytest.approx(0.9), pytest.approx(0.9))
    write(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert cores.use().busy == pytest.approx(90 / 280)


def test_without_proc_only_the_own_share_is_known(tmp_path):
    clock, used = Clock(), Clock()
    cores = Cores(tmp_path, {0, 1}, clock, used)
    clock.now, used.now = 2.0, 3.0
    assert cores.use() == Use(0.75, 0.75)
    assert Use(None, None).others == 0.0


def test_gpu_is_what_the_program_says():
    with Gpu([sys.executable, "-c", "print('30\\n80')"]) as gpu:
        while not gpu.found:
            pass
    assert gpu.busy == 0.8


@pytest.mark.parametrize("command", [["/nothing/here"], [sys.executable, "-c", "print('[N/A]')"]])
def test_gpu_is_unknown_where_nothing_says_it(command):
    with Gpu(command) as gpu:
        gpu._thread.join()
    assert gpu.busy is None


def test_memory_is_that_of_this_program_alone(tmp_path):
    write(tmp_path, "proc/self/status", "Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")
    assert peak_memory(tmp_path) == 2048 * 1024
    assert peak_memory(tmp_path / "none") > 1e6  # of the system's own count


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_of_a_large_parent_is_not_that_of_its_child():
    large = np.ones(100_000_000, "uint8")
    code = "from keras_det.profiling.machine import peak_memory; print(peak_memory())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert peak_memory() > len(large) > int(shown.stdout)
