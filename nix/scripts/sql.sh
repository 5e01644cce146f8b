# psql as the application role, which sees every row here; `sql --owner` as the role that owns the schema.

url=DATABASE_URL
if [ "${1-}" = --owner ]; then
  url=MIGRATION_DATABASE_URL
  shift
fi
address=$(value "$url")
PGPASSWORD=$(password "$url")
# Row-level security shows a session the rows that it says it reaches.
export PGPASSWORD PGOPTIONS="-c drystone.workspace=* ${PGOPTIONS-}"
exec psql "${address%%://*}://$(printf '%s' "${address#*://}" | sed 's/:[^@]*@/@/')" "$@"
