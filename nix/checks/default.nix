# What `nix flake check` proves. Evaluated checks say what is wrong while evaluating; the others build.
{ pkgs, evaluate }:

let
  inherit (pkgs) lib;
  config = evaluate [ ];
  everything = evaluate [ ../tools.nix ../qdrant.nix ];
  addresses = arguments: import ../addresses.nix ({ inherit lib; } // arguments);
  example = builtins.readFile ../../.env.example;

  passed = name: pkgs.writeText name "ok";

  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../src ../../tests ../../migrations ../../benchmarks ../../alembic.ini ../../pyproject.toml ../../uv.lock
      ../../README.md ../../drystone ../../Procfile ../../.env.example ../../.github ../../docs ../../nix ../../devenv.nix
      ../../devenv.yaml ../../devenv.lock ../../flake.nix ../../flake.lock
    ];
  };
  # What the checks below import; nixpkgs' versions, not those of uv.lock.
  python = pkgs.python313.withPackages (packages: with packages; [
    pytest numpy pydantic pydantic-settings python-dotenv honcho httpx click rich typer structlog
    sqlalchemy greenlet asyncpg alembic pgvector annotated-types packaging
  ]);
  run = name: packages: script: pkgs.runCommand name { nativeBuildInputs = packages; __darwinAllowLocalNetworking = true; } ''
    cp -r ${src}/. project
    chmod -R u+w project
    cd project
    export HOME=$TMPDIR PYTHONPATH=$PWD/src:$PWD PYTHONDONTWRITEBYTECODE=1
    ${script}
    touch $out
  '';
in
{
  # The servers listen where .env.example says; nobody else does, and no port is taken twice.
  addresses =
    let
      ports = lib.concatMap (process: map (port: port.value) (lib.attrValues process.ports)) (lib.attrValues everything.processes);
      port = process: name: toString config.processes.${process}.ports.${name}.value;
      said = [
        "@127.0.0.1:${port "postgres" "main"}/"
        "@127.0.0.1:${port "redis" "main"}/"
        "http://127.0.0.1:${port "minio" "api"}\n"
        "API_PORT=${port "app" "api"}\n"
      ];
      # A git checkout has no .env here; a folder named by path: may.
      written = if builtins.pathExists ../../.env then builtins.readFile ../../.env else example;
      unsaid = lib.filter (text: ! lib.hasInfix text written) said;
      failed = map (a: a.message) (lib.filter (a: ! a.assertion) everything.assertions);
    in
    assert lib.assertMsg (unsaid == [ ]) ".env.example says otherwise: ${toString unsaid}";
    assert lib.assertMsg (lib.allUnique ports) "a port is used twice: ${toString ports}";
    assert lib.assertMsg (failed == [ ]) (lib.concatStringsSep "\n" failed);
    passed "addresses";

  # Whatever .env holds, evaluation learns ports and names only.
  secrets =
    let
      canary = "c4n4ry";
      env = lib.concatStringsSep "\n" [
        "DATABASE_URL=postgresql://someone:${canary}@127.0.0.1:25432/other"
        "MIGRATION_DATABASE_URL='postgresql://owner:${canary}%40@127.0.0.1:25432/other'"
        "POSTGRES_SUPERUSER_PASSWORD=${canary}"
        "REDIS_URL=redis://:${canary}@127.0.0.1:26379/0"
        "CELERY_BROKER_URL=redis://:${canary}@127.0.0.1:26379/1"
        "S3_SECRET_ACCESS_KEY=${canary}"
        "DRYSTONE_API_KEY=dsk_local.${canary}"
        "S3_BUCKET=''"
        "API_PORT=1"
        "API_PORT=28310"
      ];
      known = addresses { inherit example env; };
      leaks = lib.filter (name: lib.hasInfix "change-me" (builtins.toJSON everything.${name}))
        [ "env" "processes" "tasks" "enterShell" "enterTest" ];
    in
    assert lib.assertMsg (! lib.hasInfix canary (builtins.toJSON known)) "evaluation knows a secret of .env";
    assert lib.assertMsg (known.postgres == { host = "127.0.0.1"; port = 25432; database = "other"; role = "someone"; owner = "owner"; })
      "PostgreSQL's address is read as ${builtins.toJSON known.postgres}";
    assert lib.assertMsg (known.api.port == 28310 && known.redis.port == 26379 && known.s3.bucket == "drystone")
      "the last line of a name counts, and an empty value means the example's";
    assert lib.assertMsg (leaks == [ ]) "a placeholder of .env.example reached ${toString leaks}";
    passed "secrets";

  # One nixpkgs and one devenv, whichever way you come in.
  locks =
    let
      pinned = file: input:
        let lock = lib.importJSON file; in lock.nodes.${lock.nodes.root.inputs.${input}}.locked.rev;
      differ = lib.filter (input: pinned ../../devenv.lock input != pinned ../../flake.lock input) [ "nixpkgs" "devenv" ];
    in
    assert lib.assertMsg (differ == [ ])
      "devenv.lock and flake.lock pin different ${toString differ}: run `devenv update && nix flake update`";
    passed "locks";

  # The Pythons: devenv's is one that pyproject.toml admits, and nixpkgs has each package in a usable version.
  python =
    let
      project = lib.importTOML ../../pyproject.toml;
      least = lib.removePrefix ">=" project.project.requires-python;
      devenvs = config.languages.python.package.pythonVersion or pkgs.python313.pythonVersion;
    in
    assert lib.assertMsg (lib.versionAtLeast devenvs least) "devenv's Python is ${devenvs}, pyproject.toml wants ${least}";
    run "python" [ python ] "python nix/checks/python.py";

  lint = run "lint" [ pkgs.ruff pkgs.shellcheck pkgs.actionlint ] ''
    ruff check --no-cache .
    for script in nix/scripts/*.sh; do
      cat nix/secrets.sh "$script" | shellcheck --shell=bash -
    done
    actionlint -shellcheck= .github/workflows/*.yml
  '';

  # Pure rules, with nixpkgs' packages. The whole suite needs uv.lock's: `devenv test`. Left out: what asks for wheels of
  # servers, and a socket, whose path a build folder makes too long.
  unit = run "unit" [ python ] ''
    python -m pytest -q -c /dev/null --rootdir . --noconftest --import-mode=importlib -p no:cacheprovider -p no:valkey \
      --ignore tests/unit/parsing --ignore tests/unit/cli/test_client.py --ignore-glob '*/test_embedding*.py' \
      --ignore tests/unit/test_docs.py -k 'not wheels_are_found and not pipes_and_sockets' tests/unit
  '';

  # Up from empty on the PostgreSQL and pgvector that `devenv up` starts, prepared as ./drystone up prepares it.
  migrations =
    let postgres = config.services.postgres.package.withPackages config.services.postgres.extensions;
    in run "migrations" [ python postgres ] "POSTGRES_BIN=${postgres}/bin python nix/checks/migrations.py";
}
