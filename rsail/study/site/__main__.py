"""The command line of the site."""

import argparse
import sys
import time
from pathlib import Path

from rsail.study.paths import BUILD_DIR
from rsail.study.site.book import build


def main(arguments: list[str] | None = None) -> int:
    """Build the site; 2 after a message if an argument is bad."""
    parser = argparse.ArgumentParser(
        prog="rsail.study.site", description="Build the compendium as a static site."
    )
    parser.add_argument(
        "--output", type=Path, default=BUILD_DIR / "site", help="its folder (default build/site)"
    )
    output = parser.parse_args(arguments).output
    start = time.perf_counter()
    try:
        pages = build(output)
    except (ValueError, OSError) as error:
        print(f"rsail.study.site: {error}", file=sys.stderr)
        return 2
    print(f"{output / 'index.html'} ({pages} pages in {time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
