#!/usr/bin/env bash
# The benchmarks from outside: that they run, count and keep records. Their figures are not judged here.
# usage: tests/test_bench.sh BUILD_DIR
. "$(dirname "$0")"/cli_helpers.sh
bench=$(dirname "$translate")/bench

for ((i = 0; i < 60; ++i)); do seq -s ' ' $((i + 3)) $((2 * i % 17 + i + 5)); done >src
tac src | gzip >tgt.gz
$bench/train_throughput --ids-src src --ids-tgt tgt.gz --steps 2 --warmup 1 --batch-tokens 128 --save model.safetensors \
  --json train.json >line 2>err || fail "train_throughput: $(cat err)"
check "training: a line" "[ \$(wc -l <line) = 1 ] && grep -qE \
  'preset=tiny attention=diff .* loss=[0-9.]+ tokens/s=[0-9]+ peak_rss_mib=[0-9]+ gflops=[0-9.]+ peak_fraction=[0-9.]+$' line"
$bench/train_throughput --ids-src src --ids-tgt tgt.gz --steps 2 --warmup 0 --batch-tokens 128 --threads 2 --profile >lines ||
  fail "train_throughput --profile"
check "training: a profile" "[ \$(grep -cE '^ +[0-9]+ threads, predicted: +[0-9.]+ ms, speed-up +[0-9.]+' lines) = 6 ] &&
  grep -q '^ *2 threads.*measured' lines && grep -qE '^  adding gradients +[0-9.]+ ms +[0-9.]+%' lines"
check "training: a record" "grep -q '\"multiply_adds_per_source_token\": 786432' train.json &&
  grep -q '\"multiply_adds_per_target_token\": 1810432' train.json"
$bench/decode --model model.safetensors --ids-src src --sentences 7 --json decode.json >line 2>err ||
  fail "decode: $(cat err)"
check "decoding: a line" "grep -qE 'sentences=7 .* sentences/s=[0-9.]+' line"
$bench/ops chain softmax/64 --threads 1 --json ops.json >line 2>err || fail "ops: $(cat err)"
check "operations: a line each" "[ \$(wc -l <line) = 2 ] && grep -qE '^softmax/64 .* x memcpy' line"
$bench/train_language_model --text src --context 16 --batch 3 --layers 1 --d-model 16 --ff 16 --steps 2 --json language.json \
  >line 2>err || fail "train_language_model: $(cat err)"
check "a language model: a line, a record" "grep -qE ' loss=[0-9.]+ tokens/s=[0-9]+ peak_rss_mib=[0-9]+$' line &&
  grep -q '\"program\": \"train_language_model\"' language.json"
refuses "line: shorter than a context of 2000 bytes" $bench/train_language_model --text line --context 2000
head -1 src >short
refuses "no operation sofmax: there are softmax" $bench/ops sofmax
refuses "src has 60 sentences, short 1" $bench/train_throughput --ids-src src --ids-tgt short
refuses "missing: cannot open" $bench/train_throughput --ids-src missing --ids-tgt src

report
