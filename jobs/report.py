"""spark-submit entry: `spark-submit jobs/report.py --conf conf/examples/randhie.yaml`."""

import sys

from spark_uplift.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
