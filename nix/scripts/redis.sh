# redis-cli, connected to the project's Redis.

address=$(value REDIS_URL)
address=${address##*@}
REDISCLI_AUTH=$(password REDIS_URL)
export REDISCLI_AUTH
port=${address#*:}
exec redis-cli -h "${address%%:*}" -p "${port%%/*}" "$@"
