# devenv up, devenv shell, devenv test: the same stack as ./drystone up, with servers from Nix. docs/guides/nix.md
{ pkgs, lib, config, ... }:

let
  # Ports and names, known to Nix; secrets are not (docs/adr/0010). `.env` where there is one, else what it will hold.
  addresses = import ./nix/addresses.nix {
    inherit lib;
    example = builtins.readFile ./.env.example;
    env = lib.optionalString (builtins.pathExists ./.env) (builtins.readFile ./.env);
  };
  inherit (addresses) api postgres redis s3;
  isLocal = address: lib.elem address.host [ "127.0.0.1" "localhost" ];

  script = import ./nix/script.nix pkgs;
  package = { inherit (config.services) redis minio; } // {
    postgres.package = config.services.postgres.package.withPackages config.services.postgres.extensions;
  };
  # The command of nix/scripts/NAME.sh, which finds SERVER's programs; in place of that of devenv's module.
  call = name: server: arguments:
    lib.mkForce "exec ${lib.escapeShellArgs ([ (lib.getExe (script name [ package.${server}.package ])) ] ++ arguments)}";
  port = process: name: toString config.processes.${process}.ports.${name}.value;
  eachSecond = probe: { initial_delay = lib.mkForce 0; period = 1; timeout = 60; } // probe;

  servers = map (name: "devenv:processes:${name}") [ "postgres" "redis" "minio" ];
  serversReady = map (server: "${server}@ready") servers;
  drystone = ''PATH="$UV_PROJECT_ENVIRONMENT/bin:$PATH" drystone'';
  # Servers come from Nix, so their wheels are left out.
  sync = [ "--frozen" "--no-group" "servers" "--group" "test" "--group" "lint" ];
