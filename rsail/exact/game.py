"""General preferences as a two-player game with a KL term to the reference, by enumeration.

    J(p1, p2) = E_x[p1^T R p2 - beta KL(p1 || pi_ref) + beta KL(p2 || pi_ref)]

R[x, i, j] is the payoff to player 1, R = -R^T. For the log-odds payoff log P(i > j) - log P(j > i) of a Bradley-Terry
preference, R is a difference of rewards and the Nash policy is the reward's Gibbs policy. Best responses are
Gibbs policies, so that the duality gap of any pair of policies is exact.

Sources: C. Ye et al., arXiv 2402.07314; R. Munos et al., arXiv 2312.00886 (payoff P). Newton's method with its
argument, the duality of the version space and that both its players are one policy are additions.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog
from scipy.special import log_softmax, logit, logsumexp

from rsail import checks
from rsail.exact import gibbs, newton
from rsail.exact.arguments import policies, preference_table, prompt_weights


def log_odds_payoff(preferences) -> np.ndarray:
    """R* = log P(i > j) - log P(j > i), (X, Y, Y), of preferences strictly between 0 and 1."""
    table = _preferences(preferences)
    checks.require(
        bool(np.all((table > 0) & (table < 1))), "preferences", [table.min(), table.max()], "in (0, 1)"
    )
    return logit(table)


def win_rate_payoff(preferences) -> np.ndarray:
    """P(i > j) - 1/2, (X, Y, Y)."""
    return _preferences(preferences) - 0.5


def game_value(log_probs_1, log_probs_2, payoff, ref_log_probs, *, beta: float, prompt_probs=None) -> float:
    """J(p1, p2); policies (X, Y), payoff (X, Y, Y), which need not be antisymmetric."""
    first, ref, payoff, mu = _game(log_probs_1, ref_log_probs, payoff, prompt_probs)
    second, _ = policies(log_probs_2, ref)
    won = float(np.einsum("x,xi,xij,xj->", mu, np.exp(first), payoff, np.exp(second)))
    cost = gibbs.kl(first, ref, mu) - gibbs.kl(second, ref, mu)
    return won - checks.positive("beta", beta) * cost


def best_response(log_probs, payoff, ref_log_probs, *, beta: float, player: int) -> np.ndarray:
    """The Gibbs policy (X, Y) with which `player` 1 or 2 answers the other's `log_probs`."""
    checks.one_of("player", player, (1, 2))
    other, ref, payoff, _ = _game(log_probs, ref_log_probs, payoff, None)
    if player == 1:
        return gibbs.gibbs_policy(np.einsum("xij,xj->xi", payoff, np.exp(other)), ref, beta=beta)
    return gibbs.gibbs_policy(-np.einsum("xi,xij->xj", np.exp(other), payoff), ref, beta=beta)


def guaranteed_value(log_probs, payoff, ref_log_probs, *, beta: float, prompt_probs=None) -> float:
    """J(p1, dagger) = min over p2 of J(p1, p2): at most 0 for an antisymmetric payoff, and 0 only for Nash."""
    reply = best_response(log_probs, payoff, ref_log_probs, beta=beta, player=2)
    return game_value(log_probs, reply, payoff, ref_log_probs, beta=beta, prompt_probs=prompt_probs)


def duality_gap(log_probs_1, log_probs_2, payoff, ref_log_probs, *, beta: float, prompt_probs=None) -> float:
    """max_p J(p, p2) - min_p J(p1, p) >= 0, and 0 only at the equilibrium.

    As in `gibbs.regret`, each best response r enters through J(r, p2) - J(p1, p2) = beta KL(p1 || r): no digits
    are lost.
    """
    arguments = {"payoff": payoff, "ref_log_probs": ref_log_probs, "beta": beta}
    gain_1 = gibbs.kl(log_probs_1, best_response(log_probs_2, player=1, **arguments), prompt_probs)
    gain_2 = gibbs.kl(log_probs_2, best_response(log_probs_1, player=2, **arguments), prompt_probs)
    return float(checks.positive("beta", beta) * (gain_1 + gain_2))


