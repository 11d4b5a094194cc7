#!/usr/bin/env bash
# Make a virtual environment from a pinned list.
#   [PYTHON=…] [LEAST=3.10] scripts/setup.sh FOLDER LIST [--package]
# --package also installs this package (editable) and fetches the Delta jars. Whatever is missing on the machine gets
# one sentence with the command that installs it.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1 list=$2 package=${3:-}
least=${LEAST:-3.10}

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

hint() { # the install command for a Debian package, or a Homebrew one
    if command -v apt-get >/dev/null; then echo "sudo apt-get install -y $1"; else echo "brew install $2"; fi
}

fits="import sys; sys.exit(not (3, ${least#3.}) <= sys.version_info[:2] <= (3, 14))"
python=
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python3.14; do
    if command -v "$candidate" >/dev/null && "$candidate" -c "$fits" 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "No Python from $least to 3.14 was found for $folder. Hint: $(hint 'python3 python3-venv' python@3.12), or make … PYTHON=/path/to/python."

if [ "$package" = --package ]; then
    # Before anything is installed: the check needs nothing but the standard library.
    "$python" -c '
import sys
from spark_uplift.errors import EnvironmentFaultError
from spark_uplift.spark.session import check_java
try:
    check_java()
except EnvironmentFaultError as error:
    sys.exit(str(error))
'
fi

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python has no venv module. Hint: $(hint python3-venv python@3.12)."
if ! { [ -x "$folder/bin/python" ] && "$folder/bin/python" -c "$fits" && "$folder/bin/python" -m pip --version >/dev/null; } 2>/dev/null; then
    rm -rf "$folder" # half made, or by a Python that is gone
    "$python" -m venv "$folder"
fi

quiet=(--quiet --disable-pip-version-check --no-input)
echo "Installing $list into $folder …"
"$folder/bin/python" -m pip install "${quiet[@]}" -r "$list"
if [ "$package" = --package ]; then
    "$folder/bin/python" -m pip install "${quiet[@]}" --no-deps --no-build-isolation -e .
    "$folder/bin/python" -m spark_uplift.spark.jars
    "$folder/bin/python" -m spark_uplift.core.warmup
fi
touch "$folder/.ready"
