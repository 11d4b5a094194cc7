"""spark-submit entry: `spark-submit jobs/decide.py --conf conf/examples/randhie.yaml`."""

import sys

from spark_uplift.cli import main

if __name__ == "__main__":
    sys.exit(main(["decide", *sys.argv[1:]]))