def equilibrium(payoff, ref_log_probs, *, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """The one equilibrium (p1, p2), two arrays (X, Y), of a regularized game with any payoff (X, Y, Y)."""
    _, ref, payoff, _ = _game(ref_log_probs, ref_log_probs, payoff, None)
    first = best_against_mixture(payoff[None], [1.0], ref, beta=beta)
    return first, best_response(first, payoff, ref, beta=beta, player=2)


def nash_policy(payoff, ref_log_probs, *, beta: float) -> np.ndarray:
    """The Nash policy (X, Y) of an antisymmetric payoff: the equilibrium is unique, hence symmetric."""
    payoff = checks.finite("payoff", payoff)
    skew = float(np.abs(payoff + np.swapaxes(payoff, -1, -2)).max(initial=0.0))
    checks.require(skew <= 1e-9, "payoff", skew, "antisymmetric (this is the largest entry of R + R^T)")
    return equilibrium(payoff, ref_log_probs, beta=beta)[0]


def best_against_mixture(payoffs, weights, ref_log_probs, *, beta: float) -> np.ndarray:
    """argmax over p of sum_k weights_k min_q J_k(p, q), (X, Y), for payoffs (M, X, Y, Y) and weights (M,).

    Its logits z solve z = log pi_ref + sum_k w_k R_k q_k / beta, q_k being the reply to softmax(z). With
    D = diag p - p p^T and Q_k alike the Jacobian is 1 + sum_k w_k R_k Q_k R_k^T D / beta^2, whose eigenvalues
    are at least 1 (a product of two positive semidefinite matrices), so that damped Newton cannot stop before
    the solution.
    """
    ref = policies(ref_log_probs, ref_log_probs)[1]
    payoffs, weights = checks.finite("payoffs", payoffs), checks.finite("weights", weights)
    beta = checks.positive("beta", beta)
    eye = np.eye(ref.shape[1])
    result = np.empty_like(ref)
    for x, base in enumerate(ref):
        largest = np.abs(payoffs[:, x]).max()
        # With a large payoff the softmax saturates: come from a temperature at which it does not.
        steps = max(0, int(np.ceil(np.log2(max(largest, beta) / beta))))
        logits = base
        for temperature in beta * 2.0 ** np.arange(steps, -1, -1):

            def fixed_point(logits, base=base, tables=payoffs[:, x] / temperature):
                probs = np.exp(log_softmax(logits))
                replies = np.exp(log_softmax(base - np.einsum("i,kij->kj", probs, tables), axis=-1))
                spread = np.diag(probs) - np.outer(probs, probs)
                reply_spread = (
                    np.einsum("kj,jl->kjl", replies, eye) - replies[:, :, None] * replies[:, None, :]
                )
                curvature = np.einsum("k,kij,kjl,kml->im", weights, tables, reply_spread, tables)
                pull = np.einsum("k,kij,kj->i", weights, tables, replies)
                return logits - base - pull, eye + curvature @ spread

            logits = newton.solve(fixed_point, logits, tolerance=1e-10 * (1.0 + largest / temperature))
        result[x] = log_softmax(logits)
    return result


def zero_sum_nash(payoff) -> np.ndarray:
    """A maximin law (Y,) of an antisymmetric payoff (Y, Y) without regularization, by linear programming."""
    payoff = checks.finite("payoff", payoff)
    size = len(payoff)
    checks.require(payoff.shape == (size, size), "payoff.shape", payoff.shape, "(Y, Y)")
    result = linprog(  # variables: the law, then the value that every reply leaves at least
        np.append(np.zeros(size), -1.0),
        A_ub=np.column_stack([-payoff.T, np.ones(size)]),
        b_ub=np.zeros(size),
        A_eq=np.append(np.ones(size), 0.0)[None],
        b_eq=np.ones(1),
        bounds=[(0, None)] * size + [(None, None)],
        method="highs",
    )
    if not result.success:
        raise RuntimeError(f"HiGHS found no maximin law: {result.message}")
    return result.x[:-1]


def mixture_value(log_probs, payoffs, ref_log_probs, *, beta: float, prompt_probs=None) -> np.ndarray:
    """min over q of J_k(p, q) for each payoff of a class (M, X, Y, Y): array (M,)."""
    log_probs, ref = policies(log_probs, ref_log_probs)
    payoffs, mu = checks.finite("payoffs", payoffs), prompt_weights(prompt_probs, len(ref))
    pull = np.einsum("xi,kxij->kxj", np.exp(log_probs), payoffs)
    kept = -beta * logsumexp(ref - pull / beta, axis=-1)
    return kept @ mu - beta * gibbs.kl(log_probs, ref, mu)


def _preferences(preferences) -> np.ndarray:
    preferences = checks.finite("preferences", preferences)
    checks.require(preferences.ndim == 3, "preferences.shape", preferences.shape, "(X, Y, Y)")
    return preference_table(preferences, preferences.shape[:2])


def _game(log_probs, ref_log_probs, payoff, prompt_probs):
    log_probs, ref = policies(log_probs, ref_log_probs)
    payoff = checks.finite("payoff", payoff)
    expected = (*ref.shape, ref.shape[1])
    checks.require(payoff.shape == expected, "payoff.shape", payoff.shape, f"(X, Y, Y) = {expected}")
    return log_probs, ref, payoff, prompt_weights(prompt_probs, len(ref))
