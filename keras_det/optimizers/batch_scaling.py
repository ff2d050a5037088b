"""How the learning rate follows the batch size: the one place that every recipe takes it from."""


def rate_for_batch(rate: float, per: float, batch_size: float, adaptive: bool) -> float:
    """The learning rate for a batch size, from a rate that is right at another one.

    SGD, linear (https://arxiv.org/abs/1706.02677, section 2.1): k times the images per update, k
    times the rate. An update of k batches then goes as far as k updates.

    Adam and AdamW, square root (https://arxiv.org/abs/2205.10287, the "square root scaling rule"):
    k times the images, sqrt(k) times the rate. Adam divides the gradient by its own size, which is
    mostly noise: k times the images make the noise smaller by sqrt(k). The paper changes the decay
    of Adam's averages too; this does not.

    Both rules are for the same number of images in all: k times the images per update are k times
    fewer updates. The warm-up of the same number of images (section 2.2 of the first: a number of
    epochs) is then the same share of the updates; recipes therefore state it as a share.

    Args:
        rate: learning rate at `per` images per update.
        per: images per update that `rate` is for, above 0.
        batch_size: images per update, above 0: all that the gradient of an update is averaged over,
            with accumulated steps and several devices.
        adaptive: bool. True for Adam and AdamW, False for SGD.
    """
    ratio = batch_size / per
    return rate * (ratio**0.5 if adaptive else ratio)
