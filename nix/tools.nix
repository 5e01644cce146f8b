# devenv --profile tools up: pgAdmin, Prometheus and Grafana with a dashboard, beside the stack; all on 127.0.0.1, no login.
# Prometheus asks those that have metrics: web, worker, the S3 store, Grafana and itself. The token is read at run time.
{ pkgs, lib, config, ... }:

let
  addresses = import ./addresses.nix {
    inherit lib;
    example = builtins.readFile ../.env.example;
    env = lib.optionalString (builtins.pathExists ../.env) (builtins.readFile ../.env);
  };
  port = process: config.processes.${process}.ports.main.value;
  # Beside web and worker, which `drystone metrics prometheus` names: lines that follow its last ones. JSON is YAML too.
  target = name: port: path: "  - " + builtins.toJSON {
    job_name = name;
    metrics_path = path;
    static_configs = [{ targets = [ "127.0.0.1:${toString port}" ]; }];
  };
  others = pkgs.writeText "others.yml" ''
    ${target "grafana" (port "grafana") "/metrics"}
    ${target "minio" config.processes.minio.ports.api.value "/minio/v2/metrics/cluster"}
  '';
  ready = process: path: {
    http.get = { port = port process; inherit path; };
    period = 1;
    timeout = 120;
  };
in
{
  packages = [ pkgs.pgadmin4 pkgs.prometheus pkgs.grafana ];
  processes.minio.env.MINIO_PROMETHEUS_AUTH_TYPE = "public"; # it listens on 127.0.0.1 only

  processes.prometheus = {
    exec = ''
      export PATH="$UV_PROJECT_ENVIRONMENT/bin:$PATH"
      mkdir -p "$DEVENV_STATE/prometheus"
      { drystone metrics prometheus && cat ${others}; } >"$DEVENV_STATE/prometheus/prometheus.yml"
      exec ${pkgs.prometheus}/bin/prometheus --config.file="$DEVENV_STATE/prometheus/prometheus.yml" --storage.tsdb.path="$DEVENV_STATE/prometheus/data" --web.listen-address=127.0.0.1:${toString (port "prometheus")}
    '';
    ports.main.allocate = addresses.monitoring.prometheusPort;
    after = [ "drystone:env" ];
    ready = ready "prometheus" "/-/ready";
  };

  processes.grafana = {
    exec = ''
      export GF_PATHS_DATA="$DEVENV_STATE/grafana" GF_PATHS_LOGS="$DEVENV_STATE/grafana/log" GF_PATHS_PLUGINS="$DEVENV_STATE/grafana/plugins"
      mkdir -p "$GF_PATHS_PLUGINS"
      exec ${pkgs.grafana}/bin/grafana server --homepath ${pkgs.grafana}/share/grafana
    '';
    ports.main.allocate = addresses.monitoring.grafanaPort;
    env = {
      GF_SERVER_HTTP_ADDR = "127.0.0.1";
      GF_SERVER_HTTP_PORT = toString (port "grafana");
      GF_PATHS_PROVISIONING = "${../monitoring/grafana}";
      DRYSTONE_DASHBOARDS = "${../monitoring/grafana}/dashboards"; # read by the files provisioned
      DRYSTONE_PROMETHEUS = "http://127.0.0.1:${toString (port "prometheus")}";
      GF_AUTH_ANONYMOUS_ENABLED = "true";
      GF_AUTH_ANONYMOUS_ORG_ROLE = "Editor";
      GF_AUTH_BASIC_ENABLED = "false"; # admin/admin opens nothing
      GF_AUTH_DISABLE_LOGIN_FORM = "true";
      GF_ANALYTICS_REPORTING_ENABLED = "false";
      GF_ANALYTICS_CHECK_FOR_UPDATES = "false";
      GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES = "false";
      GF_PLUGINS_PREINSTALL_DISABLED = "true";
    };
    ready = ready "grafana" "/api/health";
  };

  processes.pgadmin = {
    exec = ''
      export HOME="$DEVENV_STATE/pgadmin" # it keeps its data in ~/.pgadmin
      mkdir -p "$HOME"
      exec ${pkgs.pgadmin4}/bin/pgadmin4
    '';
    ports.main.allocate = 15050;
    env = {
      PGADMIN_SERVER_MODE = "OFF";
      PGADMIN_INT_PORT = toString (port "pgadmin");
    };
    ready = ready "pgadmin" "/misc/ping";
  };
}
