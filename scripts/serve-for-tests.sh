# Sourced by scripts that need a running server. `serve_for_tests CONFIG ARGS...` starts one on a free port, with
# data of its own, waits until it is ready, and sets `url` and `server_pid`. `end_server` ends it, and only it.
serve_for_tests() {
  config="$1"; shift
  server_dir="$(mktemp -d)"
  printf '%s\n' "$config" > "$server_dir/tidewire.toml"
  "$CARGO_TARGET_DIR/release/tidewire" serve --listen 127.0.0.1:0 --data "$server_dir/data" \
    --config "$server_dir/tidewire.toml" "$@" > "$server_dir/out" 2> "$server_dir/err" &
  server_pid=$!
  trap end_server EXIT
  url=""
  # The file is looked at until the server has said where it is, or is gone.
  while [ -z "$url" ]; do
    url="$(sed -n 's/.* is ready at //p' "$server_dir/out")"
    kill -0 "$server_pid" 2>/dev/null || { cat "$server_dir/err" >&2; exit 1; }
    [ -n "$url" ] || sleep 0.05
  done
}

end_server() {
  kill "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  rm -rf "$server_dir"
  trap - EXIT
}
