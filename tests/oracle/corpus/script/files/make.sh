#!/bin/sh
for name in "$@"; do echo "made by $0" | sed 's, .*/, ,' >"$name"; done
