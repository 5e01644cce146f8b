# Does it answer to the password of .env? $1 is the port. Asked over bash's own TCP: not every Redis brings redis-cli.

LC_ALL=C # lengths count bytes
secret=$(password REDIS_URL)
exec 3<>"/dev/tcp/127.0.0.1/$1"
# shellcheck disable=SC2016  # the dollars are Redis' protocol
printf '*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n' "${#secret}" "$secret" >&3
read -r -t 5 authenticated <&3
read -r -t 5 answer <&3
[ "$authenticated$answer" = $'+OK\r+PONG\r' ]
