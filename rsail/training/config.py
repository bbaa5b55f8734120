"""The configuration of one online run: a frozen dataclass, read from YAML or JSON plus key=value overrides."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from rsail.checks import one_of, require
from rsail.oracles import OracleConfig
from rsail.tasks import PathText, TaskConfig
from rsail.training.combinations import check_combination
from rsail.training.methods import METHODS
from rsail.training.options import WITH_RHO, AdditionConfig, CollectionConfig, PolicyConfig


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False))
class OnlineConfig:
    """One run of Algorithm 1. The defaults are the setting of the study on the synthetic preference language."""

    output_dir: PathText = "build/run"
    """Folder of the run: configuration, metrics, timings, checkpoints, the trained model."""
    model: PathText = "data/models/preference_language"
    """The initial policy and the reference pi_SFT: a folder in Hugging Face format or a hub name."""
    task: TaskConfig = TaskConfig()
    """Prompts and gold reward r*."""
    oracle: OracleConfig = OracleConfig(kind="truth")
    """What answers the comparisons: the truth sigma(r1 - r2), or a perturbation of it."""
    labels: Literal["probability", "drawn", "hard", "policy"] = "probability"
    """Train on the oracle's probability, on a label drawn from it, on the response that it prefers, or on a label drawn
    from the policy's own preference (SAIL)."""
    loss: str = "robust_sail"
    """A name in rsail.objectives: a loss of pairs, of ratios, of rewards or of lists, or a policy gradient."""
    loss_options: dict[str, float] = Field(default_factory=dict)
    """Further arguments of the loss, e.g. smoothing of cdpo; rho has a field of its own."""
    collection: CollectionConfig = CollectionConfig()
    """Which responses are compared, and when they are collected."""
    addition: AdditionConfig = AdditionConfig()
    """What reweights the losses or is added to them."""
    policy: PolicyConfig = PolicyConfig()
    """Which weights of the policy are trained, and how its passes are computed."""
    beta: float = Field(0.1, gt=0)
    """Weight of the log-ratio in the implicit reward (eq. 8); of the KL penalty of policy gradients."""
    rho: float = Field(0.0, ge=0)
    """Radius of the oracle set (eq. 2), of robust_sail and plackett_luce; 0 is nominal SAIL."""
    score_weight: float = Field(1.0, ge=0)
    """Weight of the gradient of the sampling law: 1 is exact, 0 is online DPO."""
    baseline: str = "other_prompts"
    """Baseline of the score term, a name in rsail.objectives.BASELINES."""
    responses_per_prompt: int = Field(2, ge=2)
    """K; all K (K - 1) / 2 pairs are used, or the list of K."""
    prompts_per_step: int = Field(32, ge=1)
    """Prompts per optimizer step."""
    max_new_tokens: int = Field(24, ge=1)
    """Longest response in tokens."""
    steps: int = Field(300, ge=1)
    """Optimizer steps."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW without weight decay, or plain SGD (the paper's eq. 22)."""
    learning_rate: float = Field(3e-4, gt=0)
    """Constant step size eta."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""
    seed: int = Field(0, ge=0)
    """Every generator of the run derives from it."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints; the last two are kept."""
    evaluate_every: int = Field(50, ge=0)
    """Steps between evaluations on the held-out prompts; 0 evaluates at the end only."""
    evaluation_prompts: int = Field(128, ge=1)
    """Held-out prompts of an evaluation, the same ones each time."""

    def __post_init__(self):
        check_combination(self)

    def loss_arguments(self) -> dict[str, float | bool]:
        """Keyword arguments of the loss function. An oracle's probability of 0 or 1 is not taken for a label."""
        robust = {"rho": self.rho} if self.loss in WITH_RHO else {}
        drawn = {"drawn": self.labels != "probability"} if self.loss == "robust_sail" else {}
        return {"beta": self.beta, **self.loss_options, **robust, **drawn}

    def to_dict(self) -> dict:
        """Resolved configuration as plain data."""
        return dataclasses.asdict(self)


