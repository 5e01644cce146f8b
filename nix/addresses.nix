# Ports and names out of the text of `.env`, or of `.env.example` where `.env` says nothing. Never a password: what this
# gives ends up in derivations, which everybody on the machine may read. docs/adr/0010 tells why.
{ lib, example, env ? "" }:

let
  # KEY=plain or KEY='quoted', the only ways to write a line. The last line of a name counts; empty means not said.
  lines = text: lib.filter (line: line != null)
    (map (builtins.match "([A-Za-z_][A-Za-z0-9_]*)='?([^']*)'?[[:space:]]*") (lib.splitString "\n" text));
  parse = text: lib.foldl'
    (said: line: said // lib.optionalAttrs (lib.elemAt line 1 != "") { ${lib.elemAt line 0} = lib.elemAt line 1; })
    { }
    (lines text);
  said = parse example // parse env;

  # scheme://user:password@host:port/path. The password's group is matched and dropped.
  url = name:
    let
      parts = builtins.match "[a-z+]+://(([^:@/]*)(:[^@/]*)?@)?([^:@/]+):([0-9]+)(/([^?]*))?(\\?.*)?" said.${name};
      part = lib.elemAt parts;
    in
    if parts == null then throw "${name} is no URL with a host and a port" else {
      user = part 1;
      host = part 3;
      port = lib.toInt (part 4);
      path = part 6;
    };

  database = url "DATABASE_URL";
  owner = url "MIGRATION_DATABASE_URL";
  redis = url "REDIS_URL";
  s3 = url "S3_ENDPOINT_URL";
in
{
  api = { host = said.API_HOST; port = lib.toInt said.API_PORT; };
  monitoring = {
    prometheusPort = lib.toInt said.PROMETHEUS_PORT;
    grafanaPort = lib.toInt said.GRAFANA_PORT;
  };
  postgres = { inherit (database) host port; database = database.path; role = database.user; owner = owner.user; };
  redis = { inherit (redis) host port; };
  s3 = {
    inherit (s3) host port;
    bucket = said.S3_BUCKET;
    region = said.S3_REGION;
    accessKeyId = said.S3_ACCESS_KEY_ID;
  };
}
