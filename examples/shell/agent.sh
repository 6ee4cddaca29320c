#!/usr/bin/env bash
# An agent of an amesh node with nothing but curl and openssl.
#
#     ./agent.sh shelly init
#     ./agent.sh shelly send bob "Build" "Is it green?"
#     ./agent.sh shelly watch              # prints mail as it comes, saves it, then acknowledges it
#
# Key, registration and mail are in $AMESH_STATE (~/.amesh-examples/NAME); $AMESH_API names another node.
set -euo pipefail
umask 077

name=${1:?usage: agent.sh NAME (init | send TO SUBJECT TEXT | watch [SECONDS])}
command=${2:?usage: agent.sh NAME (init | send TO SUBJECT TEXT | watch [SECONDS])}
shift 2
api=${AMESH_API:-http://127.0.0.1:23000}
state=${AMESH_STATE:-$HOME/.amesh-examples/$name}

# A JSON string of any text. Bytes that JSON does not allow as they are become escapes.
quoted() {
  printf '"%s"' "$(printf %s "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e $'s/\t/\\\\t/g' -e $'s/\r/\\\\r/g' |
    awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')"
}

# The first string member of that name, as JSON spells it.
field() { grep -o "\"$1\": *\"[^\"]*\"" | head -n 1 | sed 's/^[^:]*: *"//; s/"$//'; }

ask() { # method, path, more of curl's options
  curl -sS --fail-with-body -X "$1" "$api/v1$2" -H 'Content-Type: application/json' "${@:3}"
}
as_myself() { ask "$@" -H "Authorization: Bearer $(field api_key < "$state/registration.json")"; }

init() {
  mkdir -p "$state/inbox"
  [ -s "$state/private.pem" ] || openssl genpkey -algorithm Ed25519 -out "$state/private.pem"
  local key tenant
  key=$(quoted "$(openssl pkey -in "$state/private.pem" -pubout)")
  tenant=$(curl -sS --fail "$api/api/organization" | field organization)
  ask POST /register -d "{\"name\": $(quoted "$name"), \"tenant\": \"$tenant\", \"public_key\": $key,
    \"key_algorithm\": \"Ed25519\"}" > "$state/registration.new"
  mv "$state/registration.new" "$state/registration.json"
  echo "registered as $(field address < "$state/registration.json")"
}

send() { # to, subject, text
  local me to payload hash signature
  me=$(field address < "$state/registration.json")
  case $1 in *@*) to=$1 ;; *) to=$1@${me#*@} ;; esac # what is signed is always the full address
  payload="{\"message\":$(quoted "$3"),\"type\":\"request\"}" # compact, keys sorted: what is hashed
  hash=$(printf %s "$payload" | openssl dgst -sha256 -binary | openssl base64 -A)
  printf %s "$me|$to|$2|normal||$hash" > "$state/signed"
  signature=$(openssl pkeyutl -sign -inkey "$state/private.pem" -rawin -in "$state/signed" | openssl base64 -A)
  as_myself POST /route -d "{\"to\": \"$to\", \"subject\": $(quoted "$2"), \"payload\": $payload,
    \"signature\": \"$signature\"}"
  echo
}

# One message at a time: printed, saved, and only then acknowledged. Until then the node keeps it.
take_one() {
  local entry id
  entry=$(as_myself GET '/messages/pending?limit=1')
  id=$(printf %s "$entry" | field id)
  [ -n "$id" ] || return 1
  printf '%s\n' "$entry" > "$state/inbox/$id.json"
  sync "$state/inbox/$id.json" 2> /dev/null || sync # macOS knows only the whole
  printf '%s\n' "$entry"
  as_myself DELETE "/messages/pending/$id" > "$state/acknowledged"
}

watch() { # for ever, or for so many seconds
  local until=$((SECONDS + ${1:-2000000000}))
  while [ "$SECONDS" -lt "$until" ]; do
    # Waits at the node, up to 20 s, for mail to be there.
    as_myself GET '/messages/pending/count?wait=20' > "$state/count" || sleep 5
    while take_one; do :; done
  done
}

case $command in
  init) init ;;
  send) send "${1:?to whom?}" "${2:?the subject?}" "${3:?the text?}" ;;
  take) take_one || echo "no mail" ;;
  watch) watch "$@" ;;
  *) echo "agent.sh knows no $command" >&2; exit 2 ;;
esac
