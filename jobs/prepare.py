"""spark-submit entry: `spark-submit jobs/prepare.py --conf conf/examples/randhie.yaml`."""

import sys

from spark_uplift.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
