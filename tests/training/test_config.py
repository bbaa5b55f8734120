"""Settings from files and overrides; whatever is wrong is named with its value before any work."""

import dataclasses
import json

import pytest

from rsail.tasks import TaskConfig
from rsail.training import OnlineConfig, load_config
from rsail.training.config import build, read_settings


def refuse(*overrides: str) -> str:
    with pytest.raises(ValueError) as caught:
        load_config(None, ["output_dir=x", *overrides])
    return str(caught.value)


def test_defaults_are_a_valid_run_and_the_configuration_is_small():
    config = load_config(None, ["output_dir=x"])
    assert config == OnlineConfig(output_dir="x")
    assert len(dataclasses.fields(OnlineConfig)) <= 25


def test_a_file_is_read_and_overrides_win(tmp_path):
    (tmp_path / "run.yaml").write_text("output_dir: x\nbeta: 1e-4\noracle:\n  kind: bias\n  strength: 0.1\n")
    config = load_config(tmp_path / "run.yaml", ["oracle.strength=0.2", "seed=7", "task.rows=50"])
    assert (config.beta, config.oracle.kind, config.oracle.strength) == (1e-4, "bias", 0.2)
    assert (config.seed, config.task.rows, config.task.kind) == (7, 50, "language")


def test_json_is_read_as_well_and_a_resolved_configuration_is_read_back(tmp_path):
    config = load_config(None, ["output_dir=x", "loss=cdpo", "loss_options.smoothing=0.1"])
    (tmp_path / "run.json").write_text(json.dumps(config.to_dict()))
    assert load_config(tmp_path / "run.json") == config


def test_scientific_notation_without_a_dot_is_a_number():
    assert load_config(None, ["output_dir=x", "learning_rate=1e-4"]).learning_rate == 1e-4


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        OnlineConfig(output_dir="x").beta = 1.0


