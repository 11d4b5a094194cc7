"""Run the benchmarks: ``python -m benchmarks [--quick] [--only fit …]``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import machine, processes, scaling, sections, tables
from benchmarks.settings import FULL_PEERS, LARGE_SECTIONS, METRIC_PEERS, SECTIONS, SMALL_PEERS, Settings

ROOT = Path(__file__).resolve().parents[1]
PEERS = tuple(dict.fromkeys((*FULL_PEERS, *SMALL_PEERS, *METRIC_PEERS)))

# What --quick changes: every contender runs, in minutes; the numbers mean little.
QUICK = {
    "rows": 50_000, "small_rows": 20_000, "test_rows": 50_000, "trees": [20], "repeats": 2,
    "transform_rows": 500_000, "transform_train_rows": 50_000, "predict_rows": 100_000,
    "memory_rows": [50_000, 250_000],
    "coverage_sets": 40, "coverage_rows": [1000],
    "evaluation_rows": [50_000, 200_000], "evaluation_peer_rows": [20_000, 50_000], "evaluation_resamples": 1,
    "scale_rows": [50_000, 250_000], "scale_trees": 4, "pair_rows": 50_000, "spill_rows": 250_000,
    "campaigns": 5, "campaign_units": 1500,
    "only": list(SECTIONS),
    "out": "benchmarks/out/quick.json", "doc": "benchmarks/out/quick.md",
    "scaling_doc": "benchmarks/out/quick-scaling.md",
}  # fmt: skip


def rows_of(text: str) -> int:
    """Return a number of rows, which may be written like 1e8."""
    return int(float(text))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = [name for name in SECTIONS if name not in LARGE_SECTIONS]
    p.add_argument("--only", nargs="+", choices=SECTIONS, default=default, help="sections to run")
    p.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="peers to run beside ours")
    p.add_argument("--peers-python", default=".venv-bench/bin/python", help="the peers' interpreter")
    p.add_argument("--rows", type=int, default=1_000_000, help="training rows")
    p.add_argument(
        "--small-rows", type=int, default=100_000, help=f"training rows beside {' and '.join(SMALL_PEERS)}"
    )
    p.add_argument("--test-rows", type=int, default=200_000, help="held-out rows with known effect")
    p.add_argument(
        "--trees", type=int, nargs="+", default=[20, 100], help="trees; each number is a table of its own"
    )
    p.add_argument("--depth", type=int, default=8)
    p.add_argument("--bins", type=int, default=64)
    p.add_argument("--threads", type=int, default=2, help="of every contender")
    p.add_argument("--repeats", type=int, default=3, help="warm runs of ours in a process")
    p.add_argument("--transform-rows", type=int, default=10_000_000, help="rows to score")
    p.add_argument(
        "--transform-train-rows",
        type=int,
        default=1_000_000,
        help="rows that the scoring forest is fitted on",
    )
    p.add_argument("--predict-rows", type=int, default=500_000, help="rows that peers predict in memory")
    p.add_argument("--memory-rows", type=int, nargs="+", default=[1_000_000, 8_000_000])
    p.add_argument("--scale-rows", type=rows_of, nargs="+", default=[10**6, 10**7, 10**8], help="e.g. 1e8")
    p.add_argument(
        "--scale-trees", type=int, default=100, help="of the sections scale, strategies, executors"
    )
    p.add_argument("--scale-depth", type=int, default=6)
    p.add_argument("--driver-memory", default="5g", help="heap of the JVM in these sections and in spill")
    p.add_argument("--pair-rows", type=rows_of, default=10**7, help="rows of strategies and executors")
    p.add_argument("--spill-rows", type=rows_of, default=10**8)
    p.add_argument("--spill-trees", type=int, default=4)
    p.add_argument(
        "--spill-memory", default="450m", help="heap of the only executor: the least that Spark takes"
    )
    p.add_argument("--campaigns", type=int, default=400, help="simulated campaigns of each kind")
    p.add_argument("--campaign-units", type=rows_of, default=4000, help="tested units of each")
    p.add_argument("--coverage-sets", type=int, default=2000, help="simulated experiments a world")
    p.add_argument("--coverage-rows", type=rows_of, nargs="+", default=[4000, 20_000], help="rows of each")
    p.add_argument("--evaluation-rows", type=rows_of, nargs="+", default=[10**6, 10**7], help="scored rows")
    p.add_argument(
        "--evaluation-peer-rows", type=rows_of, nargs="+", default=[10**5, 10**6],
        help="rows that peers resample, besides the largest of ours",
    )  # fmt: skip
    p.add_argument("--evaluation-resamples", type=int, default=3, help="that are timed of each peer and size")
    p.add_argument("--evaluation-repeats", type=int, default=2, help="evaluations of ours at each size")
    p.add_argument("--timeout", type=float, default=3600.0, help="seconds that one contender may take")
    p.add_argument("--work", default="benchmarks/out", help="folder for data, logs and single results")
    p.add_argument("--out", default="docs/benchmarks.json", help="results, merged section by section")
    p.add_argument(
        "--doc", default="docs/benchmarks.md", help="document that takes the tables between its markers"
    )
    p.add_argument(
        "--scaling-doc", default="docs/scaling.md", help="takes the cost model's tables in the same way"
    )
    p.add_argument(
        "--quick", action="store_true", help="small sizes, to see that everything runs; leaves docs alone"
    )
    return p


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's values; with ``--quick`` its sizes are the defaults."""
    made = parser()
    if "--quick" in (sys.argv[1:] if arguments is None else arguments):
        made.set_defaults(**QUICK)
    return made.parse_args(arguments)


def merge(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Put new sections into the results file, keep the others, and return all."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results.update(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return results


def main(arguments: list[str] | None = None) -> int:
    """Run the sections that were asked for; print, store and document each when it is done."""
    args = parse(arguments)
    args.peers_python = str((ROOT / args.peers_python).absolute())  # not resolved: a venv's python is a link
    if args.peers and not Path(args.peers_python).exists():
        print(
            f"No interpreter at {args.peers_python}: only spark_uplift is run. See benchmarks/README.md.",
            file=sys.stderr,
        )
        args.peers = []
    args.peers = [name for name in PEERS if name in args.peers]
    args.work = str((ROOT / args.work).resolve())
    out, doc = ROOT / args.out, ROOT / args.doc
    settings = Settings(
        rows=args.rows, test_rows=args.test_rows, depth=args.depth, bins=args.bins, threads=args.threads,
        repeats=args.repeats, work=args.work,
    )  # fmt: skip
    about = machine.describe()
    print(machine.sentence(about))
    if about["load"] > 0.5:
        print(f"The machine is busy (load {about['load']}): the numbers will be too high.", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a contender is ended as well
    processes.warm_kernels(sys.executable)
    results: dict[str, Any] = {}
    for name in args.only:
        started = time.perf_counter()
        found = sections.RUN[name](replace(settings), args)
        entry = {
            "machine": about,
            "settings": {k: v for k, v in settings.to_json().items() if k != "work"},
            "results": found,
        }
        results = merge(out, {name: entry})
        print(
            f"\n{tables.report({name: entry})}\n\n({name}: {time.perf_counter() - started:.0f} s)\n",
            flush=True,
        )
        if doc.exists():
            tables.write_between_markers(doc, tables.report(results))
    if (ROOT / args.scaling_doc).exists() and {"scale", "counting"} & set(args.only):
        tables.write_between_markers(ROOT / args.scaling_doc, scaling.report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
