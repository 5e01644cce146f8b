# Makes the cluster once, then becomes devenv's own start script, which writes postgresql.conf and pg_hba.conf.
# Arguments go to initdb.

if [ ! -d "$PGDATA" ]; then
  draft=$PGDATA.new # renamed at the end, so that a killed initdb leaves nothing half-made
  rm -rf "$draft"
  mkdir -p "$(dirname "$PGDATA")"
  secret=$(value POSTGRES_SUPERUSER_PASSWORD)
  initdb --pgdata="$draft" --pwfile=<(printf '%s\n' "$secret") "$@"
  mv "$draft" "$PGDATA"
fi
exec start-postgres
