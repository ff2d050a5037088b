#!/bin/sh
# RetinaNet with a ResNet-34 on COCO 2017: train, predict, evaluate.
#
#     COCO=coco WEIGHTS=resnet34.pth OUT=runs/coco sh examples/retinanet_coco.sh
#
# COCO is a folder with annotations/ (instances_train2017.json, instances_val2017.json), train2017/
# and val2017/. WEIGHTS is an ImageNet ResNet-34 of torchvision or timm: a state dict, .pth or
# .safetensors. Without WEIGHTS torchvision's are fetched; the first lines say so. Where they cannot
# be, the backbone starts from random weights, for which the schedule below is not made.
#
# The schedule is that of the paper: SGD with momentum 0.9, weight decay 1e-4, horizontal flips. The
# learning rate is 0.01 for 16 images. It is divided by 10 after two thirds and after eight ninths
# of 90,000 steps (12.3 epochs). 12 epochs are 88,000 steps. You need a GPU with room for 16 images
# of 1024 pixels.
#
# This recipe was NOT run at this scale: the tests run it on a few synthetic images. A public
# implementation of this model reports AP 0.312, AP50 0.481, AP75 0.332 on val2017. The recipe is
# meant to reach that.
set -eu

: "${COCO:?the folder of COCO 2017}"
OUT=${OUT:-runs/retinanet_coco}
WEIGHTS=${WEIGHTS:-}

keras-det train "$COCO" --model retinanet_resnet34 --train-split train2017 --val-split val2017 \
    ${WEIGHTS:+--backbone-weights "$WEIGHTS"} \
    --image-size "${SIZE:-1024}" --batch-size "${BATCH:-16}" --epochs "${EPOCHS:-12}" \
    --recipe published --augment flip --dtype "${DTYPE:-mixed_bfloat16}" --out "$OUT"
keras-det predict "$OUT" "$COCO/val2017" --out "$OUT/found"
keras-det evaluate "$OUT" "$COCO" --split val2017
