"""Outcome models and doubly robust scores the slow way: dense matrices, rows left out fold by fold."""

from __future__ import annotations

import numpy as np


def dense(design, codes, linear):
    """The design of every row, shape (n, p)."""
    rows = np.zeros((codes.shape[0], design.columns))
    rows[:, 0] = 1.0
    for i in range(codes.shape[0]):
        for j in range(codes.shape[1]):
            rows[i, design.offsets[j] + codes[i, j]] = 1.0
            if design.linear[j] >= 0:
                rows[i, design.linear[j]] = linear[i, j] / 256.0
    return rows


def ridge(x, y, w, penalty):
    """Weighted ridge regression, intercept (column 0) not penalised."""
    penalties = np.diag([0.0] + [penalty] * (x.shape[1] - 1))
    return np.linalg.solve(x.T @ (w[:, None] * x) + penalties, x.T @ (w * y))


def cross_fitted(x, y, w, arm, fold, arms, penalties):
    """Predictions for every row and arm by models of the other folds; penalties chosen within those."""
    mu = np.empty((len(y), arms))
    for f in np.unique(fold):
        for a in range(arms):
            seen = (fold != f) & (arm == a)
            losses = []
            for penalty in penalties:
                loss = 0.0
                for g in np.unique(fold[fold != f]):
                    held, rest = seen & (fold == g), seen & (fold != g)
                    if held.any() and rest.any():
                        errors = y[held] - x[held] @ ridge(x[rest], y[rest], w[rest], penalty)
                        loss += (w[held] * errors**2).sum()
                losses.append(loss)
            best = ridge(x[seen], y[seen], w[seen], penalties[int(np.argmin(losses))])
            mu[fold == f, a] = x[fold == f] @ best
    return mu


def aipw(y, arm, e, mu):
    """Doubly robust scores, a row at a time."""
    scores = np.array(mu, float)
    for i in range(len(y)):
        scores[i, arm[i]] = mu[i, arm[i]] + (y[i] - mu[i, arm[i]]) / e[i]
    return scores
