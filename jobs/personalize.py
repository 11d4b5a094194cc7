"""spark-submit entry: `spark-submit jobs/personalize.py start --conf campaign.yaml`; also learn, send, measure."""

import sys

from spark_uplift.cli import main

if __name__ == "__main__":
    sys.exit(main(["personalize", *sys.argv[1:]]))
