"""The loop: reproducible, interruptible, and each setting does what it says."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch

from rsail.lm import load_model, save_model
from rsail.tasks import load_task
from rsail.training import OnlineConfig, collection, evaluation, loop, objective, train
from rsail.training.checkpoint import checkpoints, read_log
from rsail.training.config import build


@pytest.fixture
def run(settings):
    """Trains with the settings of a small run and some changes; returns the folder."""

    def start(name: str = "run", *, resume: bool = False, **changes):
        return train(build(OnlineConfig, settings(name, **changes)), resume=resume, progress=False)

    return start


def metrics(folder) -> list[dict]:
    return read_log(folder / "metrics.jsonl")


def weights(folder) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in load_model(folder)[0].parameters()])


def test_same_seed_same_bytes_other_seed_other_numbers(run):
    first, again, other = run("first"), run("again"), run("other", seed=1)
    for name in ("metrics.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        assert (first / name).read_bytes() == (again / name).read_bytes()
        assert (first / name).read_bytes() != (other / name).read_bytes()


def test_global_random_state_plays_no_part(run):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is the point
    first = run("first", steps=2)
    torch.manual_seed(2)
    assert (run("again", steps=2) / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()


def test_a_run_writes_what_it_promises(run, reference_folder):
    folder = run(steps=5, evaluate_every=2, checkpoint_every=3)
    assert [row["step"] for row in metrics(folder)] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in read_log(folder / "evaluations.jsonl")] == [0, 2, 4, 5]
    assert [row["step"] for row in read_log(folder / "timings.jsonl")] == [1, 2, 3, 4, 5]
    assert [p.name for p in checkpoints(folder)] == ["checkpoint-000003", "checkpoint-000005"]
    assert json.loads((folder / "run.json").read_text())["config"]["rho"] == 0.15
    assert (weights(folder / "model") - weights(reference_folder)).abs().max() > 1e-3
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_without_evaluations_on_the_way_the_ends_are_evaluated(run):
    folder = run(steps=3, evaluate_every=0)
    assert [row["step"] for row in read_log(folder / "evaluations.jsonl")] == [0, 3]


def test_metrics_are_kept_in_full_precision(run):
    row = metrics(run(steps=2))[-1]
    assert any(len(str(value)) > 12 for value in row.values())
    assert row["loss"] == pytest.approx(row["robust/loss"], abs=1e-6)


def test_at_the_reference_the_margin_is_exactly_zero(run):
    row = metrics(run(steps=1))[0]
    for name in ("rewards/margins", "robust/penalty", "objective/kl", "objective/kl_k3"):
        assert row[name] == 0.0
    assert row["robust/sail_loss"] == pytest.approx(np.log(2), abs=1e-12)


# Resuming after an interruption at each kind of moment. Real kills are in test_resume.py.


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


def interrupt(monkeypatch, name: str, call: int):
    """Let the `call`-th call of rsail.training.loop.<name> end the program before it does anything."""
    function, count = getattr(loop, name), iter(range(1, 1000))

    def stop(*arguments, **options):
        if next(count) == call:
            raise Killed
        return function(*arguments, **options)

    monkeypatch.setattr(loop, name, stop)


MOMENTS = {
    "before the first evaluation": ("evaluate_policy", 1),
    "before the first step": ("online_step", 1),
    "before the first checkpoint": ("save_checkpoint", 1),
    "in a step after a checkpoint": ("online_step", 4),
    "in an evaluation": ("evaluate_policy", 2),
    "before the last checkpoint": ("save_checkpoint", 3),
    "before the final model": ("save_model", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_resumed_run_equals_an_uninterrupted_one(run, monkeypatch, moment):
    changes = {"labels": "drawn"}  # so that every generator is used
    whole = run("whole", **changes)
    with monkeypatch.context() as patch:
        interrupt(patch, *MOMENTS[moment])
        with pytest.raises(Killed):
            run("parts", **changes)
    parts = run("parts", resume=True, **changes)
    for name in ("metrics.jsonl", "evaluations.jsonl", "model/model.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_a_kill_while_the_final_model_is_written_leaves_no_half_model(run, monkeypatch):
    with monkeypatch.context() as patch:

        def stop(model, folder):
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            raise Killed

        patch.setattr("rsail.lm.model.save_weights", stop)
        with pytest.raises(Killed):
            run()
    folder = run(resume=True)
    load_model(folder / "model")


def test_a_finished_run_is_left_as_it_is_even_without_its_checkpoints(run):
    folder = run()
    for path in checkpoints(folder):
        shutil.rmtree(path)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    run(resume=True)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def interrupted(run, monkeypatch, **changes):
    with monkeypatch.context() as patch:
        interrupt(patch, "online_step", 6)
        with pytest.raises(Killed):
            run(**changes)


def test_a_run_is_not_continued_unless_asked(run, monkeypatch):
    interrupted(run, monkeypatch)
    with pytest.raises(ValueError, match="--resume"):
        run()


def test_another_configuration_is_refused_naming_the_field(run, monkeypatch):
    interrupted(run, monkeypatch)
    for changes, message in (
        ({"rho": 0.2}, "config.rho (0.15 there, 0.2 asked for)"),
        ({"seed": 1}, "config.seed (0 there, 1 asked for)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            run(resume=True, **changes)


def test_other_prompts_under_the_same_configuration_are_refused(run, monkeypatch):
    interrupted(run, monkeypatch)
    prompts = load_task(OnlineConfig().task, eval_prompts=8).train_prompts
    with_task(monkeypatch, train_prompts=[*prompts[:-1], prompts[0]])
    with pytest.raises(ValueError, match="different there: prompts"):
        run(resume=True)


@pytest.mark.parametrize("name", ["metrics", "evaluations", "rounds"])
def test_a_log_with_one_other_digit_is_named(run, monkeypatch, tmp_path, name):
    interrupted(run, monkeypatch)
    path = tmp_path / "run" / f"{name}.jsonl"
    row, *rest = path.read_text().splitlines(keepends=True)
    digit = re.search(r"(?<=\.)[0-8]|(?<=[a-f])[0-8]", row).start()  # of a number or a hash
    path.write_text("".join([row[:digit] + str(int(row[digit]) + 1) + row[digit + 1 :], *rest]))
    with pytest.raises(ValueError, match=rf"{name}\.jsonl must be as it was when step 4 was saved"):
        run(resume=True)


def test_another_initial_model_under_the_same_name_is_refused(run, monkeypatch, reference_folder, tmp_path):
    model, tokenizer = load_model(reference_folder)
    save_model(model, tokenizer, tmp_path / "reference")
    interrupted(run, monkeypatch, model=str(tmp_path / "reference"))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    save_model(model, tokenizer, tmp_path / "reference")
    with pytest.raises(ValueError, match="different there: reference"):
        run(resume=True, model=str(tmp_path / "reference"))


def test_a_log_that_lost_rows_is_named(run, monkeypatch):
    interrupted(run, monkeypatch)
    folder = run(resume=False, name="other").parent / "run"
    path = folder / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl must be a log with 4 rows through step 4, got '2 rows'"
    ):
        run(resume=True)


# What the settings do.


def first_update(run, name: str, **changes) -> np.ndarray:
    """Change of all weights in one step, float64."""
    folder = run(name, steps=1, oracle={"kind": "bias", "strength": 0.3, "attribute": "length"}, **changes)
    before = weights(json.loads((folder / "run.json").read_text())["config"]["model"])
    return (weights(folder / "model").double() - before.double()).numpy()


def test_sgd_descends_by_the_learning_rate_times_the_clipped_gradient(run):
    gradient = -first_update(run, "a", optimizer="sgd", learning_rate=1.0, max_grad_norm=1e9)
    norm = np.linalg.norm(gradient)
    assert norm > 1e-3
    tenth = first_update(run, "b", optimizer="sgd", learning_rate=0.1, max_grad_norm=1e9)
    np.testing.assert_allclose(tenth, -0.1 * gradient, atol=1e-6 * norm)
    clipped = first_update(run, "c", optimizer="sgd", learning_rate=1.0, max_grad_norm=norm / 2)
    np.testing.assert_allclose(clipped, -gradient / 2, atol=1e-5 * norm)


def test_adamw_begins_with_the_sign_of_the_gradient_and_decays_no_weight(run):
    gradient = -first_update(run, "a", optimizer="sgd", learning_rate=1.0, max_grad_norm=1e9)
    update = first_update(run, "b", optimizer="adamw", learning_rate=1e-2, max_grad_norm=1e9)
    clear = np.abs(gradient) > 1e-5
    assert clear.mean() > 0.5
    np.testing.assert_allclose(update[clear], -1e-2 * np.sign(gradient[clear]), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"beta": 0.2},
        {"rho": 0.0},
        {"score_weight": 0.0},
        {"labels": "drawn"},
        {"baseline": "log2"},
        {"loss": "ipo", "rho": 0.0},
        {"optimizer": "sgd"},
        {"learning_rate": 2e-2},
        {"responses_per_prompt": 3},
        {"prompts_per_step": 5},
        {"max_new_tokens": 11},
        {"policy": {"precision": "bfloat16"}},
        {"oracle": {"kind": "flip", "strength": 0.15}},
        {"oracle": {"kind": "bias", "strength": 0.15, "attribute": "length"}},
        {"task": {"train_prompts": 17}},
        {"task": {"train_prompts": 16, "seed": 1}},
    ],
    ids=str,
)
def test_every_option_changes_the_numbers_of_a_run(run, changes):
    assert metrics(run("changed", steps=3, **changes)) != metrics(run("base", steps=3))


def test_low_precision_is_that_of_the_steps_and_alike_for_policy_and_reference(run):
    folder, plain = run("low", policy={"precision": "bfloat16"}, steps=3), run("plain", steps=3)
    first = metrics(folder)[0]
    assert first["robust/penalty"] == 0.0 and first["objective/kl_k3"] == 0.0
    assert next(load_model(folder / "model")[0].parameters()).dtype == torch.float32
    # Evaluations are in float32, so before the first step both runs evaluate the same policy.
    low, high = (read_log(f / "evaluations.jsonl")[0] for f in (folder, plain))
    assert low == high and low["objective/kl"] == 0.0


def capture(monkeypatch, name: str, module=loop) -> list:
    """Keep the arguments of each call of `module`.<name>."""
    function, calls = getattr(module, name), []

    def keep(*arguments, **options):
        calls.append((arguments, options))
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, keep)
    return calls


def test_labels_are_drawn_from_the_oracle_or_are_its_probabilities(run, monkeypatch):
    answers = capture(monkeypatch, "draw_labels", collection)
    calls = capture(monkeypatch, "online_loss")
    run("probability", steps=2)
    assert not answers
    for (_, log_probs, _, preferences, *_), _ in calls:
        assert preferences.shape == (4, 2, 2) == (*log_probs.shape, 2)
        assert ((preferences > 0) & (preferences < 1)).all()
    calls.clear()
    run("drawn", steps=2, labels="drawn")
    for ((_, _, _, preferences, *_), _), ((asked, _), _) in zip(calls, answers, strict=True):
        off = preferences[:, [0, 1], [1, 0]]
        assert set(off.unique().tolist()) <= {0.0, 1.0} and (off.sum(1) == 1).all()
        assert ((asked > 0) & (asked < 1)).all()


def test_a_batch_has_the_asked_number_of_prompts_responses_and_tokens(run, monkeypatch):
    losses, calls = capture(monkeypatch, "online_loss"), capture(monkeypatch, "response_log_probs")
    run(steps=2, prompts_per_step=5, responses_per_prompt=3, max_new_tokens=4)
    assert all(arguments[1].shape == (5, 3) for arguments, _ in losses)
    assert all(a[3].shape[0] == 15 and 1 <= a[3].shape[1] <= 4 for a, _ in calls)


def test_a_step_makes_one_forward_pass_of_the_policy_and_one_of_the_reference(run, monkeypatch):
    calls = capture(monkeypatch, "response_log_probs")
    run(steps=3, rho=0.15, score_weight=1.0)
    assert len(calls) == 6


def test_prompts_of_a_step_are_distinct_where_there_are_enough(run, monkeypatch):
    calls = capture(monkeypatch, "encode_prompts", collection)
    run("a", steps=3, prompts_per_step=16)
    assert all(len(set(prompts)) == 16 for (_, prompts), _ in calls)
    run("b", steps=1, prompts_per_step=20)  # more than the 16 there are: drawn with replacement
    assert len(calls[-1][0][1]) == 20


@pytest.mark.parametrize("changes", [{"loss": "dpo", "rho": 0.0}, {"rho": 0.0}], ids=str)
def test_a_plain_step_computes_neither_penalty_nor_score_term(settings, monkeypatch, changes):
    config = build(OnlineConfig, settings(steps=2, score_weight=0.0, **changes))
    forbid_extras(monkeypatch)
    train(config)


@pytest.mark.parametrize("changes", [{"score_weight": 0.0}, {"rho": 0.0}], ids=["penalty", "score term"])
def test_a_step_with_one_of_them_does_compute_it(settings, monkeypatch, changes):
    config = build(OnlineConfig, settings(steps=2, **changes))
    forbid_extras(monkeypatch)
    with pytest.raises(AssertionError, match="computed all the same"):
        train(config)


def forbid_extras(monkeypatch) -> None:
    """Fail where the penalty (the one place that takes |h| of a tensor) or the score term is computed."""

    def forbidden(*_, **__):
        raise AssertionError("computed all the same")

    monkeypatch.setattr(torch.Tensor, "abs", forbidden)
    for name in ("score_surrogate", "baseline"):
        monkeypatch.setattr(objective, name, forbidden)


def test_samples_reach_the_loss_as_the_token_ids_that_were_drawn(run, monkeypatch):
    drawn, function = [], collection.sample
    monkeypatch.setattr(collection, "sample", lambda *a, **k: drawn.append(function(*a, **k)) or drawn[-1])
    scored = capture(monkeypatch, "response_log_probs")
    run(steps=2)
    for samples, (reference, _), (policy, _) in zip(drawn, scored[::2], scored[1::2], strict=True):
        for kept, first, second in zip(samples, reference[1:], policy[1:], strict=True):
            assert kept is first and kept is second


# Bad input.


def with_task(monkeypatch, **changes):
    def load(config, *, eval_prompts, tokenizer):
        return dataclasses.replace(load_task(config, eval_prompts=eval_prompts), **changes)

    monkeypatch.setattr(loop, "load_task", load)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda prompts, texts: np.full(len(texts), np.nan), "reward must give 32 finite numbers"),
        (lambda prompts, texts: np.zeros(3), r"got shape \(3,\)"),
        (lambda prompts, texts: np.zeros((len(texts), 1)), r"got shape \(32, 1\)"),
        (lambda prompts, texts: 0.0, r"got shape \(\)"),
    ],
)
def test_a_reward_that_is_not_finite_or_has_another_shape_is_named(run, monkeypatch, reward, message):
    with_task(monkeypatch, reward=reward)
    with pytest.raises(ValueError, match=message):
        run()


@pytest.mark.parametrize(
    "collection",
    [{}, {"scheme": "offline"}, {"scheme": "best_worst", "candidates": 4}],
    ids=lambda settings: settings.get("scheme", "on_policy"),
)
def test_an_oracle_with_a_reward_of_its_own_is_what_the_run_learns_from(run, monkeypatch, collection):
    def words(prompts, texts):
        return np.array([float(len(text.split())) for text in texts]) / 10

    changes = {"steps": 3, "evaluate_every": 0, "score_weight": 0.0, "collection": collection}
    with_task(monkeypatch, learned=words)
    mistaken = run("mistaken", **changes)
    with_task(monkeypatch, reward=words)
    knowing = run("knowing", **changes)
    rows, others = metrics(mistaken), metrics(knowing)
    assert [row["loss"] for row in rows] == [row["loss"] for row in others]
    assert rows[0]["gold/reward"] != others[0]["gold/reward"]
    assert (weights(mistaken / "model") == weights(knowing / "model")).all()


@pytest.mark.parametrize("wrong", [np.zeros(3), np.full(32, np.nan)], ids=["shape", "NaN"])
def test_a_wrong_reward_of_the_oracle_is_named(run, monkeypatch, wrong):
    with_task(monkeypatch, learned=lambda prompts, texts: wrong)
    with pytest.raises(ValueError, match="learned"):
        run()


def test_an_attribute_of_another_shape_is_named(run, monkeypatch):
    with_task(monkeypatch, attributes=lambda texts: {"filler": np.zeros(1), "length": np.zeros(len(texts))})
    with pytest.raises(ValueError, match=r"attribute 'filler' must be \(32,\), got \(1,\)"):
        run()


def test_an_attribute_that_is_not_finite_is_named(run, monkeypatch):
    with_task(monkeypatch, attributes=lambda texts: {"filler": np.full(len(texts), np.inf)})
    with pytest.raises(ValueError, match=r"attribute 'filler' must be finite, got inf"):
        run()


def test_an_attribute_that_the_task_has_not_is_refused_before_any_work(run, tmp_path):
    with pytest.raises(ValueError, match=r"oracle\.attribute must be one of .*, got 'charm'"):
        run(oracle={"kind": "bias", "strength": 0.1, "attribute": "charm"})
    assert not (tmp_path / "run").exists()


def test_prompts_and_responses_too_long_for_the_model_are_refused_before_any_work(run, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"max_new_tokens must be at most 128 positions .* got 125"):
        run(max_new_tokens=125)
    assert not (tmp_path / "run").exists()
    for name in ("train_prompts", "eval_prompts"):
        prompts = getattr(load_task(OnlineConfig().task, eval_prompts=8), name)
        with monkeypatch.context() as patch:
            with_task(patch, **{name: [*prompts[:-1], "good " * 120]})
            with pytest.raises(
                ValueError, match=r"128 positions of the model less 120 of the prompt, got 12"
            ):
                run()
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_run_writes_is_refused_by_name(run, monkeypatch, tmp_path, resume):
    step, messages = loop.online_step, []

    def second_run(*arguments):
        with pytest.raises(ValueError) as caught:
            run(resume=resume)
        messages.append(str(caught.value))
        return step(*arguments)

    monkeypatch.setattr(loop, "online_step", second_run)
    folder = run(steps=2)
    assert messages == [f"output_dir must be a folder that no other run writes now, got {folder}"] * 2
    run(resume=True, steps=2)  # the lock has ended with the run


@pytest.mark.parametrize("kind", ["bias", "worst_case"])
def test_scores_that_are_not_finite_end_the_run_at_their_step(run, monkeypatch, tmp_path, kind):
    score, calls = loop.response_log_probs, iter(range(100))
    # Twice per step, the reference first: this is the policy of step 2.
    monkeypatch.setattr(
        loop, "response_log_probs", lambda *a: score(*a) * (1.0 if next(calls) != 3 else np.nan)
    )
    with pytest.raises(FloatingPointError, match=r"step 2: not finite: pair scores; .* Lower learning_rate"):
        run(oracle={"kind": kind, "strength": 0.1})
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1]


def test_scores_that_are_not_finite_end_the_run_at_their_evaluation(run, monkeypatch):
    score = evaluation.response_log_probs
    monkeypatch.setattr(evaluation, "response_log_probs", lambda *a: score(*a) * np.nan)
    with pytest.raises(FloatingPointError, match=r"evaluation after step 0: not finite: pair scores"):
        run()


def test_numbers_that_are_not_finite_end_the_run_and_are_not_logged(run, tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 2: not finite: .*grad_norm.* Lower learning_rate"):
        run(learning_rate=1e30)
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1]


def test_a_model_that_is_not_there_is_refused_before_any_work(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="model must be a folder"):
        run(model=str(tmp_path / "nothing"))
    assert not (tmp_path / "run").exists()
