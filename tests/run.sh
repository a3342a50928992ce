#!/usr/bin/env bash
# Runs every test and closes with one line of totals taken from the runners' own summaries.
# End-to-end tests need root and the packages of `make deps`; where CI is "true" they fail without, elsewhere they skip.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0

# Keeps the output visible and remembers it, and goes on after a failure.
runner() {
	"$@" 2>&1 | tee -a "$log" || status=1
}

# The end-to-end tests run these very programs.
cargo build --workspace --bins
target=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
export CULVERT_BIN_DIR="$target/debug"

if cargo nextest --version >/dev/null 2>&1; then
	runner cargo nextest run --workspace --no-fail-fast
	# nextest runs no documentation tests; some of them prove that misuse does not compile.
	runner cargo test --workspace --doc --no-fail-fast
else
	runner cargo test --workspace --exclude culvert-e2e --no-fail-fast
	runner cargo test -p culvert-e2e --no-fail-fast -- --test-threads=1
fi

if [ "$(id -u)" != 0 ]; then
	echo "The end-to-end tests were skipped: they need root (sudo -E make test)."
fi

python3 - "$log" "$status" <<'PY'
import re
import sys

text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], errors="replace").read())
passed = failed = 0
for line in text.splitlines():
    if m := re.match(r"test result: \w+\. (\d+) passed; (\d+) failed", line):
        passed, failed = passed + int(m[1]), failed + int(m[2])
    elif re.match(r"\s*Summary \[", line):
        for count, word in re.findall(r"(\d+) (passed|failed|timed out|exec failed)", line):
            if word == "passed":
                passed += int(count)
            else:
                failed += int(count)
# A runner that failed without counting a failed test could not even run, as when something does not compile.
if sys.argv[2] != "0" and failed == 0:
    failed = 1
    print("a test runner ended with an error that is no failed test; see above")
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed or passed == 0 else 0)
PY
