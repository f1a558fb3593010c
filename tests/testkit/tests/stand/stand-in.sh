#!/bin/sh
# Takes the operator's arguments, then becomes the program that STAND_IN names.
for argument; do
  echo "argument $argument"
  case $argument in --metrics-addr=*) export STAND_IN_ADDR="${argument#*=}" ;; esac
done
if [ -z "$STAND_IN" ]; then
  echo 'no such flag'
  exit 2
fi
exec "$STAND_IN" --exact operator::stands_in_for_the_operator --ignored --nocapture
