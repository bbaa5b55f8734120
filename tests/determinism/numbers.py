"""Numbers of every part of the package, from the same inputs: ``python -m tests.determinism.numbers FILE``.

Run with the switches by which the libraries use fewer instructions than the processor has, they are those of another
processor. FILE is an archive of arrays; what is printed is which instructions were used.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from rsail import language
from rsail.exact import FiniteProblem, gini_mean_difference
from rsail.exact.moreau import solve_prox
from rsail.files import text_digest
from rsail.lm import encode_prompts, fingerprint, frozen_copy, load_model, response_log_probs
from rsail.lm.sampling import draw_uniforms
from rsail.oracles import bias, truth
from rsail.tasks import TaskConfig, load_task
from rsail.training import OnlineConfig
from rsail.training.checkpoint import make_generators
from rsail.training.objective import online_loss

MODEL = Path(__file__).resolve().parents[2] / "data" / "models" / "preference_language"
PROMPTS, RESPONSES, LENGTH = 8, 4, 12
RHO = 0.15


def instructions() -> dict:
    """What torch, NumPy and their BLAS use in this process."""
    libraries = (Path(np.__file__).parents[1] / "numpy.libs").glob("*openblas*")
    return {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "numpy": [name for name in __cpu_dispatch__ if __cpu_features__[name]],
        "blas": [blas_core(str(path)) for path in libraries],
    }


def blas_core(library: str) -> str:
    """The processor for which a loaded OpenBLAS has chosen its kernels."""
    core = ctypes.CDLL(library).scipy_openblas_get_corename64_
    core.restype = ctypes.c_char_p
    return core().decode()


def drawn() -> dict[str, np.ndarray]:
    """What comes from generators and programs of the language alone, and the identity of the model."""
    generators, task = make_generators(7), load_task(TaskConfig(), eval_prompts=64)
    corpus = [f"{prompt}|{text}" for prompt, text in language.corpus(language.LanguageConfig(), 200)]
    texts = {"prompts": task.train_prompts + task.eval_prompts, "corpus": corpus}
    model, _ = load_model(MODEL)
    return {
        "uniforms": draw_uniforms(64, 24, generators["sampling"], torch.device("cpu")).numpy(),
        "choices": generators["prompts"].choice(512, 32, replace=False),
        "labels": generators["labels"].random(100),
        **{name: np.array(text_digest(values)) for name, values in texts.items()},
        "model": np.array(fingerprint(model)),
    }


def of_language_model(dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Log-probabilities of fixed tokens under the committed model, and the gradient of the robust objective."""
    policy, tokenizer = load_model(MODEL, dtype=dtype)
    reference = frozen_copy(policy)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += torch.from_numpy(1e-2 * rng.standard_normal(weight.shape)).to(weight)
    task = load_task(TaskConfig(), eval_prompts=PROMPTS)
    ids, mask = encode_prompts(tokenizer, task.eval_prompts)
    shape = (PROMPTS * RESPONSES, LENGTH)
    tokens = torch.from_numpy(rng.integers(3, len(tokenizer), shape))
    ends = torch.from_numpy(rng.integers(1, LENGTH + 1, (shape[0], 1)))
    batch = (
        ids.repeat_interleave(RESPONSES, 0),
        mask.repeat_interleave(RESPONSES, 0),
        tokens,
        (torch.arange(LENGTH) < ends).long(),
    )
    log_probs = response_log_probs(policy, *batch)
    with torch.no_grad():
        ref_log_probs = response_log_probs(reference, *batch).sum(1).view(PROMPTS, -1)
    rewards = rng.standard_normal((PROMPTS, RESPONSES))
    targets = torch.from_numpy(bias(truth(rewards), np.sign(rewards), RHO)).to(log_probs)
    config = OnlineConfig(rho=RHO, responses_per_prompt=RESPONSES)
    online_loss(config, log_probs.sum(1).view(PROMPTS, -1), ref_log_probs, targets).backward()
    gradient = torch.cat([weight.grad.flatten() for weight in policy.parameters()])
    return {"log_probs": log_probs.detach().numpy(), "gradient": gradient.numpy()}


def exact() -> dict[str, np.ndarray]:
    """Losses, gradients, a linear program and a proximal point of a finite problem of 6 prompts and 40 responses."""
    rng = np.random.default_rng(1)
    features, rewards = rng.standard_normal((6, 40, 12)), rng.standard_normal((6, 40))
    problem = FiniteProblem.from_rewards(features, rewards, beta=0.3)
    theta = 0.5 * rng.standard_normal(12)
    small = FiniteProblem.from_rewards(features[:2, :5, :3], rewards[:2, :5], beta=0.3)
    constants = small.constants(1.0, RHO)
    prox = solve_prox(small, theta[:3], RHO, 0.5 / constants.curvature, theta_radius=1.0)
    values = rng.standard_normal(5000)
    weights = rng.dirichlet(np.ones(5000))
    return {
        "losses": np.array(
            [problem.sail_loss(theta), problem.penalty(theta), problem.robust_loss(theta, RHO)]
        ),
        "gradient": problem.sail_gradient(theta),
        "subgradient": problem.penalty_subgradient(theta),
        "linear_program": np.array(small.robust_loss_linear_program(theta[:3], RHO)),
        "gini": np.array(gini_mean_difference(values, weights)),
        "prox": prox.point,
    }


def numbers() -> dict[str, np.ndarray]:
    """Everything above, named ``part/name``."""
    parts = {
        "drawn": drawn(),
        "float32": of_language_model(torch.float32),
        "float64": of_language_model(torch.float64),
        "exact": exact(),
    }
    return {f"{part}/{name}": np.asarray(v) for part, values in parts.items() for name, v in values.items()}


if __name__ == "__main__":
    np.savez(sys.argv[1], **numbers())
    print(json.dumps(instructions()))
