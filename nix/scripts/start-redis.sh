# Writes the configuration, $1 and the password, where only its owner may read it; then becomes the server.

umask 077
mkdir -p "$REDISDATA"
secret=$(password REDIS_URL)
{
  cat "$1"
  printf 'dir "%s"\nrequirepass "%s"\n' "$REDISDATA" "$(printf '%s' "$secret" | sed 's/[\\"]/\\&/g')"
} >"$REDISDATA/redis.conf"
exec redis-server "$REDISDATA/redis.conf"
