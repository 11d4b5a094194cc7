"""The split of generalized random forests: the largest difference of pseudo-outcomes between the children.

Source: Athey, Tibshirani & Wager 2019, *Generalized random forests*; several arms as in grf's multi-arm
causal forest. With W one-hot and its covariance estimated in the node, the pseudo-outcome of a row of arm g
is, for treatment t, ``rho_t = (1[g=t]/pi_t - 1[g=0]/pi_0) * (y - ybar_g)`` with pi_g the arm's share of the
node and ybar_g its mean there. So the sum over a child needs the sums per arm only, no second pass over the
rows.
"""

from __future__ import annotations

from spark_uplift.criteria.signature import UNDEFINED, WY, W
from spark_uplift.criteria.smoothing import comparable, total


def gradient(node, left, right, reference, n_reg, normalization):  # type: ignore[no-untyped-def]
    """Return ``sum_t [rho_t(L)^2/(N_L+n_reg) + rho_t(R)^2/(N_R+n_reg)] / N``.

    ``rho_t(child) = (S_t - n_t*ybar_t)/pi_t - (S_0 - n_0*ybar_0)/pi_0``. Pseudo-rows at the node's means add
    nothing to rho, so ``n_reg`` only enters the denominators. Divided by N the gain is per row: with equal
    arm shares in both children and one treatment it is ``pi_L*pi_R*(effect_L - effect_R)^2`` for ``n_reg =
    0``. Squares are summed over the treatments without weights, as grf does; a treatment that one child lacks
    adds nothing. All normalizations are the same. The centring uses the node's plain means and not
    ``reference``, for the rho of the two children to cancel each other.
    """
    rows_left = total(left)
    rows_right = total(right)
    rows = rows_left + rows_right
    if rows_left <= 0.0 or rows_right <= 0.0 or node[0, W] <= 0.0 or rows - node[0, W] <= 0.0:
        return UNDEFINED
    inverse = 1.0 / node[0, W]
    mean = node[0, WY] * inverse
    control_left = (left[0, WY] - left[0, W] * mean) * (rows * inverse)
    control_right = (right[0, WY] - right[0, W] * mean) * (rows * inverse)
    squares_left = 0.0
    squares_right = 0.0
    for arm in range(1, node.shape[0]):
        if comparable(left, right, arm):
            inverse = 1.0 / node[arm, W]
            mean = node[arm, WY] * inverse
            rho_left = (left[arm, WY] - left[arm, W] * mean) * (rows * inverse) - control_left
            rho_right = (right[arm, WY] - right[arm, W] * mean) * (rows * inverse) - control_right
            squares_left += rho_left * rho_left
            squares_right += rho_right * rho_right
    # One division for both children: divisions are what this function costs.
    damped_left = rows_left + n_reg
    damped_right = rows_right + n_reg
    return (squares_left * damped_right + squares_right * damped_left) / (damped_left * damped_right * rows)
