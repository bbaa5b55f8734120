"""Settings that mean nothing together are refused by name, before any work; neutral ones change nothing."""

import pytest
import torch

from rsail import objectives
from rsail.lm import encode_prompts, frozen_copy, load_model, response_log_probs, sample
from rsail.objectives import BASELINES, baseline, robust_sail_loss, score_surrogate
from rsail.oracles import ask
from rsail.tasks import load_task
from rsail.training import METHODS, OnlineConfig, load_config, method_config, options, train
from rsail.training.checkpoint import make_generators, read_log
from rsail.training.config import build
from rsail.training.measures import judge

OFFLINE = ["score_weight=0", "collection.scheme=offline"]
ONLINE = ["score_weight=0"]
OWN = ["loss=dpo", "labels=policy", "addition.preference_weight=1"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["collection.scheme=bandit"], "collection.scheme: Input should be 'on_policy', 'best_worst', 'hybrid'"),
        (["collection.candidates=4"], "collection.candidates must be 0 with collection.scheme 'on_policy', got 4"),
        (
            [*ONLINE, "collection.scheme=best_worst", "collection.candidates=1"],
            "collection.candidates must be at least 2 with collection.scheme 'best_worst', got 1",
        ),
        (
            [*ONLINE, "collection.scheme=rejection", "collection.candidates=3", "responses_per_prompt=4"],
            "collection.candidates must be at least 4 with collection.scheme 'rejection', got 3",
        ),
        ([*ONLINE, "collection.scheme=enhancer"], "collection.candidates must be at least 1"),
        (
            [*ONLINE, "collection.scheme=hybrid", "responses_per_prompt=3"],
            "responses_per_prompt must be 2 with collection.scheme 'hybrid', got 3",
        ),
        (
            [*OFFLINE, "oracle.kind=worst_case", "oracle.strength=0.1"],
            "oracle.kind must be another one where the oracle chooses responses or its labels are stored: it needs the",
        ),
        (
            ["collection.offline_share=0.5", "oracle.kind=worst_case", "oracle.strength=0.1"],
            "oracle.kind must be another one",
        ),
        ([*OFFLINE, "collection.offline_share=0.5"], "collection.offline_share must be 0 with collection.scheme"),
        (["collection.offline_share=0.001"], "of 32 prompts_per_step some are offline and some are not, got 0.001"),
        (["collection.offline_share=1"], "collection.offline_share: Input should be less than 1"),
        (
            [*OFFLINE, "collection.collected=round", "collection.steps_per_round=5"],
            "collection.collected must be 'step' with collection.scheme 'offline', got 'round'",
        ),
        (
            [*ONLINE, "labels=policy", "collection.collected=round", "collection.steps_per_round=5"],
            "collection.collected must be 'step' with labels 'policy', got 'round'",
        ),
        ([*ONLINE, "collection.reference=round"], "collection.steps_per_round must be at least 1"),
        (["collection.steps_per_round=5"], "collection.steps_per_round must be 0 where neither reference nor"),
        (["loss=rebel", "labels=drawn"], "labels must be 'probability' with loss 'rebel', got 'drawn'"),
        (["loss=plackett_luce"], "labels must be 'hard' or 'drawn' with loss 'plackett_luce'"),
        (["loss=plackett_luce", "rho=1.5", "labels=hard"], "rho must be in [0, 1], got 1.5"),
        (["loss=chi_po", "loss_options.radius=1"], "loss_options must be values for exactly ['reward_bound']"),
        (["loss=chi_po", "loss_options.reward_bound=0"], "reward_bound must be a finite number > 0"),
        (["loss=ropo"], "loss_options must be values for exactly ['alpha'], the options of 'ropo', got {}"),
        (["addition.preference_weight=1"], "addition.preference_weight must be 0 with labels 'probability', got 1"),
        (
            ["addition.preference_weight=1", "labels=policy"],
            "addition.preference_weight must be 0 with loss 'robust_sail', got 1",
        ),
        (
            [
                *ONLINE, "addition.preference_weight=1", "labels=policy", "loss=dpo",
                "addition.reweighting=dr_dpo", "addition.reweighting_strength=1",
            ],
            "addition.preference_weight must be 0 with addition.reweighting 'dr_dpo', got 1",
        ),
        (["addition.reweighting=chi"], "addition.reweighting: Input should be 'mean', 'dr_dpo'"),
        (["addition.reweighting_strength=1"], "addition.reweighting_strength must be 0 with"),
        ([*ONLINE, "addition.reweighting=dr_dpo"], "addition.reweighting_strength must be > 0 with"),
        (
            [*ONLINE, "addition.reweighting=tv_ball", "addition.reweighting_strength=2"],
            "addition.reweighting_strength must be at most 1 with addition.reweighting 'tv_ball', got 2",
        ),
        (
            ["addition.reweighting=dr_dpo", "addition.reweighting_strength=1"],
            "score_weight must be 0 with addition.reweighting 'dr_dpo', got 1",
        ),
        (["addition.wasserstein=0.1"], "score_weight must be 0 with addition.wasserstein > 0, got 1"),
        (["addition.wasserstein_form=squared"], "addition.wasserstein_form must be 'norm' where"),
        (
            [*ONLINE, "addition.wasserstein=0.1", "responses_per_prompt=3"],
            "addition.wasserstein must be 0 with responses_per_prompt other than 2, got 0.1",
        ),
        (
            [*ONLINE, "addition.wasserstein=1", "addition.term=hypo", "addition.term_weight=1"],
            "addition.wasserstein must be 0 with addition.term 'hypo', got 1",
        ),
        (
            [
                *ONLINE, "addition.wasserstein=1", "addition.reweighting=kl_ball", "addition.reweighting_strength=1"
            ],
            "addition.wasserstein must be 0 with addition.reweighting 'kl_ball', got 1",
        ),
        (
            [*ONLINE, "addition.wasserstein=1", "loss=plackett_luce", "labels=hard"],
            "addition.wasserstein must be 0 with loss 'plackett_luce', got 1",
        ),
        (["addition.term=spac_unanchored"], "addition.term: Input should be 'none', 'xpo'"),
        (["addition.term_weight=1"], "addition.term_weight must be 0 with addition.term 'none', got 1"),
        (["addition.term=hypo"], "addition.term_weight must be > 0 with addition.term 'hypo', got 0"),
        (["addition.term_samples=2"], "addition.term_samples must be 1 with addition.term 'none'"),
        (
            ["addition.term=xpo", "addition.term_weight=1"],
            "addition.term must be another one with collection.scheme 'on_policy': it needs 'hybrid', got 'xpo'",
        ),
        (
            ["addition.term=pessimism", "addition.term_weight=1"],
            "addition.term must be another one with collection.scheme 'on_policy': it needs 'offline', got",
        ),
        (
            [*OFFLINE, "loss=rebel", "addition.term=pessimism", "addition.term_weight=1"],
            "addition.term must be another one with loss 'rebel': it needs one of pair scores, got 'pessimism'",
        ),
        (
            [*OFFLINE, "loss=chi_po", "addition.term=spac_anchored", "addition.term_weight=1"],
            "addition.term must be another one with loss 'chi_po': it needs one of pair scores, got 'spac_anchored'",
        ),
        (["collection.scheme=offline"], "score_weight must be 0 unless the pairs of every step are drawn from"),
        (
            ["collection.collected=round", "collection.steps_per_round=5"],
            "score_weight must be 0 unless the pairs of every step are drawn from",
        ),
        (["collection.scheme=best_worst", "collection.candidates=4"], "score_weight must be 0 unless"),
        (["prompts_per_step=1"], "prompts_per_step must be at least 2 for baseline 'other_prompts', got 1"),
        (
            ["prompts_per_step=4", "collection.offline_share=0.75"],
            "collection.offline_share must be such that at least 2 of 4 prompts_per_step are not offline, "
            "for baseline 'other_prompts', got 0.75",
        ),
        (
            ["loss=plackett_luce", "labels=hard", "responses_per_prompt=4", "baseline=disjoint"],
            "baseline with loss 'plackett_luce' must be one of log2, other_prompts, got 'disjoint'",
        ),
        (["method=sarsa"], "method must be one of cdpo, chi2_rebel"),
        (["method=null"], "method must be one of cdpo, chi2_rebel"),
        (["method=[xpo]"], "method must be one of cdpo, chi2_rebel"),
        (["baseline=mean", *ONLINE], "baseline must be one of disjoint, "),
        (
            ["loss=dpo_pro", "loss_options.radius=0.1", "labels=drawn"],
            "labels must be 'probability' with loss 'dpo_pro', which does not doubt a label, got 'drawn'",
        ),
        (
            [*OFFLINE, *OWN, "addition.term=pessimism", "addition.term_weight=1"],
            "addition.preference_weight must be 0 with addition.term 'pessimism', got 1",
        ),
        (
            [*ONLINE, *OWN, "addition.term=spac_anchored", "addition.term_weight=1"],
            "addition.preference_weight must be 0 with addition.term 'spac_anchored', got 1",
        ),
        (
            [*ONLINE, *OWN, "addition.wasserstein=0.1"],
            "addition.preference_weight must be 0 with addition.wasserstein > 0, got 1",
        ),
        (
            ["addition.term=spac_smoothed", "addition.term_weight=1"],
            "score_weight must be 0 with addition.term 'spac_smoothed', got 1",
        ),
        (
            ["addition.term=spac_anchored", "addition.term_weight=1"],
            "score_weight must be 0 with addition.term 'spac_anchored', got 1",
        ),
        (["loss=rloo", "labels=drawn"], "labels must be 'probability' with loss 'rloo', got 'drawn'"),
        (["loss=grpo", "labels=policy"], "labels must be 'probability' with loss 'grpo', got 'policy'"),
        (["method=rloo", "rho=0.1"], "rho must be 0 with loss 'rloo', got 0.1"),
        (["method=grpo", "score_weight=0"], "score_weight must be 1 with loss 'grpo', which is the gradient of"),
        (
            ["method=rloo", "baseline=log2"],
            "baseline must be 'other_prompts', the default, with loss 'rloo', which has its own, got 'log2'",
        ),
        (
            ["loss=rloo", "collection.scheme=offline"],
            "collection.scheme must be 'on_policy' with loss 'rloo', which needs new responses of the policy in every",
        ),
        (
            ["method=grpo", "collection.collected=round", "collection.steps_per_round=4"],
            "collection.collected must be 'step' with loss 'grpo', which needs new responses",
        ),
        (["method=grpo", "collection.offline_share=0.5"], "collection.offline_share must be 0 with loss 'grpo'"),
        (
            ["method=rloo", "addition.reweighting=dr_dpo", "addition.reweighting_strength=1"],
            "addition.reweighting must be 'mean' with loss 'rloo', got 'dr_dpo'",
        ),
        (["method=rloo", "addition.wasserstein=0.1"], "addition.wasserstein must be 0 with loss 'rloo', got 0.1"),
        (
            ["method=grpo", "addition.term=spac_anchored", "addition.term_weight=1"],
            "addition.term must be another one with loss 'grpo': it needs one of pair scores, got 'spac_anchored'",
        ),
        (["loss=grpo", "loss_options.clip=0.2"], "loss_options must be values for exactly [], the options of 'grpo'"),
        (["output_dir="], "output_dir"),
        (["model=''"], "model: String should have at least 1 character, got ''"),
        (["addition={term: none, term: hypo}"], "override must have a YAML value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_settings_that_do_not_go_together_are_named(overrides, message):
    with pytest.raises(ValueError) as caught:
        load_config(None, ["output_dir=x", *overrides])
    assert message in str(caught.value)


def test_names_of_the_settings_are_those_of_the_objectives():
    assert set(options.REWEIGHTINGS) == {*objectives.REWEIGHTINGS, "group_robust"}
    assert "other_prompts" in BASELINES
    ours = {name.replace("vpo_online", "vpo").replace("vpo_offline", "vpo") for name in options.TERMS}
    left_out = {"spac_unanchored", "aihf"}  # unbounded; without demonstrations
    assert ours - {"none", "pessimism"} == set(objectives.TERMS) - left_out


def test_every_loss_is_that_of_a_method_or_the_default():
    groups = (
        "LOSSES",
        "RATIO_LOSSES",
        "REWARD_LOSSES",
        "LIST_LOSSES",
        "SEQUENCE_LOSSES",
        "TOKEN_LOSSES",
    )
    known = {name for group in groups for name in getattr(objectives, group)}
    # Its two-response case is Plackett-Luce's.
    assert {method_config(name).loss for name in METHODS} == known - {"tv_robust"}


def test_a_method_lies_below_what_is_given(tmp_path):
    config = load_config(None, ["output_dir=x", "method=iterative_dpo", "collection.candidates=4"])
    assert (config.collection.candidates, config.collection.steps_per_round) == (4, 100)
    assert config == method_config("iterative_dpo", output_dir="x", collection={"candidates": 4})
    (tmp_path / "run.yaml").write_text("output_dir: x\nmethod: xpo\naddition:\n  term_weight: 0.5\n")
    config = load_config(tmp_path / "run.yaml", ["beta=0.3"])
    assert (config.addition.term, config.addition.term_weight, config.beta) == ("xpo", 0.5, 0.3)
    assert METHODS["xpo"]["addition"]["term_weight"] == 1e-5
    assert build(OnlineConfig, config.to_dict()) == config


def test_another_loss_takes_none_of_the_options_of_the_method():
    assert method_config("cdpo", loss="dpo").loss_options == {}
    assert method_config("cdpo", loss="rdpo", loss_options={"flip_rate": 0.2}).loss_options == {
        "flip_rate": 0.2
    }
    assert method_config("cdpo", loss_options={"smoothing": 0.2}).loss_options == {"smoothing": 0.2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beta: 0.1\nbeta: 0.2\n", "beta stands there twice"),
        ('{"oracle": {"kind": "flip", "kind": "bias"}}', "kind stands there twice"),
        ("1: 2\nfoo: 3\n", "1 is not a setting, got 2"),
    ],
)
def test_a_file_with_a_key_twice_or_one_that_is_no_text_is_refused(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:
        load_config(tmp_path / "run.yaml")
    assert message in str(caught.value)


def test_methods_with_a_score_term_draw_their_pairs_from_the_policy():
    scored = {name for name in METHODS if method_config(name).score_weight > 0}
    assert scored == {
        "sail", "robust_sail", "sail_dpp", "sail_dpr", "sail_revkl", "listwise_pl", "rloo", "grpo"
    }  # fmt: skip
    assert all(method_config(name).collection.scheme == "on_policy" for name in scored)


def test_the_default_step_is_still_algorithm_1(settings):
    """Losses and gradient norms of a run against lines 3 to 6 written out with the parts alone, to the last bit."""
    config = build(OnlineConfig, settings(steps=4, labels="probability"))
    rows = read_log(train(config, progress=False) / "metrics.jsonl")
    policy, tokenizer = load_model(config.model)
    reference, generators = frozen_copy(policy), make_generators(config.seed)
    task = load_task(config.task, eval_prompts=config.evaluation_prompts)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=config.learning_rate, weight_decay=0.0)
    for row in rows:
        prompts = [task.train_prompts[k] for k in generators["prompts"].choice(16, 4, replace=False)]
        samples = sample(
            policy, *encode_prompts(tokenizer, prompts), responses_per_prompt=2, max_new_tokens=12,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            generator=generators["sampling"],
        )  # fmt: skip
        log_probs = response_log_probs(policy, *samples).sum(-1).view(-1, 2)
        with torch.no_grad():
            ref_log_probs = response_log_probs(reference, *samples).sum(-1).view(-1, 2)
        ratio = log_probs - ref_log_probs
        rewards, attributes = judge(task, tokenizer, prompts, samples, 2)
        answer = ask(config.oracle, rewards, attributes=attributes).preferences
        target = torch.as_tensor(answer[:, :1, 1], dtype=torch.float32)
        losses = robust_sail_loss(ratio[:, :1] - ratio[:, 1:], target, beta=0.1, rho=0.15, drawn=False)
        loss = score_surrogate(
            losses, log_probs[:, :1], log_probs[:, 1:], baseline=baseline(losses, "other_prompts", 2)
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_grad_norm)
        optimizer.step()
        assert (loss.item(), norm.item()) == (row["loss"], row["grad_norm"])
