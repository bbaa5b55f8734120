"""Online oracle-robust alignment of a language model (Algorithm 1 of arXiv 2602.20457)."""

from rsail.training.config import OnlineConfig, load_config
from rsail.training.evaluation import evaluate
from rsail.training.loop import train

__all__ = ["OnlineConfig", "evaluate", "load_config", "train"]
