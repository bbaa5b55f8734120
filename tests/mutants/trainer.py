"""Wrong changes in the trainer: schemes of collection, objectives of a batch, rounds, refusals."""

from __future__ import annotations

from .mutant import Mutant

OBJECTIVES = ("tests/training/test_method_gradients.py",)
SCHEMES = ("tests/training/test_collection.py",)
SAMPLED = ("tests/training/test_sampled_gradient.py",)
STEP = ("tests/training/test_online_step.py",)
ROUNDS = ("tests/training/test_rounds.py",)
COMBINATIONS = ("tests/training/test_combinations.py",)

TRAINER = [
    Mutant(
        "trainer: what was compared counts double",
        "rsail/training/state.py",
        'observe(state.memory["moments"], gaps, 0.5)',
        'observe(state.memory["moments"], gaps, 1.0)',
        SCHEMES,
    ),
    Mutant(
        "trainer: the bonus counts the visit it is for",
        "rsail/training/context.py",
        """        bonus = COUNT_SCALE * uncertainty(state.memory["moments"], features)
        state.memory["moments"] = observe(state.memory["moments"], features, 1 / len(features))
""",
        """        state.memory["moments"] = observe(state.memory["moments"], features, 1 / len(features))
        bonus = COUNT_SCALE * uncertainty(state.memory["moments"], features)
""",
        SCHEMES,
    ),
    Mutant(
        "trainer: best of n against second best",
        "rsail/training/collection.py",
        "[:, [0, -1]]",
        "[:, [0, 1]]",
        SCHEMES,
    ),
    Mutant(
        "trainer: the second arm of hybrid is the policy's",
        "rsail/training/collection.py",
        "for model in (state.sampler, state.initial))",
        "for model in (state.sampler, state.sampler))",
        SCHEMES,
    ),
    Mutant(
        "trainer: rejection at twice the temperature",
        "rsail/training/collection.py",
        "scores[left].max()) / beta)",
        "scores[left].max()) / (2 * beta))",
        SCHEMES,
    ),
    Mutant(
        "trainer: rejection keeps the last that were accepted",
        "rsail/training/collection.py",
        "np.array(accepted[:count])",
        "np.array(accepted[-count:])",
        SCHEMES,
    ),
    Mutant(
        "trainer: the enhancer forgets",
        "rsail/training/collection.py",
        'state.memory["moments"] = observe(moments, seen',
        'state.memory["forgotten"] = observe(moments, seen',
        SCHEMES,
    ),
    Mutant(
        "trainer: stored labels where the policy's are asked for",
        "rsail/training/collection.py",
        "            take(state.offline, fresh, labelled=False)",
        "            take(state.offline, fresh, labelled=True)",
        SCHEMES,
    ),
    Mutant(
        "trainer: labels of the policy at the wrong temperature",
        "rsail/training/collection.py",
        "np.tanh(config.beta * pair_scores / 2)",
        "np.tanh(pair_scores / 2)",
        SCHEMES,
    ),
    Mutant(
        "trainer: score term on stored pairs, too",
        "rsail/training/objective.py",
        "    own = slice(fresh)",
        "    own, fresh = slice(None), None",
        OBJECTIVES,
    ),
    Mutant(
        "trainer: no gradient of the label's law",
        "rsail/training/objective.py",
        "if (weight := config.addition.preference_weight) > 0:",
        "if (weight := 0 * config.addition.preference_weight) > 0:",
        OBJECTIVES,
    ),
    Mutant(
        "trainer: VPO's sign",
        "rsail/training/objective.py",
        'sign = 1 if name == "vpo_online" else -1',
        'sign = -1 if name == "vpo_online" else 1',
        OBJECTIVES,
    ),
    Mutant(
        "trainer: XPO's term on the policy's own response",
        "rsail/training/objective.py",
        'TERMS["xpo"](log_probs[:, 1]',
        'TERMS["xpo"](log_probs[:, 0]',
        OBJECTIVES,
    ),
    Mutant(
        "trainer: pessimism about the loser",
        "rsail/training/objective.py",
        "(context.uncertainty[:, first] - context.uncertainty[:, second])",
        "(context.uncertainty[:, second] - context.uncertainty[:, first])",
        OBJECTIVES,
    ),
    Mutant(
        "trainer: SPAC anchored on the rejected response",
        "rsail/training/objective.py",
        "label * one + (1 - label) * other",
        "label * other + (1 - label) * one",
        OBJECTIVES,
    ),
    Mutant(
        "trainer: the other form of the Wasserstein penalty",
        "rsail/training/objective.py",
        'squared=addition.wasserstein_form == "squared"',
        'squared=addition.wasserstein_form == "norm"',
        OBJECTIVES,
    ),
    Mutant(
        "trainer: group weights stay as they are",
        "rsail/training/objective.py",
        "group_weights(old, means, strength)",
        "group_weights(old, means, 0.0)",
        OBJECTIVES,
    ),
    Mutant(
        "trainer: the reference stays in later rounds",
        "rsail/training/state.py",
        'if config.collection.reference == "round":',
        'if config.collection.reference == "rounds":',
        ROUNDS,
    ),
    Mutant(
        "trainer: a resumed run has another reference",
        "rsail/training/state.py",
        'if "reference" in parts:',
        'if "references" in parts:',
        ROUNDS,
    ),
    Mutant(
        "trainer: a resumed run forgets what was compared",
        "rsail/training/state.py",
        'for name, value in parts["memory"].items()',
        "for name, value in state.memory.items()",
        ROUNDS,
    ),
    Mutant(
        "trainer: evaluations against the moving reference",
        "rsail/training/loop.py",
        "evaluate_policy(config, state.sampler, initial, tokenizer, task, processes)",
        "evaluate_policy(config, state.sampler, reference, tokenizer, task, processes)",
        ROUNDS,
    ),
    Mutant(
        "trainer: score term of pairs that are data",
        "rsail/training/combinations.py",
        'fresh = collection.scheme == "on_policy" and',
        "fresh = True or",
        COMBINATIONS,
    ),
    Mutant(
        "trainer: three times the term where it is sampled",
        "rsail/training/objective.py",
        "            term = term.mean()\n",
        "            term = 3 * term.mean()\n",
        SAMPLED,
    ),
    Mutant(
        "trainer: the reference's KL on samples of the policy",
        "rsail/training/options.py",
        '"reference_kl": "reference"',
        '"reference_kl": "policy"',
        SCHEMES,
    ),
    Mutant(
        "trainer: SPAC on samples of the policy",
        "rsail/training/options.py",
        '"spac_smoothed": "reference"',
        '"spac_smoothed": "policy"',
        SCHEMES,
    ),
    Mutant(
        "trainer: the enhancer adds up what it should average",
        "rsail/training/collection.py",
        "observe(moments, seen, 1 / len(seen))",
        "observe(moments, seen, 1.0)",
        SCHEMES,
    ),
    Mutant(
        "trainer: the enhancer has features of the moving policy",
        "rsail/training/collection.py",
        "features = response_features(state.initial, samples)",
        "features = response_features(state.sampler, samples)",
        SCHEMES,
    ),
    Mutant(
        "trainer: candidates are chosen by the truth",
        "rsail/training/collection.py",
        "return oracle_scores(ask(config.oracle, rewards,",
        "return oracle_scores(ask(type(config.oracle)(), rewards,",
        SCHEMES,
    ),
    Mutant(
        "trainer: groups of pairs in the order of another table",
        "rsail/training/objective.py",
        "context.groups.repeat_interleave(losses.shape[1])",
        "context.groups.repeat(losses.shape[1])",
        STEP,
    ),
    Mutant(
        "trainer: hard labels and the policy's are clipped against",
        "rsail/training/config.py",
        '{"drawn": self.labels != "probability"}',
        '{"drawn": self.labels == "drawn"}',
        SAMPLED,
    ),
    Mutant(
        "trainer: a round's pairs are collected before its reference moves",
        "rsail/training/state.py",
        """    if config.collection.reference == "round":
        state.reference.load_state_dict(state.sampler.state_dict())
    if config.collection.collected == "round":
        state.pool = collect_set(config, state, offline=False)
""",
        """    if config.collection.collected == "round":
        state.pool = collect_set(config, state, offline=False)
    if config.collection.reference == "round":
        state.reference.load_state_dict(state.sampler.state_dict())
""",
        STEP,
    ),
    Mutant(
        "trainer: a term's log-ratio against the mean reference",
        "rsail/training/context.py",
        "own = Further(further, further - ref_further, bonus)",
        "own = Further(further, further - ref_further.mean(), bonus)",
        SAMPLED,
    ),
    Mutant(
        "trainer: h with the other sign",
        "rsail/training/loop.py",
        "pair_scores = scores[:, :, None] - scores[:, None, :]",
        "pair_scores = scores[:, None, :] - scores[:, :, None]",
        STEP,
    ),
    Mutant(
        "trainer: the bonus without COPO's factor",
        "rsail/training/context.py",
        "bonus = COUNT_SCALE * uncertainty(",
        "bonus = uncertainty(",
        SAMPLED,
    ),
]
