"""The random changes of training images: steps, windows, pixels, and how they are strung together.

`keras_det.data.augment` holds the public names.
"""