def test_rho_is_passed_to_the_robust_loss_alone():
    robust = OnlineConfig(output_dir="x", rho=0.2).loss_arguments()
    assert robust == {"beta": 0.1, "rho": 0.2, "drawn": False}
    assert OnlineConfig(labels="drawn").loss_arguments() == {"beta": 0.1, "rho": 0.0, "drawn": True}
    assert OnlineConfig(output_dir="x", loss="dpo").loss_arguments() == {"beta": 0.1}
    rdpo = OnlineConfig(output_dir="x", loss="rdpo", loss_options={"flip_rate": 0.1})
    assert rdpo.loss_arguments() == {"beta": 0.1, "flip_rate": 0.1}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["betta=1"], "betta is not a setting, got 1"),
        (["oracle.foo=1"], "oracle.foo is not a setting, got 1"),
        (["task.foo=1"], "task.foo is not a setting, got 1"),
        (["beta=0"], "beta: Input should be greater than 0, got 0"),
        (["beta=.nan"], "beta: Input should be a finite number, got nan"),
        (["beta=.inf"], "beta: Input should be a finite number, got inf"),
        (["beta=yes"], "beta must be a number or a text, got True"),
        (["oracle.strength=true"], "oracle.strength must be a number or a text, got True"),
        (["beta=large"], "beta: Input should be a valid number, unable to parse string as a number, got 'large'"),
        (["beta="], "beta: Input should be a valid number, got None"),
        (["beta.x=1"], "beta: Input should be a valid number, got {'x': 1}"),
        (["rho=-0.1"], "rho: Input should be greater than or equal to 0, got -0.1"),
        (["steps=1.5"], "steps: Input should be a valid integer"),
        (["responses_per_prompt=1"], "responses_per_prompt: Input should be greater than or equal to 2, got 1"),
        (["oracle=3"], "oracle: Input should be a dictionary"),
        (["oracle.kind=bad"], "oracle.kind must be one of bias, cyclic, drift, flatten, flip, groups"),
        (["oracle.kind=bias", "oracle.strength=2"], "oracle.strength must be a number in [0, 1], got 2.0"),
        (["oracle.strength=0.1"], "oracle.strength must be 0 for an oracle of kind truth, got 0.1"),
        (["task.kind=poems"], "task.kind: Input should be 'language', 'imdb' or 'prompts', got 'poems'"),
        (["labels=maybe"], "labels: Input should be 'probability', 'drawn', 'hard' or 'policy', got 'maybe'"),
        (["optimizer=lion"], "optimizer: Input should be 'adamw' or 'sgd', got 'lion'"),
        (
            ["loss=hinge"],
            "loss must be one of cdpo, chi_po, dpo, dpo_pro, grpo, ipo, plackett_luce, rdpo, rebel, rloo, robust_sail, "
            "ropo, slic, tv_robust, got 'hinge'",
        ),
        (["loss=cdpo"], "loss_options must be values for exactly ['smoothing'], the options of 'cdpo', got {}"),
        (["loss_options.smoothing=0.1"], "loss_options must be values for exactly [], the options of 'robust_sail'"),
        (["loss=cdpo", "loss_options.smoothing=0.7"], "smoothing must be in [0, 1/2], got 0.7"),
        (["loss=rdpo", "loss_options.flip_rate=0.5"], "flip_rate must be in [0, 1/2), got 0.5"),
        (["loss=dpo", "rho=0.1"], "rho must be 0 with loss 'dpo', got 0.1"),
        (["baseline=mean"], "baseline must be one of disjoint, log2, other_prompts, per_response, got 'mean'"),
        (["baseline=disjoint"], "responses_per_prompt must be at least 4 for baseline 'disjoint', got 2"),
        (["prompts_per_step=1"], "prompts_per_step must be at least 2 for baseline 'other_prompts', got 1"),
        (["beta"], "override must be of the form key=value, got 'beta'"),
        (["=1"], "override must be of the form key=value, got '=1'"),
        (["beta=[1"], "override must have a YAML value, got 'beta=[1'"),
        (["beta=1", "beta.x=2"], "override must be a key below a group; 'beta' holds a value, got 'beta.x=2'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(overrides, message):
    assert message in refuse(*overrides)


def test_all_wrong_fields_are_named_at_once():
    assert [line.split(":")[0] for line in refuse("beta=-1", "rho=-2", "steps=0").splitlines()] == [
        "beta",
        "rho",
        "steps",
    ]


def test_a_batch_too_small_for_a_baseline_is_fine_without_score_term():
    load_config(None, ["output_dir=x", "prompts_per_step=1", "score_weight=0"])
    load_config(None, ["output_dir=x", "prompts_per_step=1", "baseline=log2"])


def test_without_a_word_a_run_goes_into_the_build_folder():
    assert OnlineConfig() == load_config() == OnlineConfig(output_dir="build/run")


def test_paths_may_be_path_objects_and_are_kept_as_text(tmp_path):
    config = OnlineConfig(output_dir=tmp_path / "run", model=tmp_path, task={"data": tmp_path})
    assert (config.output_dir, config.model, config.task.data) == (
        str(tmp_path / "run"), str(tmp_path), str(tmp_path)
    )  # fmt: skip
    assert TaskConfig(data=tmp_path) == TaskConfig(data=str(tmp_path))
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    with pytest.raises(ValueError, match="output_dir\n  Input should be a valid string"):
        OnlineConfig(output_dir=3)


@pytest.mark.parametrize("content", ["- a\n- b\n", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(ValueError, match="config must be a file of key: value lines"):
        read_settings(tmp_path / "run.yaml", [])


def test_a_broken_or_missing_file_is_named(tmp_path):
    (tmp_path / "run.yaml").write_text("beta: [1")
    with pytest.raises(ValueError, match=r"config must be valid YAML or JSON, got .*run\.yaml"):
        load_config(tmp_path / "run.yaml")
    with pytest.raises(
        FileNotFoundError, match=r"config must be an existing YAML or JSON file, got .*none\.yaml"
    ):
        load_config(tmp_path / "none.yaml")


def test_every_setting_has_a_description():
    from pydantic import TypeAdapter

    schema = TypeAdapter(OnlineConfig).json_schema()
    groups = [schema["properties"], *(group["properties"] for group in schema["$defs"].values())]
    assert len(groups) == 7  # of the run itself, its task and prompts, oracle, collection, additions, policy
    assert all(entry.get("description") for group in groups for entry in group.values())


def test_build_reports_the_group_of_a_wrong_field():
    with pytest.raises(ValueError, match=r"task\.rows: Input should be greater than or equal to 20, got 3"):
        build(OnlineConfig, {"output_dir": "x", "task": {"rows": 3}})
