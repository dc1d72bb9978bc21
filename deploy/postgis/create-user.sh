#!/bin/sh
# Runs once, on an empty volume, after the image has made PostGIS in the database: the service's own user, which may
# create schemas there and nothing more.
set -eu
exec psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set "database=$POSTGRES_DB" <<'SQL'
\getenv password POSTGIS_PASSWORD
CREATE ROLE "spatial-etl" LOGIN PASSWORD :'password'
    NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, CREATE ON DATABASE :"database" TO "spatial-etl";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SQL
