# Is it there, and does it take the password of .env?

PGPASSWORD=$(value POSTGRES_SUPERUSER_PASSWORD)
export PGPASSWORD
psql --no-psqlrc --no-password -qAt -U postgres -d postgres -c 'select 1' >/dev/null
