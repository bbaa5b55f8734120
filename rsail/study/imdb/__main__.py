"""``python -m rsail.study.imdb``: from raw reviews to the result files and the figure of notebook 10."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Make what is missing; 1 if a run failed, 2 for an error in what the user gave."""
    local = os.environ.get("RSAIL_DATA")
    parser = argparse.ArgumentParser(
        prog="rsail.study.imdb",
        description="The study on IMDb reviews, from raw text to result files and figure.",
    )
    parser.add_argument(
        "--data",
        default=str(Path(local) / "imdb") if local else "stanfordnlp/imdb",
        help="folder with train.parquet and test.parquet, or a hub name (default: $RSAIL_DATA/imdb, or the hub's)",
    )
    parser.add_argument("--output", default="build/imdb", help="folder of the model and of runs under way")
    parser.add_argument("--results", help="folder of the result files (default: OUTPUT/results)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--tuning", action="store_true", help="the runs that chose the learning rate instead")
    parser.add_argument(
        "--tiny", action="store_true", help="seconds instead of minutes, to see that it works"
    )
    arguments = parser.parse_args(argv)

    from rsail.study.figures import imdb, save_figure, use_style
    from rsail.study.imdb.analysis import figure_data, load_study
    from rsail.study.imdb.plan import FULL, TINY
    from rsail.study.imdb.run import Place, run_study

    name = "tuning" if arguments.tuning else "results"
    results = Path(arguments.results or Path(arguments.output) / name)
    size = TINY if arguments.tiny else FULL
    place = Place(size, arguments.data, arguments.output)
    try:
        report = run_study(place, results, jobs=arguments.jobs, tuning=arguments.tuning)
    except (ValueError, OSError) as error:
        print(f"rsail.study.imdb: {error}", file=sys.stderr)
        return 2
    print(report)
    if report.failed:
        return 1
    if not arguments.tuning:
        use_style()
        data = figure_data(load_study(results, size))
        save_figure(imdb.real_text(data), "real_text", data, folder=arguments.output)
        print(Path(arguments.output) / "real_text.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
