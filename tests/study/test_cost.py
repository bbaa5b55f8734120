"""Measurements of cost: tiny ones run, floors count what they say, the committed ones support the claims."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from rsail.__main__ import main
from rsail.lm import fingerprint, frozen_copy, response_log_probs, sample
from rsail.lm.reader import LlamaReader, Reader
from rsail.study.cost import bench, exact, steps
from rsail.study.cost.floor import Machine, floors, measure_machine, phase_costs, weights
from rsail.study.cost.workload import (
    PROMPT_WORDS,
    Workload,
    build_model,
    build_tokenizer,
    prompt_texts,
    stage,
)
from rsail.study.memory import peak_bytes
from rsail.study.paths import RESULTS_DIR
from rsail.study.results import read_result
from rsail.training.loop import online_step

SMALL = Workload(vocabulary=32, new_tokens=4, prompts=2, hidden=16, layers=1)


def test_no_response_ends_early_and_prompts_have_the_stated_lengths():
    config, state = stage(SMALL)
    metrics, seconds = online_step(config, state)
    assert metrics["length"] == SMALL.new_tokens and metrics["val/contain_eos_token"] == 0
    assert tuple(seconds) == steps.PHASES
    encoded = build_tokenizer(SMALL)(prompt_texts(SMALL))["input_ids"]
    lengths = {len(ids) for ids in encoded}
    assert (min(lengths), max(lengths)) == PROMPT_WORDS
    assert all(0 < token < SMALL.vocabulary for ids in encoded for token in ids)


@pytest.mark.parametrize("field", ["prompts", "new_tokens"])
def test_a_workload_of_nothing_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be >= 1, got 0"):
        Workload(**{field: 0})


def test_operations_of_the_floor_are_those_of_the_products_that_are_made():
    """Prompts of the longest length, so that nothing is padding; torch counts whole squares of attention."""
    work = Workload(vocabulary=64, new_tokens=6, prompts=3, hidden=32, heads=2)
    model, ids = build_model(work), torch.ones(3, PROMPT_WORDS[1], dtype=torch.long)
    length = PROMPT_WORDS[1] + work.new_tokens
    squares = 4 * work.hidden * work.layers * work.rows
    # The counter does not know the fused kernel of attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as sampling:
        samples = sample(
            model, ids, torch.ones_like(ids), responses_per_prompt=2, max_new_tokens=6, eos_token_id=64,
            pad_token_id=0, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
    sampled = sampling.get_total_flops()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as scoring:
        response_log_probs(frozen_copy(model), *samples)
    costs = phase_costs(work)
    # Scored are one more position of the vocabulary than the responses have, and all of the square.
    whole = squares * (length**2 - length * (length + 1) / 2) + work.rows * 2 * work.hidden * work.vocabulary
    assert scoring.get_total_flops() == costs["reference"][0] + whole
    assert sampled == pytest.approx(costs["sample"][0], rel=0.05)
    assert costs["backward"][0] == 2 * costs["forward"][0]


@torch.no_grad()
def test_a_token_takes_some_sixty_operations():
    """As notebook 10 explains what sampling takes beyond its floor; those of the model take more."""

    class Counting(TorchFunctionMode):
        count = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.count += 1
            return function(*args, **(kwargs or {}))

    counts, ids = [], torch.ones(8, PROMPT_WORDS[1], dtype=torch.long)
    for kind in (LlamaReader, Reader):
        reader = kind(build_model(Workload()), ids, torch.ones_like(ids), 2, 4)
        reader.read(None)
        with Counting() as counting:
            reader.read(torch.ones(16, dtype=torch.long))
        counts.append(counting.count)
    assert 50 <= counts[0] <= 75 and counts[1] > 2.5 * counts[0]


def test_weights_are_those_of_the_model():
    work = Workload(vocabulary=64, hidden=32, heads=2, layers=3)
    assert weights(work) == sum(w.numel() for w in build_model(work).parameters() if w.ndim == 2)


def test_peak_memory_is_that_of_the_process_alone():
    """Not that of the process which started it."""
    ballast = torch.ones(2**27)  # half a gigabyte
    found = steps.isolated(SMALL, 2)
    assert peak_bytes() > found["peak"] and found["peak"] > found["growth"] > 0 and found["step"] > 0
    assert found["growth"] < 2**28 < 4 * len(ballast)


def test_floors_scale_with_the_machine():
    slow, fast = (floors(SMALL, Machine(rate, rate)) for rate in (1e9, 2e9))
    for phase, limits in slow.items():
        assert limits["memory"] == pytest.approx(2 * fast[phase]["memory"])
    machine = measure_machine(SMALL, size=64, repeats=2)
    assert machine.operations > 0 and machine.bandwidth > 0


def test_variants_in_turns_do_the_same_work_and_are_put_back(monkeypatch):
    variants = {name: (SMALL, settings) for name, settings in (("plain", bench.PLAIN), ("both", {}))}
    seen: list[tuple[str, bool, float]] = []

    def watched(config, state):
        before = fingerprint(state.policy)
        metrics, taken = online_step(config, state)
        seen.append((before, fingerprint(state.policy) != before, metrics["objective/entropy"]))
        return metrics, taken

    monkeypatch.setattr(steps, "online_step", watched)
    seconds = steps.in_turns(variants, 3)
    assert set(seconds) == set(variants) and all((taken > 0).all() for taken in seconds.values())
    assert len(seen) == 2 * (steps.WARM_UP + 3)
    assert len({weights for weights, *_ in seen}) == 1 and all(moved for _, moved, _ in seen)
    rounds = [[entropy for *_, entropy in seen[k : k + 2]] for k in range(0, len(seen), 2)]
    assert all(one == other for one, other in rounds)  # the same tokens, which differ from round to round
    assert len({one for one, _ in rounds}) == len(rounds)


def test_every_part_runs_tiny_and_writes_a_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "isolated", steps.measure)  # in this process: starting others takes seconds
    monkeypatch.setattr(exact, "against_cores", lambda tasks: [{"workers": 1, "seconds": 1.0, "sum": 0.0}])
    assert main(["bench", "--tiny", "--output", str(tmp_path)]) == 0
    assert {read_result(path)["config"]["part"] for path in tmp_path.glob("*.json")} == set(bench.PARTS)
    phases = read_result(tmp_path / "phases.json")["history"][0]
    assert set(phases["phases"]) == set(steps.PHASES) and phases["tokens_per_second"] > 0
    assert {r["sweep"] for r in read_result(tmp_path / "settings.json")["history"]} == {"terms", "responses"}
    capsys.readouterr()
    assert main(["bench", "--output", str(tmp_path), "speed"]) == 2
    assert "part must be one of" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["bench", "--output", str(tmp_path / "file")]) == 2  # before minutes of work
    assert "output must be a writable folder, got" in capsys.readouterr().err


def test_the_sum_over_pairs_in_rows_is_the_sorted_one():
    compared = exact.compare(300, repeats=1)
    assert compared["difference"] < 1e-12
    law = exact.prompt(300, np.random.default_rng(1))
    assert exact.by_pairs(*law) == pytest.approx(
        float(law[1] @ np.abs(law[0][:, None] - law[0]) @ law[1]), rel=1e-13
    )


def test_the_sweep_against_cores_gives_the_same_sums():
    records = exact.against_cores(tasks=2, size=50, repeats=1)
    assert records[0]["workers"] == 1
    assert all(record["sum"] == records[0]["sum"] for record in records)


def committed(part: str) -> dict:
    result = read_result(RESULTS_DIR / bench.NAME / f"{part}.json")
    assert not result["provenance"]["commit"].endswith("dirty")
    return result


def test_committed_penalty_and_score_term_cost_next_to_nothing():
    (both,) = (r for r in committed("settings")["history"] if r["name"] == "both")
    assert both["ratio"] <= 1.03


def test_committed_growth_of_the_exact_penalty():
    metrics = committed("exact")["metrics"]
    assert metrics["speedup"] >= 100 and metrics["difference"] < 1e-9
    grown = [r for r in committed("exact")["history"] if r["part"] == "growth"]
    sizes = [r["size"] for r in grown]
    assert (sizes[0], sizes[-1]) == (10**3, 10**6)
    # Over the whole range no faster than n log n. What is above it in the end is the memory's: arrays leave the cache.
    assert metrics["exponent"] <= np.polyfit(np.log(sizes), np.log(sizes * np.log(sizes)), 1)[0]
    assert all(r["per_n_log_n"] <= grown[0]["per_n_log_n"] for r in grown)


def test_committed_phases_are_of_the_grid_and_above_their_floors():
    records = committed("phases")["history"]
    assert [r["workload"] for r in records] == [dataclasses.asdict(w) for w in bench.FULL.phases]
    for record in records:
        for phase, limits in record["floors"].items():
            assert record["best"][phase] > 0.9 * max(limits.values()), (record["workload"], phase)
