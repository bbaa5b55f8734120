"""When a run logs what, and whether the logs of a run that goes on are its own."""

from __future__ import annotations

from rsail.checks import require
from rsail.training.checkpoint import Log
from rsail.training.config import OnlineConfig
from rsail.training.state import begins_round


def evaluates(config: OnlineConfig, step: int) -> bool:
    """Whether the run evaluates its policy after `step` steps."""
    due = config.evaluate_every > 0 and step % config.evaluate_every == 0
    return due or step in (0, config.steps)


def log_digests(logs: dict[str, Log]) -> dict[str, str]:
    """SHA-256 of the logs whose rows a resumed run does not make again."""
    return {name: log.digest.hexdigest() for name, log in logs.items() if name != "timings"}


def check_logs(config: OnlineConfig, logs: dict[str, Log], done: int, digests: dict[str, str]) -> None:
    """Raise unless the logs of a resumed run are those of its checkpoint of step `done`: complete, and unchanged."""
    wanted = {
        "metrics": list(range(1, done + 1)),
        "evaluations": [step for step in range(done + 1) if evaluates(config, step)],
        "rounds": [step for step in range(1, done + 1) if begins_round(config, step)],
    }
    for name, steps in wanted.items():
        found = logs[name].steps
        require(
            found == steps,
            str(logs[name].path), f"{len(found)} rows", f"a log with {len(steps)} rows through step {done}",
        )  # fmt: skip
        require(
            logs[name].digest.hexdigest() == digests[name],
            str(logs[name].path), "other rows", f"as it was when step {done} was saved",
        )  # fmt: skip
