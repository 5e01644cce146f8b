# Makes the cluster once, then becomes devenv's own start script, which writes postgresql.conf and pg_hba.conf.
# Arguments go to initdb.

secret=$(value POSTGRES_SUPERUSER_PASSWORD)
if [ ! -d "$PGDATA" ]; then
  draft=$PGDATA.new # renamed at the end, so that a killed initdb leaves nothing half-made
  rm -rf "$draft"
  mkdir -p "$(dirname "$PGDATA")"
  initdb --pgdata="$draft" --pwfile=<(printf '%s\n' "$secret") "$@"
  mv "$draft" "$PGDATA"
else
  # The superuser's password follows .env, also when that was made anew: who owns the folder owns the server.
  printf "ALTER ROLE postgres PASSWORD '%s';\n" "${secret//\'/\'\'}" | postgres --single -D "$PGDATA" postgres >/dev/null
fi
exec start-postgres