def build(kind: type, values: dict, *, group: str = ""):
    """An instance of the dataclass `kind` from plain data; `group` is the key under which a file has them.

    `ValueError` has one line for each wrong field: its name, what was expected, its value.
    """
    prefix = f"{group}." if group else ""
    require(isinstance(values, dict), group or "configuration", values, "a group of settings")
    _refuse_switches(values, prefix)
    known = {field.name for field in dataclasses.fields(kind)}
    for name in sorted(values.keys() - known, key=str):  # pydantic would pass over them in a plain dataclass
        raise ValueError(f"{prefix}{name} is not a setting, got {values[name]!r}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise ValueError("\n".join(prefix + _complaint(item) for item in error.errors())) from None


def _refuse_switches(values: dict, prefix: str) -> None:
    """No setting is a yes or no, and pydantic would take one for the number 1 or 0."""
    for name, value in values.items():
        if isinstance(value, dict):
            _refuse_switches(value, f"{prefix}{name}.")
        require(not isinstance(value, bool), f"{prefix}{name}", value, "a number or a text")


def _complaint(item: dict) -> str:
    name = ".".join(map(str, item["loc"])) or "configuration"
    if item["type"] == "value_error":  # from __post_init__, which knows the field but not the group it is in
        return "".join(f"{group}." for group in item["loc"]) + item["msg"].removeprefix("Value error, ")
    if item["type"] in ("unexpected_keyword_argument", "unexpected_property"):
        return f"{name} is not a setting, got {item['input']!r}"
    return f"{name}: {item['msg']}" + ("" if item["type"] == "missing" else f", got {item['input']!r}")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which no key stands twice: of two values for one setting, the first would be lost."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(problem=f"{', '.join(sorted(twice))} stands there twice")
        return super().construct_mapping(node, deep)


def read_settings(path: str | Path | None, overrides: list[str]) -> dict:
    """Nested plain data from a YAML or JSON file and ``key=value`` overrides, whose values are YAML."""
    values: dict = {}
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"config must be an existing YAML or JSON file, got {path}")
        try:
            values = yaml.load(path.read_text(), _UniqueKeys) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"config must be valid YAML or JSON, got {path}: {error}") from None
        require(isinstance(values, dict), "config", str(path), "a file of key: value lines")
    for item in overrides:
        key, separator, value = item.partition("=")
        require(bool(separator and key), "override", item, "of the form key=value")
        target = values
        *parents, leaf = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            require(
                isinstance(target, dict), "override", item, f"a key below a group; {parent!r} holds a value"
            )
        try:
            target[leaf] = yaml.load(value, _UniqueKeys)
        except yaml.YAMLError:
            raise ValueError(f"override must have a YAML value, got {item!r}") from None
    return values


def load_config(path: str | Path | None = None, overrides: list[str] = ()) -> OnlineConfig:
    """An `OnlineConfig` from a YAML or JSON file and overrides such as ``oracle.kind=bias``.

    ``method=NAME`` puts the settings of that method (`rsail.training.methods`) below those that are given.
    """
    values = read_settings(path, overrides)
    if "method" in values:
        values = _layered(_settings_of(values.pop("method")), values)
    return build(OnlineConfig, values)


def method_config(name: str, **overrides) -> OnlineConfig:
    """The configuration of a method in `rsail.training.methods`; nested settings as dicts, which win."""
    return build(OnlineConfig, _layered(_settings_of(name), overrides))


def _settings_of(method: str) -> dict:
    one_of("method", method, METHODS)
    return METHODS[method]


def _layered(below: dict, above: dict) -> dict:
    """Nested settings, those `above` before those `below`; another loss takes none of the options of the first."""
    if above.get("loss", below.get("loss")) != below.get("loss"):
        below = {key: value for key, value in below.items() if key != "loss_options"}
    both = {
        key: _layered(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return {**below, **above, **both}
