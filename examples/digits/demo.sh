#!/usr/bin/env bash
# The whole workflow in miniature, offline: train, ingest, query, rank. `make demo` runs it.
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

# On a CPU, glibc would return the memory of every activation and request it again, which takes half the training time.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=500000000

show python prepare.py
[ -e store/catalog.sqlite ] || show qubastore init
show qubastore ingest --config suite.toml
show qubastore sql "select model, ece, ace, calibration_error from calibration where dataset = 'digits' and condition = 'clean'"
show qubastore sql "select model, corruption, round(avg(accuracy), 3) as accuracy from corruption_accuracy group by all order by all"
show qubastore show dimensions --model python:models.py:robust --suite digits
show qubastore rank --suite digits
show qubastore rank --suite digits --weight robustness=3 --weight accuracy=0.5
show qubastore explain python:models.py:robust --suite digits
show qubastore rank --weight calibration=2 --top 10
