"""Logistic regression on labels of which some are wrong, and how likely each one is wrong."""

import dataclasses

import numpy as np

ROUNDS = 60  # of expectation and maximisation, at most
STEPS = 25  # of Newton's method, at most
CLOSE = 1e-5  # a change of the share of wrong labels below it ends the rounds
# Normal priors: of all weights around 0, and of the weights of a class around those of all
# classes; constant first.
WIDTH, CONSTANT_OF_CLASS, WEIGHT_OF_CLASS = 5.0, 2.0, 0.2
# The share of wrong labels starts as if 1 of 20 further labels were wrong.
PRIOR_WRONG, PRIOR_CASES = 1.0, 20.0


@dataclasses.dataclass(frozen=True)
class Noise:
    """What `label_noise` finds.

    Attributes:
        wrong: float64 `(n,)`, probability that a label is wrong; 0 where model and label agree.
        right: float64 `(n,)`, probability that the model is right.
        share: the share of labels that are wrong where the model is right.
    """

    wrong: np.ndarray
    right: np.ndarray
    share: float


def label_noise(features: np.ndarray, agree: np.ndarray, group: np.ndarray) -> Noise:
    """How likely a label is wrong where model and label disagree.

    A model is right with a probability q that depends on the features x, and if it is right, a
    label is wrong with the probability e, whatever x is:

        q(x) = 1 / (1 + exp(-w · x)),  P(agree | x) = (1 - e) q(x)

    By Bayes' rule, the label is wrong in a case of disagreement with the probability

        P(wrong | disagree, x) = e q / (e q + 1 - q)

    w and e are fitted by expectation-maximisation, as in the label-noise robust logistic
    regression of Bootkrajang and Kabán (2012, https://doi.org/10.1007/978-3-642-33460-3_15). Here,
    labels can only be wrong in the cases of disagreement. Every group, such as a class, has its own
    w, which a normal prior keeps near that of all groups.

    Args:
        features: float `(n, k)`, what the model's certainty depends on.
        agree: bool `(n,)`, whether model and label agree.
        group: int `(n,)`, the group of each case.
    """
    agree = np.asarray(agree, bool)
    if not len(agree):
        return Noise(np.zeros(0), np.zeros(0), PRIOR_WRONG / PRIOR_CASES)
    spread = features.std(axis=0)
    centred = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    x = np.column_stack([np.ones(len(agree)), centred])
    groups = [np.flatnonzero(group == each) for each in np.unique(group)]
    share, target = PRIOR_WRONG / PRIOR_CASES, agree.astype(np.float64)
    weights = np.zeros(x.shape[1])
    own = [weights] * len(groups)
    widths = np.full(x.shape[1], WIDTH)
    widths_of_group = np.r_[CONSTANT_OF_CLASS, np.full(x.shape[1] - 1, WEIGHT_OF_CLASS)]
    right = np.zeros(len(agree))
    for _ in range(ROUNDS):
        weights = _fitted(x, target, np.zeros_like(weights), widths, weights)
        for k, rows in enumerate(groups):
            own[k] = _fitted(x[rows], target[rows], weights, widths_of_group, own[k])
            right[rows] = _sigmoid(x[rows] @ own[k])
        wrong = np.where(agree, 0.0, share * right / (share * right + 1 - right))
        target = np.where(agree, 1.0, wrong)
        before, share = share, (wrong.sum() + PRIOR_WRONG) / (target.sum() + PRIOR_CASES)
        if abs(share - before) < CLOSE:
            break
    return Noise(wrong, right, float(share))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))


def _fitted(
    x: np.ndarray, target: np.ndarray, centre: np.ndarray, widths: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Weights of a logistic regression with soft targets and a normal prior (Newton's method)."""
    weights, precision = start.copy(), np.diag(1 / widths**2)
    for _ in range(STEPS):
        found = _sigmoid(x @ weights)
        slope = x.T @ (target - found) - precision @ (weights - centre)
        curvature = (x * (found * (1 - found))[:, None]).T @ x + precision
        step = np.clip(np.linalg.solve(curvature, slope), -2, 2)
        weights = weights + step
        if np.abs(step).max() < 1e-6:
            break
    return weights
