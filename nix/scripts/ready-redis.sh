# Does it answer to the password of .env? $1 is the port.

REDISCLI_AUTH=$(password REDIS_URL)
export REDISCLI_AUTH
[ "$(redis-cli -h 127.0.0.1 -p "$1" ping)" = PONG ]
