"""Tasks: prompts, rewards and attributes; `test_imdb_task.py` has those of IMDb."""

import numpy as np
import pytest

from rsail import language
from rsail.tasks import TaskConfig, load_task
from rsail.training.config import build


def test_the_language_task_judges_by_the_programs_of_the_language():
    task = load_task(TaskConfig(train_prompts=20), eval_prompts=10)
    assert (len(task.train_prompts), len(task.eval_prompts)) == (20, 10)
    prompts, responses = task.train_prompts[:3], ["this is a bird .", "well , well", ""]
    np.testing.assert_array_equal(task.reward(prompts, responses), language.gold_reward(prompts, responses))
    groups = task.groups(task.train_prompts)
    assert (groups["open"] ^ groups["request"]).all() and groups["open"].any() and groups["request"].any()


def test_a_task_depends_on_its_own_seed():
    first, again, other = (load_task(TaskConfig(seed=seed), eval_prompts=4) for seed in (0, 0, 1))
    assert first.train_prompts == again.train_prompts != other.train_prompts


def test_more_prompts_than_the_language_has_are_refused():
    with pytest.raises(ValueError, match="prompts must be at most"):
        load_task(TaskConfig(train_prompts=50_000), eval_prompts=4)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="rows: Input should be greater than or equal to 20, got 3"):
        build(TaskConfig, {"rows": 3})
