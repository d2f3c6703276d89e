"""Real tables of learning curves for the searchers: what they hold, and how they are made.

    python benchmarks/real_tables.py                                   # what the tables hold
    python benchmarks/real_tables.py --check --save
    python benchmarks/real_tables.py --make-table phoneme --data .../tab_small/phoneme.csv
    python benchmarks/real_tables.py --make-table characters

Making one takes up to 14 CPU minutes on one thread; a run that was cut goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--make-table", choices=("phoneme", "characters"))
    parser.add_argument("--data", type=Path, help="phoneme.csv of the data kit's tab_small")
    parser.add_argument("--seconds", type=float, help="of CPU time, after which making pauses")
    arguments = parser.parse_args()
    began = time.process_time()

    def stop() -> bool:
        limit = arguments.seconds
        return limit is not None and time.process_time() - began > limit

    if arguments.make_table == "phoneme":
        import _tabular_table as tabular

        whole = tabular.make_table(arguments.data, stop=stop)
    elif arguments.make_table == "characters":
        import _character_table as character

        whole = character.make_table(stop=stop)
    print(f"{time.process_time() - began:.0f} CPU s; {'whole' if whole else 'paused'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
