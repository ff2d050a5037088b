"""How the learning rate follows the batch size: one function, which all recipes use."""


def rate_for_batch(rate: float, per: float, batch_size: float, adaptive: bool) -> float:
    """The learning rate for a batch size, from a rate that is right for another one.

    SGD, linear (https://arxiv.org/abs/1706.02677, section 2.1): k times the images per update, k
    times the rate. An update of k batches then goes as far as k updates.

    Adam and AdamW, square root (https://arxiv.org/abs/2205.10287, the "square root scaling rule"):
    k times the images, sqrt(k) times the rate. Adam divides the gradient by its own size, which is
    mostly noise: k times the images make the noise smaller by sqrt(k). The paper changes the decay
    of Adam's averages too; this function does not.

    Both rules are for the same total number of images: with k times the images per update, there
    are k times fewer updates. A warm-up over the same number of images (section 2.2 of the first
    paper: a number of epochs) is then the same share of the updates. Recipes therefore state the
    warm-up as a share.

    Args:
        rate: learning rate at `per` images per update.
        per: images per update that `rate` is for, above 0.
        batch_size: images per update, above 0: all images that the gradient of an update is
            averaged over, with accumulated steps and on all devices.
        adaptive: bool. True for Adam and AdamW, False for SGD.
    """
    ratio = batch_size / per
    return rate * (ratio**0.5 if adaptive else ratio)
