"""Cuts the arrays printed by the original implementations down to those that a test reads.

    python tests/golden/cut.py FOLDER

FOLDER holds the whole files (README.md says what printed them). Every array that stays keeps its
values, its type and its name; the checkpoint of D0 is left out because its variables are those of
`net_d0.npz` (`tests.helpers.d0_checkpoint` writes it again).
"""

import fnmatch
import pathlib
import sys
import zipfile

import numpy as np

HERE = pathlib.Path(__file__).parent
# Patterns of the arrays that no test reads.
LEFT_OUT = {
    "cornernet/cornernet.npz": ["target/radius"],
    "efficientdet/anchors.npz": [],
    "efficientdet/decode_128.npz": ["decoded_centersize_anchors"],
    "efficientdet/losses.npz": [
        "focal_ls0.1",
        "full_*iou",
        "iou_*",
    ],
    "efficientdet/lr.npz": ["lr_stepwise", "lr_polynomial"],
    "efficientdet/net_d0.npz": [
        "trainable_names",
        "x128/reduction_*",
        "x128/p?_in",
        "x128/cell0_*",
        "x128/fpn_out_*",
    ],
    "efficientdet/postprocess_128.npz": ["combined/valid_len", "pyfunc_diou_*"],
    "efficientdet/postprocess_128_padded.npz": [],
    "efficientdet/targets_128.npz": ["*/cls_targets_[3-7]", "*/box_targets_[3-7]"],
    "efficientdet/train_step_d0.npz": ["cls_[3-7]", "box_[3-7]"],
    "ops/misc_ops.npz": ["focal/soft*", "iou/pairwise_[gdc]iou", "coder/10/*"],
}
# Files of the same origin that no test reads: efficientdet/preprocess.npz (resizing after
# normalising, which the package does in the other order) and cornernet/cornernet_softnms.npz.


def cut(source, target, patterns):
    """Writes the arrays of one file that match no pattern; returns how many went and stayed."""
    whole = np.load(source)
    gone = {name for name in whole.files for p in patterns if fnmatch.fnmatchcase(name, p)}
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", compresslevel=9) as archive:
        for name in whole.files:
            if name not in gone:
                # A fixed time: the same arrays give the same file.
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w") as file:
                    np.lib.format.write_array(file, whole[name], allow_pickle=False)
    kept = np.load(target)
    assert not gone & set(kept.files) and gone | set(kept.files) == set(whole.files)
    for name in kept.files:
        assert kept[name].dtype == whole[name].dtype
        np.testing.assert_array_equal(kept[name], whole[name])
    return len(gone), len(kept.files)


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for name, patterns in LEFT_OUT.items():
        gone, stayed = cut(folder / name, HERE / name, patterns)
        size = (HERE / name).stat().st_size
        print(f"{name}: {stayed} arrays of {stayed + gone}, {size:,} bytes")
