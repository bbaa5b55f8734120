"""Online alignment in batches: a main policy that exploits and a second arm that decides what is learned.

Each round fits the reward, takes its Gibbs policy as the main policy pi1, draws m comparisons of pi1 with a second
policy, and adds them to the data. What a second policy pi can teach is the information gain

    Gamma(pi) = width |E phi(pi1) - E phi(pi)|_{Sigma^-1},   Sigma = ridge I + (1/m) sum move move^T.

The enhancer is the policy with the largest gain among those that pay for their distance from pi1 with it,
beta E_x KL(pi || pi1) <= Gamma(pi).

Sources: W. Xiong et al., arXiv 2312.11456 (GSHF); H. Dong et al., arXiv 2405.07863, eq. 8 and
theorem 1 (the equation prints the KL with a comma; read pi first); the finite-candidate form is that of the
oat library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_softmax

from rsail import checks
from rsail.exact import gibbs, pessimism
from rsail.exact.arguments import count, policies, prompt_weights
from rsail.exact.bandit import LinearBandit, mean_features

SCHEMES = ("enhancer", "on_policy", "reference", "uniform")
NEVER = 60.0  # a response this much lower in log-probability counts as never drawn


@dataclass(frozen=True)
class Exploration:
    """A run of T rounds; every array is (T,) and belongs to the policies with which a round begins."""

    regret: np.ndarray  # J* - J(pi1)
    second_regret: np.ndarray  # J* - J of the second arm
    gain: np.ndarray  # Gamma of the second arm
    potential: np.ndarray  # mean of |move|^2_{Sigma^-1} over the comparisons of the round
    log_det: np.ndarray  # log det(Sigma / ridge) before the round
    log_probs: np.ndarray  # (T, X, Y), the main policies


def information_gain(
    log_probs, main_log_probs, features, design, *, width: float, prompt_probs=None
) -> float:
    """Gamma = width |E phi(pi1) - E phi(pi)|_{Sigma^-1}; policies (X, Y), features (X, Y, d), design (d, d)."""
    move = mean_features(features, main_log_probs, prompt_probs) - mean_features(
        features, log_probs, prompt_probs
    )
    return float(checks.nonnegative("width", width) * pessimism.dual_norm(move, design))


def policy_set_slack(
    log_probs,
    main_log_probs,
    features,
    design,
    *,
    beta: float,
    width: float,
    prompt_probs=None,
    per_prompt: bool = False,
) -> float:
    """Gamma(pi) - beta E_x KL(pi || pi1): the policy set is where this is not negative.

    `per_prompt` takes E_x |E phi(x, pi1) - E phi(x, pi)| in place of the norm of the mean: a larger set.
    """
    mu = prompt_weights(prompt_probs, len(np.asarray(log_probs)))
    if per_prompt:
        shares = np.exp(np.asarray(log_probs)) - np.exp(np.asarray(main_log_probs))
        moves = np.einsum("xy,xyd->xd", shares, checks.finite("features", features))
        gain = float(checks.nonnegative("width", width) * (mu @ pessimism.dual_norm(moves, design)))
    else:
        gain = information_gain(
            log_probs, main_log_probs, features, design, width=width, prompt_probs=prompt_probs
        )
    return gain - checks.positive("beta", beta) * gibbs.kl(log_probs, main_log_probs, mu)


def enhancer(
    features, main_log_probs, design, *, beta: float, width: float, prompt_probs=None, directions=None
) -> np.ndarray:
    """A policy (X, Y) of the set with the largest information gain, from each of several directions.

    Gamma = max over unit u of width <u, E phi(pi) - E phi(pi1)> in the metric of Sigma^-1. For a fixed u the
    best policy is pi1 tilted along u, as far as the set allows: a root of one variable. Taking u as the
    direction in which that policy lies, and so on, raises Gamma in every step; the best end over all starts is
    returned. Every maximizer is a fixed point, so that with all directions of the sphere as starts the maximum
    is global.

    Parameters
    ----------
    features : array (X, Y, d)
    main_log_probs : array (X, Y)
        log pi1.
    design : array (d, d)
    beta, width : float > 0
    directions : array (n, d), optional
        Starts, in whitened coordinates; by default plus and minus the principal axes of phi - E phi under pi1.
    """
    features = checks.finite("features", features)
    main, _ = policies(main_log_probs, main_log_probs)
    beta, width = checks.positive("beta", beta), checks.positive("width", width)
    mu = prompt_weights(prompt_probs, len(main))
    # White coordinates: with W W^T = Sigma^-1, the norm of a move v is |W^T v|.
    white = (features - mean_features(features, main, mu)) @ pessimism.whitening(design)
    if directions is None:
        spread = np.einsum("x,xy,xyd,xye->de", mu, np.exp(main), white, white)
        axes = np.linalg.eigh(spread)[1].T
        directions = np.concatenate([axes, -axes])
    directions = checks.finite("directions", directions)
    ends = [_ascend(white, main, start, 1e-3, beta, width, mu) for start in directions]
    # Only the best end is worth sharpening.
    best = max(ends, key=lambda end: end[1])
    return _ascend(white, main, best[2], 1e-13, beta, width, mu)[0]


def ensemble_pair(scores, head: int) -> tuple[int, int]:
    """Finite-candidate enhancer: the candidate that head `head` likes best, and the one it can learn most from.

    The second maximizes the variance over the heads of r_e(first) - r_e(j), with n - 1 in the denominator;
    scores (E, N) of E >= 2 heads are rewards before the sigmoid. Without disagreement both are the same candidate.
    """
    scores = checks.finite("scores", scores)
    checks.require(
        scores.ndim == 2 and scores.shape[0] >= 2 and scores.shape[1] >= 1,
        "scores.shape", scores.shape, "(E, N) with E >= 2",
    )  # fmt: skip
    checks.require(head in range(len(scores)), "head", head, f"in 0 ... {len(scores) - 1}")
    first = int(scores[head].argmax())
    spread = np.var(scores[:, first, None] - scores, axis=0, ddof=1)
    return first, int(spread.argmax()) if spread.max() > 0 else first


def explore(
    bandit: LinearBandit,
    scheme: str,
    *,
    rounds: int,
    batch: int,
    width: float,
    ridge: float,
    rng: np.random.Generator,
    offline: tuple[np.ndarray, np.ndarray] | None = None,
) -> Exploration:
    """Run `rounds` rounds of `batch` comparisons each.

    Parameters
    ----------
    scheme : str
        The second arm: "enhancer", "on_policy" (pi1 itself), "reference" (the hybrid scheme) or "uniform".
    width : float > 0
        Scales the information gain.
    ridge : float > 0
        Of the estimate and of Sigma; both take the data with weight 1 / batch.
    offline : (moves (n, d), labels (n,)), optional
        Comparisons to begin with.
    """
    checks.one_of("scheme", scheme, SCHEMES)
    rounds, batch = count("rounds", rounds), count("batch", batch)
    features, mu = bandit.features, bandit.prompt_probs
    dimension = features.shape[-1]
    moves, labels = (np.zeros((0, dimension)), np.zeros(0)) if offline is None else offline
    mains, seconds, gains, potentials, log_dets = [], [], [], [], []
    for _ in range(rounds):
        estimate = pessimism.fit_reward(moves, labels, ridge=ridge, batch=batch)
        design = pessimism.design_matrix(moves, ridge=ridge, batch=batch)
        main = gibbs.gibbs_policy(features @ estimate, bandit.ref_log_probs, beta=bandit.beta)
        if scheme == "enhancer":
            second = enhancer(features, main, design, beta=bandit.beta, width=width, prompt_probs=mu)
        else:
            uniform = np.full(main.shape, -np.log(main.shape[1]))
            second = {"on_policy": main, "reference": bandit.ref_log_probs, "uniform": uniform}[scheme]
        new_moves, new_labels = bandit.draw(main, second, batch, rng)
        mains.append(main)
        seconds.append(bandit.regret(second))
        gains.append(information_gain(second, main, features, design, width=width, prompt_probs=mu))
        potentials.append(float(np.mean(pessimism.dual_norm(new_moves, design) ** 2)))
        log_dets.append(float(np.linalg.slogdet(design / ridge)[1]))
        moves, labels = np.concatenate([moves, new_moves]), np.concatenate([labels, new_labels])
    regrets = [bandit.regret(main) for main in mains]
    return Exploration(*map(np.array, (regrets, seconds, gains, potentials, log_dets, mains)))


def _ascend(white, main, direction, tolerance, beta, width, mu) -> tuple[np.ndarray, float, np.ndarray]:
    """Follow `direction` until the gain rises by less than `tolerance`; policy (X, Y), gain / width, direction (d,)."""
    best, gain, direction = main, 0.0, direction / np.linalg.norm(direction)
    for _ in range(1000):
        log_probs = _tilt(white @ direction, main, beta, width, mu)
        move = np.einsum("x,xy,xyd->d", mu, np.exp(log_probs), white)
        size = float(np.linalg.norm(move))
        if not size > gain * (1.0 + tolerance):
            break
        best, gain, direction = log_probs, size, move / size
    return best, gain, direction


def _tilt(scores, main, beta, width, mu) -> np.ndarray:
    """pi1 exp(t scores), normalized, with the largest t at which width E scores >= beta KL.

    `scores` (X, Y) have mean zero under pi1. The difference of the two sides rises up to t = width / beta and
    falls from there, towards that of the policy that takes the largest score everywhere.
    """

    def slack(t):
        log_probs = log_softmax(main + t * scores, axis=-1)
        probs = np.exp(log_probs)
        return float(mu @ np.sum(probs * (width * scores - beta * (log_probs - main)), axis=-1))

    peak = width / beta
    gaps = scores.max(axis=-1, keepdims=True) - scores
    real = gaps > 1e-9 * max(np.abs(scores).max(), 1e-300)
    if not real.any():
        return main
    last = max(2.0 * peak, float(np.max((NEVER + np.abs(main).max()) / gaps[real])))
    high = 2.0 * peak
    while slack(high) >= 0 and high < last:
        high = min(2.0 * high, last)
    t = high if slack(high) >= 0 else brentq(slack, peak, high, xtol=1e-13 * high, rtol=1e-14)
    return log_softmax(main + t * scores, axis=-1)