in
{
  name = "drystone";
  dotenv.disableHint = true; # the integration would put the secrets of .env into derivations
  env.UV_SYSTEM_CERTS = "true"; # a company's proxy is among the machine's certificates, not among uv's own

  packages = [
    pkgs.just
    pkgs.actionlint
    pkgs.shellcheck
    pkgs.ruff
    (script "sql" [ package.postgres.package ])
    (script "redis" [ package.redis.package ])
    (script "s3" [ pkgs.s5cmd ])
  ];

  languages.python = {
    enable = true;
    package = pkgs.python313; # `version` would need another input
    venv.enable = true;
    uv.enable = true;
    uv.sync.enable = true; # makes the venv; again when Python or pyproject.toml changed
    uv.sync.arguments = sync;
    manylinux.enable = pkgs.stdenv.isLinux; # wheels with native code look for these libraries
    lsp.enable = false;
  };

  # --- servers ---

  assertions = [
    {
      assertion = lib.all isLocal [ postgres redis s3 ];
      message = "devenv starts its servers on 127.0.0.1, but a URL in .env names another host: use ./drystone up there";
    }
    {
      assertion = postgres.role != postgres.owner;
      message = "the role of DATABASE_URL must not be the one of MIGRATION_DATABASE_URL";
    }
  ];

  services.postgres = {
    enable = true;
    package = pkgs.postgresql_18;
    extensions = extensions: [ extensions.pgvector ]; # unaccent and pg_trgm come with PostgreSQL
    listen_addresses = "127.0.0.1";
    inherit (postgres) port;
    createDatabase = false; # drystone:prepare makes roles, database and extensions
    initdbArgs = [
      "--username=postgres"
      "--auth=scram-sha-256"
      "--encoding=UTF8"
      "--locale-provider=builtin"
      "--locale=C.UTF-8"
      "--data-checksums"
      "--no-sync"
      "--no-instructions"
    ];
    hbaConf = ''
      host all all 127.0.0.1/32 scram-sha-256
      host replication postgres 127.0.0.1/32 scram-sha-256
    '';
    # As drystone.stack.services writes it; tests/unit/test_nix.py compares.
    settings = {
      unix_socket_directories = "";
      password_encryption = "scram-sha-256";
      max_connections = 100;
      max_locks_per_transaction = 256;
      shared_buffers = "256MB";
      effective_cache_size = "1GB";
      work_mem = "16MB";
      maintenance_work_mem = "128MB";
      max_wal_size = "2GB";
      min_wal_size = "256MB";
      wal_compression = "on";
      checkpoint_timeout = "15min";
      random_page_cost = "1.1";
      jit = "off";
      timezone = "UTC";
      log_timezone = "UTC";
      log_line_prefix = "[%p] %q%u ";
      log_checkpoints = "off";
      log_parameter_max_length = 0;
      log_parameter_max_length_on_error = 0;
      cluster_name = "drystone";
    };
  };
  processes.postgres = {
    exec = call "start-postgres-with-secret" "postgres" config.services.postgres.initdbArgs;
    ready = eachSecond { exec = call "ready-postgres" "postgres" [ ]; };
  };

  services.redis = {
    enable = true;
    inherit (redis) port;
    # As drystone.stack.services writes it; tests/unit/test_nix.py compares.
    extraConfig = ''
      bind 127.0.0.1
      port ${port "redis" "main"}
      protected-mode yes
      daemonize no
      logfile ""
      appendonly yes
      appendfsync everysec
      save ""
      maxmemory-policy noeviction
    '';
  };
  processes.redis = {
    exec = call "start-redis" "redis" [ (pkgs.writeText "redis.conf" config.services.redis.extraConfig) ];
    ready = eachSecond { exec = call "ready-redis" "redis" [ (port "redis" "main") ]; };
  };

  services.minio = {
    enable = true;
    package = pkgs.silo; # MinIO is archived and marked insecure; this fork of it installs bin/minio too
    listenAddress = "127.0.0.1:${toString s3.port}";
    consoleAddress = "127.0.0.1:${toString (s3.port + 1)}";
    inherit (s3) region;
    accessKey = s3.accessKeyId;
    clientPackage = pkgs.s5cmd;
    clientConfig = lib.mkForce null; # would hold the secret key
  };
  env.MINIO_ROOT_PASSWORD = lib.mkForce null;
  env.MINIO_UPDATE = "off"; # does not ask its maker for news
  processes.minio = {
    exec = call "start-minio" "minio" [ "127.0.0.1:${port "minio" "api"}" "127.0.0.1:${port "minio" "console"}" ];
    ready = eachSecond { http.get = { port = config.processes.minio.ports.api.value; path = "/minio/health/live"; }; };
  };

  # --- what happens before and between ---

  tasks = {
    "drystone:sync" = {
      description = "Install what uv.lock says";
      # Where uv cannot make a venv, as in a check without a network, a drystone that is on PATH already will do.
      exec = ''
        ${lib.getExe config.languages.python.uv.package} sync -p ${config.languages.python.package.interpreter} ${lib.escapeShellArgs sync} ||
          { [ ! -e "$UV_PROJECT_ENVIRONMENT/bin/drystone" ] && command -v drystone; }
      '';
      execIfModified = [ "uv.lock" ]; # devenv's own task looks at pyproject.toml only
      after = [ "devenv:python:uv" ];
      before = [ "devenv:enterShell" ];
    };
    "drystone:env" = {
      description = "Write .env with secrets of its own, if there is none";
      exec = "${drystone} env create --ports default";
      after = [ "drystone:sync" ];
      before = servers;
    };
    "drystone:prepare" = {
      description = "Make roles, database, extensions and bucket; ask each server in its own protocol";
      exec = "${drystone} prepare";
      after = serversReady;
    };
    "drystone:migrate" = {
      description = "Bring the schema to the newest revision";
      exec = "${drystone} db migrate";
      after = [ "drystone:prepare" ];
    };
    "drystone:model" = {
      description = "Build the embedding model, once";
      exec = "${drystone} model prepare";
      after = [ "drystone:env" ];
    };
  };

  # --- web and worker ---

  processes.app = {
    exec = ''
      export PATH="$UV_PROJECT_ENVIRONMENT/bin:$PATH"
      exec honcho -e /dev/null -d "$DEVENV_ROOT" start
    '';
    ports.api.allocate = api.port;
    env = { API_HOST = api.host; API_PORT = port "app" "api"; }; # what the Procfile asks for; the rest is read from .env
    after = serversReady ++ [ "drystone:migrate" "drystone:model" ];
    ready = {
      http.get = { port = config.processes.app.ports.api.value; path = "/health/ready"; };
      period = 1;
      timeout = 120;
    };
  };

  profiles.tools.module = import ./nix/tools.nix;
  profiles.qdrant.module = import ./nix/qdrant.nix;

  enterTest = ''
    wait_for_processes 180
    ${drystone} verify
    ${drystone} test
  '';
}
