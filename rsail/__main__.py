"""Command line: ``python -m rsail pretrain | train | evaluate | study | bench``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import textwrap
from pathlib import Path

from rsail.stopping import Terminated


def main(argv: list[str] | None = None) -> int:
    """Run one command; errors in what the user gave end it with one message and status 2, SIGTERM with 143."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        where = "" if _first() else f" (process {os.environ['RANK']})"
        print(f"rsail {arguments.command}{where}: {error}", file=sys.stderr)
        return 2
    except Terminated as stop:
        print(f"rsail {arguments.command}: {stop}", file=sys.stderr)
        return stop.code
    return 0


class _Parser(argparse.ArgumentParser):
    """Gathers what `describe` has to say below the help only when the help is asked for: it imports a lot."""

    describe = staticmethod(lambda: None)

    def format_help(self) -> str:
        self.epilog = self.describe()
        return super().format_help()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rsail", description="Oracle-robust online alignment of language models."
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    pretrain = commands.add_parser("pretrain", help="make a small reference model from scratch")
    pretrain.add_argument("--output", required=True, help="folder of the model")
    pretrain.add_argument("--texts", type=int, default=20_000, help="texts of the corpus")
    pretrain.add_argument("overrides", nargs="*", metavar="key=value", help="task.* and model.* settings")
    pretrain.set_defaults(run=_pretrain)

    train = commands.add_parser(
        "train",
        help="train a policy online against an oracle",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.describe = _settings
    train.add_argument("--config", help="YAML or JSON file of settings")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint of output_dir")
    train.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that win over the file's; method=NAME starts from one",
    )
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="evaluate a trained policy on held-out prompts")
    evaluate.add_argument("folder", metavar="RUN", help="folder that train wrote")
    evaluate.add_argument("--output", help="where to write the metrics (default: RUN/evaluation.json)")
    evaluate.set_defaults(run=_evaluate)

    study = commands.add_parser("study", help="train every run behind the committed results again")
    study.add_argument("--output", required=True, help="folder of the result files")
    study.add_argument("--profile", default="full", help="quick, full or gpu")
    study.add_argument("--resume", action="store_true", help="keep the runs that this code has made already")
    study.set_defaults(run=_study)

    bench = commands.add_parser("bench", help="measure what an online step costs, and the exact engine")
    bench.add_argument("--output", required=True, help="folder of the result files")
    bench.add_argument("--tiny", action="store_true", help="seconds instead of minutes, to see that it works")
    bench.add_argument(
        "parts", nargs="*", metavar="PART", help="phases, settings, sizes, exact; default: all"
    )
    bench.set_defaults(run=_bench)
    return parser


def _settings() -> str:
    from pydantic import TypeAdapter

    from rsail.training import METHODS, OnlineConfig

    schema = TypeAdapter(OnlineConfig).json_schema()
    methods = "Methods: " + ", ".join(sorted(METHODS))
    return "\n".join(
        [*textwrap.wrap(methods), "Settings:", *_described(schema["properties"], schema["$defs"])]
    )


def _described(fields: dict, groups: dict, prefix: str = "", defaults: dict | None = None):
    """One line per setting; those of a group follow the group's own."""
    for name, field in fields.items():
        default = (defaults or {}).get(name, field.get("default", "none"))
        group = groups.get(field.get("$ref", "").rpartition("/")[2])
        ending = ":" if group else f" (default {default})"
        text = " ".join(field.get("description", "").split())
        yield f"  {prefix + name:21} {text.rstrip('.' if group else '')}{ending}"
        if group:
            yield from _described(group["properties"], groups, f"{prefix}{name}.", default)


def _pretrain(arguments) -> None:
    from rsail.tasks import TaskConfig, pretraining_texts
    from rsail.training.config import build, read_settings

    settings = read_settings(None, arguments.overrides)
    task = build(TaskConfig, settings.pop("task", {}), group="task")
    from rsail.lm.pretraining import PretrainConfig, pretrain

    config = build(PretrainConfig, settings.pop("model", {}), group="model")
    if settings:
        raise ValueError(f"override must be a task.* or model.* setting, got {', '.join(settings)}")
    corpus, tokenizer = pretraining_texts(task, arguments.texts)
    print(pretrain(corpus, tokenizer, config, arguments.output, progress=sys.stderr.isatty()))


def _train(arguments) -> None:
    from rsail.training import load_config

    config = load_config(arguments.config, arguments.overrides)

    from rsail.training import train  # after what is wrong with the settings has been said

    with _launched():
        folder = train(config, resume=arguments.resume)
    if _first():
        print(folder)


def _evaluate(arguments) -> None:
    from rsail.training import evaluate

    with _launched():
        metrics = evaluate(arguments.folder, output=arguments.output)
    if _first():
        print(json.dumps({name: round(value, 4) for name, value in sorted(metrics.items())}, indent=1))


def _first() -> bool:
    """Whether this is the first of the processes that ``accelerate launch`` started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def _launched():
    """Leaves the group of processes in the end, with which the others notice that this one goes."""
    from accelerate import PartialState

    try:
        yield
    finally:
        if PartialState._shared_state:
            PartialState().destroy_process_group()


def _study(arguments) -> None:
    from rsail.study.biased_oracle import run_study
    from rsail.study.profiles import get_profile

    profile = get_profile(arguments.profile)
    run_study(Path(arguments.output), profile, resume=arguments.resume, progress=sys.stderr.isatty())


def _bench(arguments) -> None:
    from rsail.study.cost.bench import FULL, TINY, run

    run(Path(arguments.output), arguments.parts, TINY if arguments.tiny else FULL)


if __name__ == "__main__":
    sys.exit(main())
