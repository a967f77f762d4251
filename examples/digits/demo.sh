#!/usr/bin/env bash
# The main job in miniature, offline: train, ingest, ask, rank. `make demo` runs it.
set -euo pipefail
cd "$(dirname "$0")"
export QUBASTORE_STORE=store

show() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

show python prepare.py
[ -e store/catalog.sqlite ] || show qubastore init
show qubastore ingest --config suite.toml
show qubastore sql "select model, n_outputs, accuracy from accuracy order by accuracy desc"
show qubastore sql "select model, ece, ace, calibration_error from calibration order by calibration_error"
show qubastore sql "select model, class_name as digit, n, accuracy from class_accuracy order by accuracy, model limit 5"
show qubastore rank --suite digits --partial --weight calibration=2
show qubastore rank --weight calibration=2 --top 10
