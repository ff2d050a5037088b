"""The probability that a label is wrong: by hand, and against labels that were made wrong."""

import numpy as np

from keras_det.review.label_noise import PRIOR_CASES, PRIOR_WRONG, label_noise


# Without features that vary, q and e cannot be told apart: only the formula can be checked.
def test_the_score_is_bayes_rule():
    agree = np.array([True] * 90 + [False] * 10)
    found = label_noise(np.zeros((100, 1)), agree, np.zeros(100))
    e, q = found.share, found.right[-1]
    np.testing.assert_allclose(found.wrong[-1], e * q / (e * q + 1 - q), rtol=1e-2)
    assert (found.wrong[:90] == 0).all() and (found.right == q).all()


def cases(wrong_share, seed=0, count=30_000):
    """A model with a known certainty, and labels of which a known share is wrong."""
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 2.0, count)
    right = rng.random(count) < 1 / (1 + np.exp(-(0.5 + 1.5 * x)))
    wrong = right & (rng.random(count) < wrong_share)
    return x, right & ~wrong, wrong


def test_share_and_probabilities_of_made_labels():
    for share in (0.03, 0.1):
        x, agree, wrong = cases(share)
        found = label_noise(x[:, None], agree, np.zeros(len(x)))
        assert abs(found.share - share) < 0.25 * share
        q = 1 / (1 + np.exp(-(0.5 + 1.5 * x)))
        truth = share * q / (share * q + 1 - q)
        np.testing.assert_allclose(found.wrong[~agree], truth[~agree], atol=0.12)
        # Calibrated: as many labels are wrong as the probabilities say.
        assert abs(found.wrong.sum() / wrong.sum() - 1) < 0.2


def test_groups_have_their_own_certainty():
    x, agree, _ = cases(0.05)
    harder = x - 3  # the same cases of a class whose scores are lower
    both = np.concatenate([x, harder])[:, None]
    group = np.repeat([0, 1], len(x))
    found = label_noise(both, np.tile(agree, 2), group)
    first, second = np.split(found.wrong, 2)
    np.testing.assert_allclose(first, second, atol=0.05)
    together = label_noise(both, np.tile(agree, 2), np.zeros_like(group)).wrong
    assert np.abs(np.subtract(*np.split(together, 2))).max() > 0.2


def test_few_cases():
    assert len(label_noise(np.zeros((0, 2)), np.zeros(0, bool), np.zeros(0)).wrong) == 0
    one = label_noise(np.array([[2.0]]), np.array([False]), np.array([0]))
    assert 0 < one.share < 2 * PRIOR_WRONG / PRIOR_CASES and np.isfinite(one.wrong).all()
    alike = label_noise(np.ones((5, 1)), np.ones(5, bool), np.zeros(5))
    assert (alike.wrong == 0).all() and (alike.right > 0.5).all()
