# Sourced in web/: the packages of the lockfile, installed again only when it changed.
if ! command -v node >/dev/null 2>&1 || ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
  echo "web: node 20.19 or newer is needed" >&2
  exit 1
fi
if ! cmp -s package-lock.json node_modules/.installed; then
  echo "web: installing the packages of package-lock.json"
  npm ci --no-audit --no-fund --loglevel=error
  cp package-lock.json node_modules/.installed
fi
