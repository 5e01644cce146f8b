# Secrets are read here, at run time, so that none is part of a derivation. The start scripts begin with these lines.
# The shell beats the file, and empty means not said. Values stand in .env as `.env.example` says: plain or in single quotes.

value() { # NAME
  local found=${!1-}
  if [ -z "$found" ]; then
    found=$(sed -n "s/^$1=//p" "$DEVENV_ROOT/.env" | tail -n 1)
    found=${found#\'}
    found=${found%\'}
  fi
  if [ -z "$found" ]; then
    printf 'error: %s is not set.\nhint: add it to %s/.env, or remove that file to have a new one written\n' "$1" "$DEVENV_ROOT" >&2
    return 1
  fi
  printf '%s' "$found"
}

password() { # NAME of a variable that holds a URL: the part between user and host, with %41 and the like resolved
  local rest
  rest=$(value "$1") || return
  rest=${rest#*://}
  rest=${rest%%/*}
  rest=${rest%@*}
  rest=${rest#*:}
  printf '%b' "${rest//%/\\x}"
}
