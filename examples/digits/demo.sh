#!/usr/bin/env bash
# The main job in miniature, offline: train, ingest, ask, rank. `make demo` runs it.
set -euo pipefail
cd "$(dirname "$0")"
export QUBASTORE_STORE=store

show() {
    local words=() word
    for word in "$@"; do
        case $word in *\ *) words+=("\"$word\"") ;; *) words+=("$word") ;; esac
    done
    printf '\n$ %s\n' "${words[*]}"
    "$@"
}

# On a CPU, glibc hands the memory of every activation back and fetches it again: half of the time of training.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=500000000

show python prepare.py
[ -e store/catalog.sqlite ] || show qubastore init
show qubastore ingest --config suite.toml
show qubastore sql "select model, n_outputs, accuracy from accuracy order by accuracy desc"
show qubastore sql "select model, ece, ace, calibration_error from calibration order by calibration_error"
show qubastore sql "select model, class_name as digit, n, accuracy from class_accuracy order by accuracy, model limit 5"
show qubastore rank --suite digits --partial --weight calibration=2
show qubastore rank --weight calibration=2 --top 10
