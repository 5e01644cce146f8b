# psql as the application role; `sql --owner` as the role that owns the schema.

url=DATABASE_URL
if [ "${1-}" = --owner ]; then
  url=MIGRATION_DATABASE_URL
  shift
fi
address=$(value "$url")
PGPASSWORD=$(password "$url")
export PGPASSWORD
exec psql "${address%%://*}://$(printf '%s' "${address#*://}" | sed 's/:[^@]*@/@/')" "$@"
